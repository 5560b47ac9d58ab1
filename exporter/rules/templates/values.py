"""Values of templates, and how they are written: ``print``, ``printf``, and numbers for people.

Python's own types stand for Go's string, float64, int, bool and map[string]string.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from exporter.numbers import not_finite
from exporter.rules.golang import quote, shortest

Value: TypeAlias = "str | float | int | bool | dict[str, str]"

VERBS: Final = frozenset("vsqdfegt%")

_DIRECTIVE: Final = re.compile(
    r"%(?P<flags>[-+0]*)(?P<width>[1-9][0-9]{0,2})?(?:\.(?P<precision>[0-9]{1,3}))?(?P<verb>.?)", re.DOTALL
)
_WITHOUT_SIGN: Final = frozenset("sqt")
_WITHOUT_PRECISION: Final = frozenset("dqt")

_LARGE: Final = "kMGTPEZY"
_SMALL: Final = "munpfazy"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_NANOSECONDS: Final = 2.0**63
"""What Prometheus counts in 64 bits: the years 1678 to 2262."""

_NUMBER: Final = re.compile(r"nan|[+-]?(?:inf|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)", re.IGNORECASE)


class FunctionFailed(ValueError):
    """A function of templates cannot use its arguments."""


def type_name(value: Value) -> str:
    """Returns the name of Go's type."""
    return {str: "string", float: "float64", int: "int", bool: "bool", dict: "map[string]string"}[type(value)]


def format_value(value: Value) -> str:
    """Returns the value as ``%v``."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{value[name]}" for name in sorted(value)) + "]"
    return shortest(value) if isinstance(value, float) else str(value)


def sprint(*values: Value) -> str:
    """Returns the values as ``print``: a space between two that are both no text."""
    text = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            text += " "
        text += format_value(value)
    return text


def unsupported_directive(template: str) -> str | None:
    """Returns the first directive of a format that is not supported here."""
    for match in _DIRECTIVE.finditer(template):
        verb = match["verb"]
        if (
            (verb and verb not in VERBS)
            or ("+" in match["flags"] and verb in _WITHOUT_SIGN)
            or (match["precision"] and verb in _WITHOUT_PRECISION)
        ):
            return match[0]
    return None


def sprintf(template: str, *values: Value) -> str:
    """Returns what ``printf`` writes, with Go's complaints where values and verbs do not fit each other."""
    remaining = list(values)

    def replace(match: re.Match[str]) -> str:
        verb = match["verb"]
        if verb == "%":
            return "%"
        if not verb:
            return "%!(NOVERB)"
        return _format(match, remaining.pop(0)) if remaining else f"%!{verb}(MISSING)"

    text = _DIRECTIVE.sub(replace, template)
    if remaining:
        text += "%!(EXTRA " + ", ".join(f"{type_name(value)}={format_value(value)}" for value in remaining) + ")"
    return text


def _format(directive: re.Match[str], value: Value) -> str:
    flags, width, verb = directive["flags"], int(directive["width"] or 0), directive["verb"]
    precision = None if directive["precision"] is None else int(directive["precision"])
    if isinstance(value, str) and verb in "vsq":
        text = quote(value) if verb == "q" else value[:precision]
    elif isinstance(value, bool) and verb in "vt":
        text = format_value(value)
    elif isinstance(value, float) and verb in "vfeg":
        text = _format_float(value, verb, precision)
    elif isinstance(value, int) and not isinstance(value, bool) and verb in "vd":
        text = str(value)
    elif isinstance(value, dict) and verb in "vs":
        return format_value(value)
    else:
        return f"%!{verb}({type_name(value)}={format_value(value)})"
    if "+" in flags and verb in "dfeg" and text[0] not in "+-":
        text = f"+{text}"
    if "-" in flags:
        return text.ljust(width)
    is_finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return text.zfill(width) if "0" in flags and is_finite else text.rjust(width)


def _format_float(value: float, verb: str, precision: int | None) -> str:
    if not math.isfinite(value):
        return not_finite(value)
    if verb in "vg" and precision is None:
        return shortest(value)
    return f"%.{6 if precision is None else precision}{'g' if verb == 'v' else verb}" % value


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
    minutes, seconds = divmod(int(abs(number)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
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
    at = _EPOCH + timedelta(milliseconds=int(number * 1e9) // 10**6)
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
