"""The functions of PromQL on the samples of one series in a range, as Prometheus 3.16 computes them.

None: the series has no result. Times are milliseconds since 1970, rising; there is at least one sample.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

from exporter.buckets.gauge_history import Samples
from exporter.rules.promql.aggregations import FOLDS, added, mean, quantile
from exporter.rules.promql.compensation import compensated_sum, greatest, is_exact
from exporter.rules.promql.regression import regression

_THRESHOLD: Final = 1.1
"""A first sample that is further from the range's beginning than this many intervals is where its series begins."""

_SQUARED: Final = 1e150
"""The squares of such values, and sums of these, are finite."""


class Extent(NamedTuple):
    """A range, after ``begin_ms`` and up to ``end_ms``, and the instant ``at_ms`` at which it is looked at."""

    begin_ms: int
    end_ms: int
    seconds: float
    at_ms: int


RangeFunction: TypeAlias = "Callable[..., float | None]"
"""Of samples and the extent of their range, then the function's other arguments."""


def _of_values(fold: Callable[..., float]) -> RangeFunction:
    return lambda samples, _, *numbers: fold(*numbers, samples.values)


def _increase(samples: Samples, extent: Extent, *, is_counter: bool, per_second: bool) -> float | None:
    """Returns the difference between the ends of a range, extrapolated from the samples in it."""
    times_ms, values = samples.times_ms, samples.values
    intervals = len(values) - 1
    if not intervals:
        return None
    result = values[-1] - values[0]
    if is_counter:
        for before, after in pairwise(values):
            if after < before:
                result += before
    to_begin = (times_ms[0] - extent.begin_ms) / 1000
    to_end = (extent.end_ms - times_ms[-1]) / 1000
    sampled = (times_ms[-1] - times_ms[0]) / 1000
    average = sampled / intervals
    if to_begin >= average * _THRESHOLD:
        to_begin = average / 2
    if is_counter and result > 0 and values[0] >= 0:
        # A counter is not extrapolated to below zero.
        to_begin = min(to_begin, sampled * (values[0] / result))
    if to_end >= average * _THRESHOLD:
        to_end = average / 2
    factor = (sampled + to_begin + to_end) / sampled
    return result * (factor / extent.seconds if per_second else factor)


def _instant_change(samples: Samples, _: Extent, *, is_rate: bool) -> float | None:
    """Returns the difference of the last two samples; as a rate that of a counter, per second."""
    times_ms, values = samples.times_ms, samples.values
    if len(values) < 2:
        return None
    before, last = values[-2], values[-1]
    if not is_rate:
        return last - before
    change = last if last < before else last - before
    return change / ((times_ms[-1] - times_ms[-2]) / 1000)


def _variance(samples: Samples, _: Extent) -> float:
    """Of a population, by Welford's method, both sums compensated as `added` does: to call it takes twice as long."""
    values = samples.values
    if not greatest(samples) < _SQUARED:
        return _variance_of_any(values)
    mean = lost_mean = squares = lost_squares = count = 0.0
    for value in values:
        count += 1.0
        delta = value - (mean + lost_mean)
        step = delta / count
        sum_ = mean + step
        lost_mean += (mean - sum_) + step if abs(mean) >= abs(step) else (step - sum_) + mean
        mean = sum_
        step = delta * (value - (mean + lost_mean))
        sum_ = squares + step
        lost_squares += (squares - sum_) + step if abs(squares) >= abs(step) else (step - sum_) + squares
        squares = sum_
    return (squares + lost_squares) / count


def _variance_of_any(values: Sequence[float]) -> float:
    mean = lost_mean = squares = lost_squares = 0.0
    for count, value in enumerate(values, start=1):
        delta = value - (mean + lost_mean)
        mean, lost_mean = added(delta / count, mean, lost_mean)
        squares, lost_squares = added(delta * (value - (mean + lost_mean)), squares, lost_squares)
    return (squares + lost_squares) / len(values)


def _deviation(samples: Samples, extent: Extent) -> float:
    variance = _variance(samples, extent)
    return math.nan if variance < 0 else math.sqrt(variance)


def _changes(samples: Samples, _: Extent) -> float:
    values = samples.values
    changes = sum(map(operator.ne, values, values[1:]))
    if math.isnan(greatest(samples)):  # from NaN to NaN is no change
        changes -= sum(1 for before, after in pairwise(values) if math.isnan(before) and math.isnan(after))
    return float(changes)


def _resets(samples: Samples, _: Extent) -> float:
    values = samples.values
    return float(sum(map(operator.gt, values, values[1:])))


def _mean(samples: Samples, _: Extent) -> float:
    values = samples.values
    if not is_exact(samples):
        return mean(values)
    # The built-in compensates from Python 3.12 on, and is the quicker one before.
    sum_ = sum(values) if sys.version_info < (3, 12) else reduce(operator.add, values)
    count = len(values)
    return sum_ / count + math.fsum([*values, -sum_]) / count


def _deriv(samples: Samples, _: Extent) -> float | None:
    return regression(samples, samples.times_ms[0])[0] if len(samples.values) > 1 else None


def _predict_linear(samples: Samples, extent: Extent, seconds: float) -> float | None:
    if len(samples.values) < 2:
        return None
    slope, value = regression(samples, extent.at_ms)
    return slope * seconds + value


RANGE_FUNCTIONS: Final[Mapping[str, RangeFunction]] = {
    "avg_over_time": _mean,
    "count_over_time": _of_values(FOLDS["count"]),
    "first_over_time": lambda samples, _: samples.values[0],
    "last_over_time": lambda samples, _: samples.values[-1],
    "max_over_time": _of_values(FOLDS["max"]),
    "min_over_time": _of_values(FOLDS["min"]),
    "present_over_time": lambda *_: 1.0,
    "quantile_over_time": _of_values(quantile),
    "stddev_over_time": _deviation,
    "stdvar_over_time": _variance,
    "sum_over_time": lambda samples, _: compensated_sum(samples),
    "changes": _changes,
    "resets": _resets,
    "delta": partial(_increase, is_counter=False, per_second=False),
    "increase": partial(_increase, is_counter=True, per_second=False),
    "rate": partial(_increase, is_counter=True, per_second=True),
    "idelta": partial(_instant_change, is_rate=False),
    "irate": partial(_instant_change, is_rate=True),
    "deriv": _deriv,
    "predict_linear": _predict_linear,
}

KEEPS_NAME: Final = frozenset({"first_over_time", "last_over_time"})
