"""The functions of PromQL that rules may call, on plain numbers."""

from __future__ import annotations

import calendar
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from exporter.rules.promql.arithmetic import divide

_EXACT: Final = 2.0**52
"""Floats from here on are whole."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def floor(number: float) -> float:
    if not abs(number) < _EXACT:
        return number
    return math.copysign(float(math.floor(number)), number)


def ceil(number: float) -> float:
    """Of -0.5 it is -0."""
    return -floor(-number)


def sign(number: float) -> float:
    """Zero and NaN are themselves."""
    return 1.0 if number > 0 else -1.0 if number < 0 else number


def round_to(number: float, nearest: float) -> float:
    """Halves go up."""
    inverse = divide(1.0, nearest)
    return divide(floor(number * inverse + 0.5), inverse)


def greater(one: float, other: float) -> float:
    """+Inf beats NaN, NaN beats the rest, 0 beats -0."""
    if math.inf in {one, other}:
        return math.inf
    if math.isnan(one) or math.isnan(other):
        return math.nan
    if one == other == 0:
        return one if math.copysign(1.0, one) > 0 else other
    return max(one, other)


def lesser(one: float, other: float) -> float:
    """-Inf beats NaN, NaN beats the rest, -0 beats 0."""
    return -greater(-one, -other)


def _utc(read: Callable[[datetime], float]) -> Callable[[float], float]:
    """Returns a function of Unix seconds; NaN outside the years 1 to 9999."""

    def run(seconds: float) -> float:
        try:
            return float(read(_EPOCH + timedelta(seconds=math.trunc(seconds))))
        except (OverflowError, ValueError):
            return math.nan

    return run


ROUNDING: Final[Mapping[str, Callable[[float], float]]] = {"abs": abs, "ceil": ceil, "floor": floor, "sgn": sign}

CLOCK: Final[Mapping[str, Callable[[float], float]]] = {
    "minute": _utc(lambda at: at.minute),
    "hour": _utc(lambda at: at.hour),
    "day_of_week": _utc(lambda at: at.isoweekday() % 7),
    "day_of_month": _utc(lambda at: at.day),
    "days_in_month": _utc(lambda at: calendar.monthrange(at.year, at.month)[1]),
    "month": _utc(lambda at: at.month),
    "year": _utc(lambda at: at.year),
}
"""Of a time in seconds since 1970, in UTC; Sunday is 0."""
