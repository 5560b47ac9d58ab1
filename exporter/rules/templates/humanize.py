"""Numbers for people, as Prometheus' templates write them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from exporter.rules.templates.go_format import formatted, quoted, shortest
from exporter.rules.templates.values import CallFailed, Value, type_name

_LARGE: Final = "kMGTPEZY"
_SMALL: Final = "munpfazy"

_FLOAT: Final = re.compile(
    r"nan|[+-]?(?:inf|infinity|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?[0-9]+)",
    re.IGNORECASE,
)


def humanize(value: Value) -> str:
    """Returns four digits with a metric prefix: 1.235M."""
    number = as_float(value)
    if number == 0 or not math.isfinite(number):
        return formatted("%.4g", [number])
    return formatted("%.4g%s", [*(_large(number, 1000.0) if abs(number) >= 1 else _small(number))])


def humanize1024(value: Value) -> str:
    number = as_float(value)
    if abs(number) <= 1 or not math.isfinite(number):
        return formatted("%.4g", [number])
    number, prefix = _large(number, 1024.0)
    return formatted("%.4g%s", [number, f"{prefix}i" if prefix else ""])


def humanize_duration(value: Value) -> str:
    """Returns seconds as days, hours, minutes and seconds; less than a minute with four digits."""
    number = as_float(value)
    if not math.isfinite(number):
        return formatted("%.4g", [number])
    if abs(number) < 1:
        return formatted("%.4g%ss", [number, ""] if number == 0 else [*_small(number)])
    sign, number = ("-" if number < 0 else ""), abs(number)
    minutes, seconds = _divided(int(number) if number < 2.0**63 else -(2**63), 60)
    hours, minutes = _divided(minutes, 60)
    days, hours = _divided(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    return f"{sign}{minutes}m {seconds}s" if minutes else formatted("%s%.4gs", [sign, number])


def humanize_percentage(value: Value) -> str:
    return formatted("%.4g%%", [as_float(value) * 100])


def humanize_timestamp(value: Value) -> str:
    number = as_float(value)
    return to_time(number) if math.isfinite(number) else formatted("%.4g", [number])


def to_time(value: Value) -> str:
    """Returns seconds since 1970 as Go prints a time, in whole milliseconds."""
    number = as_float(value)
    if not math.isfinite(number):
        raise CallFailed("value is NaN or Inf")
    if abs(number * 1e9) > 2.0**63:
        raise CallFailed(
            f"{shortest(number)} cannot be represented as a nanoseconds timestamp since it overflows int64"
        )
    milliseconds, _ = _divided(int(number * 1e9), 10**6)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    part = f"{at:%f}".rstrip("0")
    return f"{at:%Y-%m-%d %H:%M:%S}{'.' + part if part else ''} +0000 UTC"


def as_float(value: Value) -> float:
    """Returns a number, or one written as text. Raises CallFailed."""
    if isinstance(value, bool | dict):
        raise CallFailed(f"can't convert {type_name(value)} to float")
    if not isinstance(value, str):
        return float(value)
    if not _FLOAT.fullmatch(value):
        raise CallFailed(f"strconv.ParseFloat: parsing {quoted(value)}: invalid syntax")
    try:
        number = float.fromhex(value) if "x" in value.lower() else float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number) and "i" not in value.lower():
        raise CallFailed(f"strconv.ParseFloat: parsing {quoted(value)}: value out of range")
    return number


def _divided(dividend: int, divisor: int) -> tuple[int, int]:
    """Quotient and remainder, truncated towards zero as Go does."""
    quotient = abs(dividend) // divisor * (1 if dividend >= 0 else -1)
    return quotient, dividend - quotient * divisor


def _large(number: float, factor: float) -> tuple[float, str]:
    used = ""
    for prefix in _LARGE:
        if abs(number) < factor:
            break
        used = prefix
        number /= factor
    return number, used


def _small(number: float) -> tuple[float, str]:
    used = ""
    for prefix in _SMALL:
        if abs(number) >= 1:
            break
        used = prefix
        number *= 1000
    return number, used
