"""The functions that a rule's templates may call: of Go's and Prometheus' own, those that texts of alerts use."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exporter.durations import parse_duration
from exporter.rules.golang import compile_pattern
from exporter.rules.templates.values import (
    FunctionFailed,
    Value,
    humanize,
    humanize1024,
    humanize_duration,
    humanize_percentage,
    humanize_timestamp,
    sprint,
    sprintf,
    to_time,
    type_name,
)


@dataclass(frozen=True, slots=True)
class Function:
    """``parameters``: how many arguments, the last of them any number of times where ``variadic``.

    ``texts`` of the parameters, from the first on, take text only. ``lazy``: takes an iterator, whose arguments are
    evaluated one by one.
    """

    run: Callable[..., Value]
    parameters: int
    variadic: bool = False
    texts: int = 0
    lazy: bool = False

    def call(self, arguments: Iterator[Value]) -> Value:
        """Raises ValueError, a sentence."""
        if self.lazy:
            return self.run(arguments)
        values = list(arguments)
        for value in values[: self.texts]:
            if not isinstance(value, str):
                raise FunctionFailed(f"expected string, got {type_name(value)}")
        return self.run(*values)


def _until(*, decisive: bool) -> Callable[[Iterator[Value]], Value]:
    """Returns the first argument that decides, or the last."""

    def run(arguments: Iterator[Value]) -> Value:
        value: Value = ""
        for value in arguments:
            if bool(value) is decisive:
                break
        return value

    return run


def _equal(first: Value, *others: Value) -> bool:
    if isinstance(first, dict) or any(type(other) is not type(first) for other in others):
        raise _not_comparable(first, *others)
    return any(first == other for other in others)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Value, Value], bool]:
    def run(left: Value, right: Value) -> bool:
        if isinstance(left, bool | dict) or type(left) is not type(right):
            raise _not_comparable(left, right)
        return compare(left, right)

    return run


def _not_comparable(*values: Value) -> FunctionFailed:
    types = [type_name(value) for value in values]
    hint = "; write the number with a decimal point, as 50.0" if {"float64", "int"} <= {*types} else ""
    return FunctionFailed(f"cannot compare {' and '.join(types)}{hint}")


def _length(value: Value) -> int:
    """Returns how many bytes a text has, or how many labels there are."""
    if not isinstance(value, str | dict):
        raise FunctionFailed(f"{type_name(value)} has no length")
    return len(value.encode() if isinstance(value, str) else value)


def _index(labels: Value, name: Value) -> str:
    if not isinstance(labels, dict) or not isinstance(name, str):
        raise FunctionFailed(f"expected $labels and a name, got {type_name(labels)} and {type_name(name)}")
    return labels.get(name, "")


def _title(text: str) -> str:
    return re.sub(r"\b[^\W\d_]", lambda match: match[0].upper(), text)


def _replace_all(pattern: str, replacement: str, text: str) -> str:
    """An empty match right behind another one is none to Go; Python's own ``sub`` takes it for one."""
    expression = compile_pattern(pattern)
    result, start, end = "", 0, 0
    while start <= len(text) and (match := expression.search(text, start)) is not None:
        result += text[end : match.start()]
        if match.end() > end or match.start() == 0:
            result += _expand(replacement, match, expression.groupindex)
        end = match.end()
        start = max(end, start + 1)
    return result + text[end:]


def _expand(replacement: str, match: Any, names: Mapping[str, int]) -> str:
    def group(reference: re.Match[str]) -> str:
        if reference["dollar"]:
            return "$"
        name = reference["braced"] or reference["plain"]
        index = int(name) if _GROUP_NUMBER.fullmatch(name) else names.get(name)
        return (match.group(index) or "") if index is not None and index <= match.re.groups else ""

    return _GROUP_REFERENCE.sub(group, replacement)


_GROUP_REFERENCE: Final = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<braced>\w+)\}|(?P<plain>\w+))")
_GROUP_NUMBER: Final = re.compile(r"0|[1-9][0-9]?")


def _strip_port(address: str) -> str:
    match = _HOST_PORT.fullmatch(address)
    return (match["bracketed"] or match["plain"] or "") if match else address


_HOST_PORT: Final = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*)):[^:\[\]]*")


FUNCTIONS: Final[Mapping[str, Function]] = {
    "and": Function(_until(decisive=False), 1, variadic=True, lazy=True),
    "or": Function(_until(decisive=True), 1, variadic=True, lazy=True),
    "not": Function(operator.not_, 1),
    "eq": Function(_equal, 2, variadic=True),
    "ne": Function(lambda left, right: not _equal(left, right), 2),
    "lt": Function(_ordered(operator.lt), 2),
    "le": Function(_ordered(operator.le), 2),
    # Go asks for less, or less or equal, and turns the answer round: of NaN both are true.
    "gt": Function(_ordered(lambda left, right: not left <= right), 2),
    "ge": Function(_ordered(lambda left, right: not left < right), 2),
    "len": Function(_length, 1),
    "index": Function(_index, 2),
    "print": Function(sprint, 0, variadic=True),
    "printf": Function(sprintf, 1, variadic=True, texts=1),
    "humanize": Function(humanize, 1),
    "humanize1024": Function(humanize1024, 1),
    "humanizeDuration": Function(humanize_duration, 1),
    "humanizePercentage": Function(humanize_percentage, 1),
    "humanizeTimestamp": Function(humanize_timestamp, 1),
    "toTime": Function(to_time, 1),
    "title": Function(_title, 1, texts=1),
    "toUpper": Function(str.upper, 1, texts=1),
    "toLower": Function(str.lower, 1, texts=1),
    "match": Function(lambda pattern, text: compile_pattern(pattern).search(text) is not None, 2, texts=2),
    "reReplaceAll": Function(_replace_all, 3, texts=3),
    "stripPort": Function(_strip_port, 1, texts=1),
    "parseDuration": Function(parse_duration, 1, texts=1),
}

NEEDS_PROMETHEUS: Final = frozenset(
    {"query", "first", "value", "label", "strvalue", "sortByLabel", "args", "tmpl", "externalURL", "pathPrefix", "call"}
)
"""Known to Prometheus; what they give depends on it, not on the sample alone."""

UNSUPPORTED: Final = frozenset(
    {"html", "js", "urlquery", "safeHtml", "graphLink", "tableLink", "stripDomain", "println", "slice"}
)
"""Known to Prometheus, and of no use in the texts of these alerts."""
