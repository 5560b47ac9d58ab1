"""The operators of PromQL on plain numbers, its functions of time, rounding and limits.

As Go, and so Prometheus, computes them: nothing raises, every case has a float.
"""

from __future__ import annotations

import calendar
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

_EXACT: Final = 2.0**52
"""Floats from here on are whole."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def divide(dividend: float, divisor: float) -> float:
    if divisor:
        return dividend / divisor
    if dividend == 0 or math.isnan(dividend) or math.isnan(divisor):
        return math.nan
    return math.copysign(math.inf, dividend) * math.copysign(1.0, divisor)


def modulo(dividend: float, divisor: float) -> float:
    """The result has the dividend's sign."""
    if math.isinf(dividend) or not divisor:
        return math.nan
    return math.fmod(dividend, divisor)


def power(base: float, exponent: float) -> float:
    """As Go's math.Pow, but for the last digit of some results."""
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError) as error:
        if base and isinstance(error, ValueError):  # a root of a negative number
            return math.nan
        return math.copysign(math.inf, base) if math.fmod(exponent, 2) in {1.0, -1.0} else math.inf


def number_operation(operator: str) -> Callable[[float, float], float]:
    """Comparisons give 1 and 0."""
    if operator in ARITHMETIC:
        return ARITHMETIC[operator]
    compare = COMPARISONS[operator]
    return lambda left, right: 1.0 if compare(left, right) else 0.0


def floor(number: float) -> float:
    if not abs(number) < _EXACT:
        return number
    return math.copysign(float(math.floor(number)), number)


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


def _utc(read: Callable[[datetime], float], seconds: float) -> float:
    """Returns what is read from a time in Unix seconds; NaN outside the years 1 to 9999."""
    try:
        return float(read(EPOCH + timedelta(seconds=math.trunc(seconds))))
    except (OverflowError, ValueError):
        return math.nan


def extreme(pick: Callable[[Sequence[float]], float], values: Sequence[float]) -> float:
    """NaN only where there is nothing else; the builtins give it only where it comes first."""
    if len(values) == 1:  # as it is in most groups
        return values[0]
    extreme = pick(values)
    return pick([value for value in values if not math.isnan(value)] or values) if math.isnan(extreme) else extreme


ARITHMETIC: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "%": modulo,
    "^": power,
    "atan2": math.atan2,
}

COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}

ROUNDING: Final[Mapping[str, Callable[[float], float]]] = {
    "abs": abs,
    "ceil": lambda number: -floor(-number),  # of -0.5 it is -0
    "floor": floor,
    "sgn": sign,
}

CALENDAR: Final[Mapping[str, Callable[[float], float]]] = {
    "minute": partial(_utc, lambda at: at.minute),
    "hour": partial(_utc, lambda at: at.hour),
    "day_of_week": partial(_utc, lambda at: at.isoweekday() % 7),
    "day_of_month": partial(_utc, lambda at: at.day),
    "day_of_year": partial(_utc, lambda at: at.timetuple().tm_yday),
    "days_in_month": partial(_utc, lambda at: calendar.monthrange(at.year, at.month)[1]),
    "month": partial(_utc, lambda at: at.month),
    "year": partial(_utc, lambda at: at.year),
}
"""Of a time in seconds since 1970, in UTC; Sunday is 0."""

LIMITED: Final[Mapping[str, Callable[..., float]]] = {
    "clamp": lambda value, low, high: greater(low, lesser(high, value)),
    "clamp_min": lambda value, low: greater(low, value),
    "clamp_max": lambda value, high: lesser(high, value),
    "round": round_to,
}
