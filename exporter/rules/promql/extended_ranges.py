"""The functions of PromQL on ``anchored`` and ``smoothed`` ranges, which know the samples around a range, too.

An anchored range begins with the last sample up to its beginning, a smoothed one ends with the first sample from its
end on, and what lies between two samples is interpolated.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Final

from exporter.buckets.gauge_history import Samples
from exporter.rules.promql.range_functions import RANGE_FUNCTIONS, Extent, RangeFunction


def _difference(
    samples: Samples, extent: Extent, *, smoothed: bool, is_counter: bool, per_second: bool
) -> float | None:
    """Returns the difference between the ends of a range, at which the values are known."""
    times_ms, values = samples.times_ms, samples.values
    begin_ms, end_ms = extent.begin_ms, extent.end_ms
    last = len(times_ms) - 1
    first = max(0, bisect_right(times_ms, begin_ms, 0, last) - 1)
    if smoothed:
        last = bisect_left(times_ms, end_ms, 0, last)
    if times_ms[last] <= begin_ms or (smoothed and times_ms[first] > end_ms):
        return None
    left, right = values[first], values[last]
    if smoothed and times_ms[first] < begin_ms:
        left = interpolated(samples, first, begin_ms, is_counter=is_counter)
    if smoothed and last and times_ms[last] > end_ms:
        right = interpolated(samples, last - 1, end_ms, is_counter=is_counter)
    result, lost = right - left, 0.0
    if is_counter:
        inside = values[first + (times_ms[first] <= begin_ms) : last + (times_ms[last] < end_ms)]
        for before, after in pairwise([left, *inside, right]):
            lost += before if after < before else 0.0
        result += lost
    return result / extent.seconds if per_second else result


def interpolated(samples: Samples, index: int, at_ms: int, *, is_counter: bool) -> float:
    """Returns the value between a sample and the next one; a counter that was reset began at 0."""
    (before_ms, after_ms), (before, after) = samples.times_ms[index : index + 2], samples.values[index : index + 2]
    if is_counter and after < before:
        before = 0.0
    return before + (after - before) * (at_ms - before_ms) / (after_ms - before_ms)


def _from_anchor(samples: Samples, extent: Extent, *, function: RangeFunction) -> float | None:
    """Returns a function of the samples from the last one up to the range's beginning on."""
    anchor = bisect_right(samples.times_ms, extent.begin_ms) - 1
    if anchor + 1 >= len(samples.times_ms):
        return None
    first = max(anchor, 0)
    return function(Samples(samples.times_ms[first:], samples.values[first:]), extent)


def _differences(*, smoothed: bool) -> dict[str, RangeFunction]:
    difference = partial(_difference, smoothed=smoothed)
    return {
        "delta": partial(difference, is_counter=False, per_second=False),
        "increase": partial(difference, is_counter=True, per_second=False),
        "rate": partial(difference, is_counter=True, per_second=True),
    }


EXTENDED_FUNCTIONS: Final[Mapping[str, Mapping[str, RangeFunction]]] = {
    "anchored": {
        **_differences(smoothed=False),
        **{name: partial(_from_anchor, function=RANGE_FUNCTIONS[name]) for name in ("changes", "resets")},
    },
    "smoothed": _differences(smoothed=True),
}
"""By the word behind the range, then by name: no other function takes such a range."""
