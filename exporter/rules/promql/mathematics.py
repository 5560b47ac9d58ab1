"""The mathematical functions of PromQL: NaN and infinities where Python raises, as Go has them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final


def _total(function: Callable[[float], float], overflow: Callable[[float], float] = abs) -> Callable[[float], float]:
    """Returns a function that is NaN outside its domain; too large a result has the sign of ``overflow``."""

    def computed(value: float) -> float:
        try:
            return function(value)
        except ValueError:
            return math.nan
        except OverflowError:
            return math.copysign(math.inf, overflow(value))

    return computed


def _logarithm(function: Callable[[float], float]) -> Callable[[float], float]:
    """Returns a logarithm that is -Inf of 0, and NaN of what is negative."""
    computed = _total(function)
    return lambda value: computed(value) if value else -math.inf


def _atanh(value: float) -> float:
    return math.copysign(math.inf, value) if abs(value) == 1 else math.atanh(value)


MATHEMATICS: Final[Mapping[str, Callable[[float], float]]] = {
    "sqrt": _total(math.sqrt),
    "exp": _total(math.exp),
    "ln": _logarithm(math.log),
    "log2": _logarithm(math.log2),
    "log10": _logarithm(math.log10),
    "deg": lambda value: value * (180 / math.pi),
    "rad": lambda value: value * (math.pi / 180),
    "sin": _total(math.sin),
    "cos": _total(math.cos),
    "tan": _total(math.tan),
    "asin": _total(math.asin),
    "acos": _total(math.acos),
    "atan": math.atan,
    "sinh": _total(math.sinh, lambda value: value),
    "cosh": _total(math.cosh),
    "tanh": math.tanh,
    "asinh": math.asinh,
    "acosh": _total(math.acosh),
    "atanh": _total(_atanh),
}
