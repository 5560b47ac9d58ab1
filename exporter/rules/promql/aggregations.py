"""The aggregations of PromQL: what a group of values comes to, and which of a group's samples are kept.

Sums compensate for rounding as Prometheus 3 does, with Neumaier's sum; of -0 alone they are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from exporter.rules.promql.functions import extreme
from exporter.rules.promql.series import Sample

Fold: TypeAlias = "Callable[[Sequence[float]], float]"
Choice: TypeAlias = "Callable[[Sequence[Sample], int], Sequence[Sample]]"
"""Returns some samples of a group, by how many."""

_LARGEST: Final = 1.7976931348623157e308


def added(value: float, total: float, lost: float) -> tuple[float, float]:
    """Returns the sum, and what it has lost by rounding so far."""
    sum_ = total + value
    if not -_LARGEST <= sum_ <= _LARGEST and not math.isnan(sum_):
        return sum_, 0.0
    if abs(total) >= abs(value):
        return sum_, lost + ((total - sum_) + value)
    return sum_, lost + ((value - sum_) + total)


def total(values: Sequence[float]) -> float:
    sum_, lost = values[0], 0.0
    for value in values[1:]:
        sum_, lost = added(value, sum_, lost)
    return sum_ + lost


def mean(values: Sequence[float]) -> float:
    """The sum divided by the count; from where the sum would overflow, the mean is moved along with each value."""
    sum_, lost = values[0], 0.0
    for count, value in enumerate(values[1:], start=2):
        next_sum, next_lost = added(value, sum_, lost)
        if math.isinf(next_sum):
            return _moved_along(sum_ / (count - 1), lost / (count - 1), values[count - 1 :], count)
        sum_, lost = next_sum, next_lost
    return sum_ / len(values) + lost / len(values)


def _moved_along(mean_: float, lost: float, values: Sequence[float], first_count: int) -> float:
    for count, value in enumerate(values, start=first_count):
        share = (count - 1) / count
        mean_, lost = added(value / count, share * mean_, share * lost)
    return mean_ + lost


def variance(values: Sequence[float]) -> float:
    """Of a population, by Welford's method."""
    mean_, squares = values[0], 0.0 if math.isfinite(values[0]) else math.nan
    for count, value in enumerate(values[1:], start=2):
        delta = value - mean_
        mean_ += delta / count
        squares += delta * (value - mean_)
    return squares / len(values)


def deviation(values: Sequence[float]) -> float:
    squares = variance(values)
    return math.nan if squares < 0 else math.sqrt(squares)


def quantile(share: float, values: Sequence[float]) -> float:
    """Between two values their weighted mean; NaN is below all others."""
    if math.isnan(share):
        return math.nan
    if not 0 <= share <= 1:
        return math.copysign(math.inf, share)
    ordered = sorted(values, key=_order)
    rank = share * (len(ordered) - 1)
    lower = math.floor(rank)
    weight = rank - lower
    if weight == 0:
        return ordered[lower]
    return ordered[lower] * (1 - weight) + ordered[min(lower + 1, len(ordered) - 1)] * weight


def _order(value: float) -> tuple[bool, float]:
    return (False, 0.0) if math.isnan(value) else (True, value)


def largest(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """NaN comes last; of equal values, the first."""
    return sorted(samples, key=lambda sample: _order(sample[2]), reverse=True)[:count]


def smallest(samples: Sequence[Sample], count: int) -> Sequence[Sample]:
    """NaN comes last; of equal values, the first."""
    return sorted(samples, key=lambda sample: (math.isnan(sample[2]), sample[2]))[:count]


FOLDS: Final[Mapping[str, Fold]] = {
    "sum": total,
    "min": lambda values: extreme(min, values),
    "max": lambda values: extreme(max, values),
    "avg": mean,
    "count": lambda values: float(len(values)),
    "group": lambda _: 1.0,
    "stddev": deviation,
    "stdvar": variance,
}

CHOICES: Final[Mapping[str, Choice]] = {
    "topk": largest,
    "bottomk": smallest,
    "limitk": lambda samples, count: samples[:count],
}
