"""Durations and times as they are used: of ranges, steps, ``offset`` and ``@``.

Prometheus counts in whole milliseconds, and leaves out what is less.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from exporter.rules.promql.functions import modulo, power
from exporter.rules.promql.sources import Moment
from exporter.rules.promql.tree import Duration, Number, Selector, Subquery

_LONGEST_SECONDS: Final = 2.0**63 / 1e9
_NANOSECONDS: Final = 1_000_000
"""In a millisecond."""

InstantOf: TypeAlias = "Callable[[Moment], int]"
"""Returns a time in milliseconds since 1970."""


class Length(NamedTuple):
    """A duration in whole milliseconds, and in seconds as it was given."""

    ms: int
    seconds: float


def length(duration: Duration) -> Length:
    """Raises ValueError, a sentence, where it is none."""
    if isinstance(duration, Number):
        nanoseconds = round(duration.value * 1e9)
        return Length(int(nanoseconds / _NANOSECONDS), nanoseconds / 1e9)
    seconds = _computed(duration)
    if not math.isfinite(seconds) or abs(seconds) > _LONGEST_SECONDS:
        raise ValueError("the duration comes to more than 292y, or to no number")
    return Length(int(seconds * 1000), int(seconds * 1000) / 1000)


def positive_length(duration: Duration) -> Length:
    """Raises ValueError, a sentence, where it is none, or not of a millisecond or more."""
    result = length(duration)
    if result.ms <= 0:
        raise ValueError("a duration of a range or a step is a millisecond or more")
    return result


def offset_ms(selecting: Selector | Subquery) -> int:
    """Raises ValueError, a sentence, where it is none."""
    return 0 if selecting.offset is None else length(selecting.offset).ms


def instant_of(selecting: Selector | Subquery) -> InstantOf:
    """Returns the instant that ``offset`` and ``@`` make of a moment's. Raises ValueError, a sentence."""
    earlier_ms, at = offset_ms(selecting), selecting.at
    if at is None:
        return lambda moment: moment.at_ms - earlier_ms
    if at.seconds is None:
        # An alert's expression is evaluated at one instant: start() and end() both are that.
        return lambda moment: moment.evaluated_at_ms - earlier_ms
    fixed_ms = fixed_instant_ms(at.seconds) - earlier_ms
    return lambda _: fixed_ms


def fixed_instant_ms(seconds: float) -> int:
    return math.floor(abs(seconds) * 1000 + 0.5) * (-1 if seconds < 0 else 1)


def _computed(duration: Duration | None) -> float:
    if duration is None:
        return 0.0
    if isinstance(duration, Number):
        return duration.value
    left, right = _computed(duration.left), _computed(duration.right)
    if duration.operator in {"/", "%"} and not right:
        raise ValueError("a duration is divided by zero")
    return _OPERATIONS[duration.operator](left, right)


def _bounded(left: float, right: float, bound: float, pick: Callable[[float, float], float]) -> float:
    """Returns the lesser or the greater; an infinity that no other can exceed is it beside NaN, too."""
    if bound in {left, right}:
        return bound
    return math.nan if math.isnan(left) or math.isnan(right) else pick(left, right)


_OPERATIONS: Final[Mapping[str, Callable[[float, float], float]]] = {
    "min_of": lambda left, right: _bounded(left, right, -math.inf, min),
    "max_of": lambda left, right: _bounded(left, right, math.inf, max),
    # A rule's expression is evaluated at one instant: there is no step, and no range.
    "step": lambda _left, _right: 0.0,
    "range": lambda _left, _right: 0.0,
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": lambda left, right: left / right,
    "%": modulo,
    "^": power,
}
