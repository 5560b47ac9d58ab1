"""Expressions of templates: what they give for a sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from exporter.numbers import counted
from exporter.rules.templates.functions import ELSEWHERE, FUNCTIONS, NEEDS_PROMETHEUS, Function
from exporter.rules.templates.lexer import TemplateRefused
from exporter.rules.templates.values import External, Value, unsupported_directive
from exporter.structures import did_you_mean

_LABELS: Final = re.compile(
    r"(?:\$labels|\$?\.Labels|(?P<external>\$externalLabels|\$?\.ExternalLabels))(?:\.(?P<label>\w+))?"
)
_VALUE: Final = frozenset({"$value", ".Value", "$.Value"})
_EXTERNAL_URL: Final = frozenset({"$externalURL", ".ExternalURL", "$.ExternalURL"})


class ExpansionFailed(Exception):
    """A template failed for a sample: the function that did, and why."""


class Sample(NamedTuple):
    """``taken`` takes which conditions are true and false; ``dot`` is what ``.`` stands for within ``with``."""

    labels: Mapping[str, str]
    value: float
    external: External
    taken: set[tuple[int, bool]] | None = None
    dot: Value = ""


LabelsOf: TypeAlias = "Callable[[Sample], Mapping[str, str]]"


@dataclass(frozen=True, slots=True)
class Expression:
    """``source`` is how it is written; ``literal`` is the value of a constant.

    ``label`` is that of the sample which it is; ``labels`` are those which it is all of; ``is_value``: it is the
    sample's value.
    """

    source: str
    evaluate: Callable[[Sample], Value]
    literal: Value | None = None
    label: str | None = None
    labels: LabelsOf | None = None
    is_value: bool = False


Expand: TypeAlias = "Callable[[Sample], str]"
"""Gives the text of a part of a template. Raises ExpansionFailed."""


def reference(text: str, dot: Expression | None) -> Expression:
    """Returns what ``$labels.policy`` and the like give; ``dot`` is what ``.`` is within ``with``.

    Raises TemplateRefused.
    """
    if dot is not None and text.startswith("."):
        return _of_dot(text, dot)
    if text in _VALUE:
        return Expression(text, lambda sample: sample.value, is_value=True)
    if text in _EXTERNAL_URL:
        return Expression(text, lambda sample: sample.external.url)
    match = _LABELS.fullmatch(text)
    if match is None:
        supported = "$labels, $value, $externalLabels and $externalURL"
        if not text.startswith("$"):
            supported = ".Labels, .Value, .ExternalLabels and .ExternalURL"
        raise TemplateRefused(f"`{text}` is not supported: a rule knows {supported}")
    labels, name = _external_labels if match["external"] else _sample_labels, match["label"]
    if name is None:
        return Expression(text, lambda sample: dict(labels(sample)), labels=labels)
    return _label(text, name, labels)


def _of_dot(text: str, dot: Expression) -> Expression:
    if text == ".":
        return replace(dot, source=text, evaluate=lambda sample: sample.dot, literal=None)
    name = text.removeprefix(".")
    if dot.labels is None or "." in name:
        raise TemplateRefused(f"`{text}` is not supported: `.` is `{dot.source}` there, which has no such field")
    return _label(text, name, dot.labels)


def _label(text: str, name: str, labels: LabelsOf) -> Expression:
    label = name if labels is _sample_labels else None
    return Expression(text, lambda sample: labels(sample).get(name, ""), label=label)


def _sample_labels(sample: Sample) -> Mapping[str, str]:
    return sample.labels


def _external_labels(sample: Sample) -> Mapping[str, str]:
    return sample.external.labels


def call(name: str, arguments: Sequence[Expression]) -> Expression:
    """Returns what a function gives. Raises TemplateRefused."""
    function = FUNCTIONS.get(name)
    if function is None:
        raise TemplateRefused(_why_no_function(name))
    _check_arguments(name, function, arguments)

    def evaluate(sample: Sample) -> Value:
        try:
            return function.call(argument.evaluate(sample) for argument in arguments)
        except ValueError as error:
            raise ExpansionFailed(f"{name}: {error}") from None

    return Expression(name, evaluate)


def _why_no_function(name: str) -> str:
    if name in NEEDS_PROMETHEUS:
        return f"`{name}` is answered by Prometheus alone, and is not supported"
    if name in ELSEWHERE:
        return f"`{name}` is a function of Prometheus' templates that is not supported here"
    if name == "nil":
        return "`nil` is not supported"
    return f"`{name}` is not a function of templates{did_you_mean(name, FUNCTIONS)}"


def _check_arguments(name: str, function: Function, arguments: Sequence[Expression]) -> None:
    count = len(arguments)
    if count < function.parameters or (count > function.parameters and not function.variadic):
        least = "at least " if function.variadic else ""
        raise TemplateRefused(f"{name} takes {least}{counted(function.parameters, 'argument')}, not {count}")
    for argument in arguments[: function.texts]:
        if argument.literal is not None and not isinstance(argument.literal, str):
            raise TemplateRefused(f"{name} takes text, not {argument.source}")
    if name == "printf" and arguments[0].literal is None:
        raise TemplateRefused("the format of printf must be written out")
    if name == "printf" and (directive := unsupported_directive(str(arguments[0].literal))):
        raise TemplateRefused(f"`{directive}` is not supported in a format")
