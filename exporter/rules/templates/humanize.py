"""Numbers for people, as Prometheus' templates write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from exporter.numbers import not_finite
from exporter.rules.strconv import quote, shortest
from exporter.rules.templates.values import FunctionFailed, Value, type_name

_LARGE: Final = "kMGTPEZY"
_SMALL: Final = "munpfazy"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_NANOSECONDS: Final = 2.0**63
"""What Prometheus counts in 64 bits: the years 1678 to 2262."""

_NUMBER: Final = re.compile(r"nan|[+-]?(?:inf|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)", re.IGNORECASE)


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
