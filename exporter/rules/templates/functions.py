"""The functions that a rule's templates may call: of Go's and Prometheus' own, those that texts of alerts use."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

from exporter.durations import parse_duration
from exporter.numbers import not_finite
from exporter.rules.golang import compile_pattern, expand, quote, shortest, title
from exporter.rules.promql.functions import EPOCH
from exporter.rules.templates.values import FunctionFailed, Value, sprint, sprintf, type_name

_LARGE: Final = "kMGTPEZY"
_SMALL: Final = "munpfazy"
_MOST_NANOSECONDS: Final = 2.0**63
"""What Prometheus counts in 64 bits: the years 1678 to 2262."""

_MOST_SECONDS: Final = 2**63
"""From here on Go's whole numbers are the least one, 2**63 below 0."""

_NUMBER: Final = re.compile(r"nan|[+-]?(?:inf|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)", re.IGNORECASE)


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


def _first(arguments: Iterator[Value], *, decisive: bool) -> Value:
    """Returns the first argument that decides, or the last."""
    value: Value = ""
    for value in arguments:
        if bool(value) is decisive:
            break
    return value


def _equal(first: Value, *others: Value) -> bool:
    if isinstance(first, dict) or any(type(other) is not type(first) for other in others):
        raise _not_comparable(first, *others)
    return any(first == other for other in others)


def _ordered(compare: Callable[[Any, Any], bool], left: Value, right: Value) -> bool:
    if isinstance(left, bool | dict) or type(left) is not type(right):
        raise _not_comparable(left, right)
    return compare(left, right)


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


def _replace_all(pattern: str, replacement: str, text: str) -> str:
    """An empty match right behind another one is none to Go; Python's own ``sub`` takes it for one."""
    expression = compile_pattern(pattern)
    result, start, end = "", 0, 0
    while start <= len(text) and (match := expression.search(text, start)) is not None:
        result += text[end : match.start()]
        if match.end() > end or match.start() == 0:
            result += expand(replacement, match, expression.groupindex)
        end = match.end()
        start = max(end, start + 1)
    return result + text[end:]


def humanize(value: Value) -> str:
    """Returns four digits with a metric prefix: 1.235M."""
    number = as_float(value)
    if number == 0 or not math.isfinite(number):
        return _four_digits(number)
    return _large(number, 1000.0) if abs(number) >= 1 else _small(number)


def humanize1024(value: Value) -> str:
    """Returns four digits with a binary prefix: 1.177Mi."""
    number = as_float(value)
    if abs(number) <= 1 or not math.isfinite(number):
        return _four_digits(number)
    text = _large(number, 1024.0)
    return f"{text}i" if text[-1] in _LARGE else text


def humanize_duration(value: Value) -> str:
    """Returns seconds as days, hours, minutes and seconds; less than a minute with four digits."""
    number = as_float(value)
    if not math.isfinite(number):
        return _four_digits(number)
    if abs(number) < 1:
        return (_small(number) if number else _four_digits(number)) + "s"
    sign = "-" if number < 0 else ""
    whole = int(abs(number))
    minutes, seconds = divmod(min(whole, _MOST_SECONDS), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if whole >= _MOST_SECONDS:
        return f"{sign}-{days}d -{hours}h -{minutes}m -{seconds}s"
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    return f"{sign}{minutes}m {seconds}s" if minutes else f"{_four_digits(number)}s"


def humanize_percentage(value: Value) -> str:
    """Returns a share as a percentage, with four digits."""
    return f"{_four_digits(as_float(value) * 100)}%"


def humanize_timestamp(value: Value) -> str:
    """Returns what `to_time` does, and NaN and the infinities by their names."""
    number = as_float(value)
    return to_time(number) if math.isfinite(number) else _four_digits(number)


def to_time(value: Value) -> str:
    """Returns seconds since 1970 as Go prints a time, in whole milliseconds."""
    number = as_float(value)
    if not math.isfinite(number):
        raise FunctionFailed("value is NaN or Inf")
    if abs(number * 1e9) > _MOST_NANOSECONDS:
        raise FunctionFailed(f"{shortest(number)} is not a time of the years 1678 to 2262")
    at = EPOCH + timedelta(milliseconds=int(number * 1e9) // 10**6)
    fraction = f"{at:%f}".rstrip("0")
    return f"{at:%Y-%m-%d %H:%M:%S}{'.' + fraction if fraction else ''} +0000 UTC"


def as_float(value: Value) -> float:
    """Returns a number, or one written as text. Raises FunctionFailed."""
    if isinstance(value, bool | dict):
        raise FunctionFailed(f"expected a number, got {type_name(value)}")
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise FunctionFailed(f"{quote(value)} is not a number")
    return float(value)


def _four_digits(number: float) -> str:
    return f"{number:.4g}" if math.isfinite(number) else not_finite(number)


def _large(number: float, factor: float) -> str:
    used = ""
    for prefix in _LARGE:
        if abs(number) < factor:
            break
        used = prefix
        number /= factor
    return _four_digits(number) + used


def _small(number: float) -> str:
    used = ""
    for prefix in _SMALL:
        if abs(number) >= 1:
            break
        used = prefix
        number *= 1000
    return _four_digits(number) + used


def _strip_port(address: str) -> str:
    match = _HOST_PORT.fullmatch(address)
    return (match["bracketed"] or match["plain"] or "") if match else address


_HOST_PORT: Final = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*)):[^:\[\]]*")


FUNCTIONS: Final[Mapping[str, Function]] = {
    "and": Function(partial(_first, decisive=False), 1, variadic=True, lazy=True),
    "or": Function(partial(_first, decisive=True), 1, variadic=True, lazy=True),
    "not": Function(operator.not_, 1),
    "eq": Function(_equal, 2, variadic=True),
    "ne": Function(lambda left, right: not _equal(left, right), 2),
    "lt": Function(partial(_ordered, operator.lt), 2),
    "le": Function(partial(_ordered, operator.le), 2),
    # Go asks for less, or less or equal, and turns the answer round: of NaN both are true.
    "gt": Function(partial(_ordered, lambda left, right: not left <= right), 2),
    "ge": Function(partial(_ordered, lambda left, right: not left < right), 2),
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
    "title": Function(title, 1, texts=1),
    "toUpper": Function(str.upper, 1, texts=1),
    "toLower": Function(str.lower, 1, texts=1),
    "match": Function(lambda pattern, text: compile_pattern(pattern).search(text) is not None, 2, texts=2),
    "reReplaceAll": Function(_replace_all, 3, texts=3),
    "stripPort": Function(_strip_port, 1, texts=1),
    "parseDuration": Function(parse_duration, 1, texts=1),
}

NEEDS_PROMETHEUS: Final = frozenset(
    {"query", "first", "value", "label", "strvalue", "tmpl", "externalURL", "pathPrefix", "now"}
)
"""Known to Prometheus; what they give depends on it, not on the sample alone."""

ELSEWHERE: Final = frozenset(
    {"html", "js", "urlquery", "safeHtml", "graphLink", "tableLink", "stripDomain", "println", "slice"}
    | {"sortByLabel", "args", "call", "toDuration"}
)
"""Known to Prometheus, and of no use in the texts of these alerts."""
