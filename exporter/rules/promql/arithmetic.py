"""Numbers as Go, and so Prometheus, computes them: nothing raises, every case has a float."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Final


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


ARITHMETIC: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
    "%": modulo,
    "^": power,
}

COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
