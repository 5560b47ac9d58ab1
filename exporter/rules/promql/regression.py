"""The line of least squares through samples, to the bit as Prometheus computes it."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

from exporter.buckets.gauge_history import Samples
from exporter.rules.promql.compensation import compensated, compensated_sum, greatest
from exporter.rules.promql.functions import divide


def regression(samples: Samples, at_ms: int) -> tuple[float, float]:
    """Returns the slope per second of the least squares' line, and its value at a time."""
    values = samples.values
    first = values[0]
    if values[-1] == first and all(value == first for value in values):
        return (math.nan, math.nan) if math.isinf(first) else (0.0, first)
    times, count = _seconds(samples.times_ms, at_ms), len(values)
    x, xx = times.total, times.total_of_squares
    y = compensated_sum(samples)
    xy = compensated(list(map(operator.mul, times.seconds, values)), times.greatest * greatest(samples))
    slope = divide(xy - x * y / count, xx - x * x / count)
    return slope, y / count - slope * x / count


class _Seconds(NamedTuple):
    """The times of samples as seconds since an instant, and what is computed of these alone."""

    seconds: Sequence[float]
    total: float
    total_of_squares: float
    greatest: float


class _Latest:
    """What was computed last: a participant's series have their samples at the same times."""

    known: tuple[Sequence[int], int, _Seconds] = (), 0, _Seconds((), 0.0, 0.0, 0.0)


def _seconds(times_ms: Sequence[int], at_ms: int) -> _Seconds:
    known_times_ms, known_at_ms, known = _Latest.known
    if times_ms == known_times_ms and at_ms == known_at_ms:
        return known
    seconds = [(time_ms - at_ms) / 1e3 for time_ms in times_ms]
    most = max(abs(seconds[0]), abs(seconds[-1]))
    squares = list(map(operator.mul, seconds, seconds))
    computed = _Seconds(seconds, compensated(seconds, most), compensated(squares, most * most), most)
    _Latest.known = times_ms, at_ms, computed
    return computed
