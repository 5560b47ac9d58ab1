"""The functions of PromQL that rules may call, on plain numbers."""

from __future__ import annotations

import calendar
import math
from datetime import date
from typing import TYPE_CHECKING, Final

from exporter.rules.promql.arithmetic import divide

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EXACT: Final = 2.0**52
"""Floats from here on are whole."""

_DAYS_IN_400_YEARS: Final = 146_097
_FIRST_YEAR: Final = -292_277_022_399
_TO_1970: Final = (730_692_556 * _DAYS_IN_400_YEARS + date(1970, 1, 1).toordinal() - 1) * 86_400


def floor(number: float) -> float:
    if not abs(number) < _EXACT:
        return number
    return math.copysign(float(math.floor(number)), number)


def ceil(number: float) -> float:
    """Of -0.5 it is -0."""
    if not abs(number) < _EXACT:
        return number
    return math.copysign(float(math.ceil(number)), number)


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


def _instant(seconds: float) -> int:
    """Returns seconds since the year -292277022399, the first one of a 400-year cycle, as Go counts.

    What does not fit 64 bits wraps around, and what is no number is the smallest integer.
    """
    whole = math.trunc(seconds) if math.isfinite(seconds) and abs(seconds) < 2.0**63 else -(2**63)
    return (whole + _TO_1970) % 2**64


def _civil(seconds: float) -> tuple[int, int, int]:
    """Returns year, month and day (UTC), for any year."""
    cycles, day = divmod(_instant(seconds) // 86_400, _DAYS_IN_400_YEARS)
    found = date.fromordinal(day + 1)
    return _FIRST_YEAR - 1 + cycles * 400 + found.year, found.month, found.day


def _days_in_month(seconds: float) -> float:
    year, month, _ = _civil(seconds)
    return float(calendar.monthrange(2000 + year % 400, month)[1])


ROUNDING: Final[Mapping[str, Callable[[float], float]]] = {"abs": abs, "ceil": ceil, "floor": floor, "sgn": sign}

CLOCK: Final[Mapping[str, Callable[[float], float]]] = {
    "minute": lambda t: float(_instant(t) // 60 % 60),
    "hour": lambda t: float(_instant(t) // 3_600 % 24),
    "day_of_week": lambda t: float((_instant(t) // 86_400 + 1) % 7),
    "day_of_month": lambda t: float(_civil(t)[2]),
    "days_in_month": _days_in_month,
    "month": lambda t: float(_civil(t)[1]),
    "year": lambda t: float(_civil(t)[0]),
}
"""Of a time in seconds since 1970, in UTC; Sunday is 0."""
