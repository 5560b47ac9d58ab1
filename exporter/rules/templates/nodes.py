"""The nodes of a parsed template, each of which can be evaluated for a sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from exporter.rules.templates.functions import Function
from exporter.rules.templates.values import Value, format_value


class ExpansionFailed(Exception):
    """A template failed for a sample: the function that did, and why."""


class Sample(NamedTuple):
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant. ``source`` is how it is written."""

    source: str
    value: Value

    def evaluate(self, _: Sample) -> Value:
        return self.value


@dataclass(frozen=True, slots=True)
class Reference:
    """``$labels.x`` (``label``), ``$value`` (``is_value``), or all labels."""

    source: str
    label: str | None = None
    is_value: bool = False

    def evaluate(self, sample: Sample) -> Value:
        if self.is_value:
            return sample.value
        return dict(sample.labels) if self.label is None else sample.labels.get(self.label, "")


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments, of which a pipeline gives the last."""

    source: str
    function: Function
    arguments: tuple[Expression, ...]

    def evaluate(self, sample: Sample) -> Value:
        try:
            return self.function.call(argument.evaluate(sample) for argument in self.arguments)
        except ValueError as error:
            raise ExpansionFailed(f"{self.source}: {error}") from None


Expression: TypeAlias = "Literal | Reference | Call"


@dataclass(frozen=True, slots=True)
class If:
    condition: Expression
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...]


Node: TypeAlias = "str | Expression | If"
"""Text, an action whose value is printed, or a choice."""


def expand(nodes: Sequence[Node], sample: Sample) -> str:
    """Returns the text of the nodes. Raises ExpansionFailed."""
    text = ""
    for node in nodes:
        if isinstance(node, str):
            text += node
        elif isinstance(node, If):
            text += expand(node.then if node.condition.evaluate(sample) else node.otherwise, sample)
        else:
            text += format_value(node.evaluate(sample))
    return text
