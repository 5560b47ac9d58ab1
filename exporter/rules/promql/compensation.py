"""Sums of samples as Prometheus 3 compensates them for rounding, to the bit, mostly without doing so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from exporter.buckets.gauge_history import Samples
from exporter.rules.promql.aggregations import total

_EXACT: Final = 2.0**52
_LARGEST: Final = 1e300
"""Sums of smaller values are finite."""

_ROUNDING: Final = 2.0**-53
"""What one operation loses at most, of its result."""

_BUILT_IN: Final = sum([1.0, 1e100, 1.0, -1e100]) == 2.0
"""Whether the built-in is Neumaier's sum, as Prometheus' is: from Python 3.12 on."""


def is_exact(samples: Samples) -> bool:
    """Whether the compensation loses nothing, so that the sum is the exact one, rounded once.

    All that is added or lost is a multiple of the last place of the least value; what is lost in ``count`` additions is
    at most ``count`` half last places of ``count`` times the greatest. It is added exactly while that is less than 2^53
    of the former.
    """
    count, magnitudes = len(samples.values), samples.magnitudes
    if magnitudes is None:
        return False
    least, greatest = magnitudes
    return count * count * greatest < _EXACT * least and count * greatest < _LARGEST


def greatest(samples: Samples) -> float:
    """Returns what no magnitude is above; NaN: it is not known, or one is NaN."""
    return math.nan if samples.magnitudes is None else samples.magnitudes.greatest


def compensated_sum(samples: Samples) -> float:
    return math.fsum(samples.values) if is_exact(samples) else compensated(samples.values, greatest(samples))


def compensated(values: Sequence[float], most: float) -> float:
    """Returns the sum of values of which no magnitude is above ``most``; NaN: it is not known.

    What the compensation itself loses is at most ``count`` roundings of ``count`` roundings of ``count`` times the
    most. Where the exact sum is not that close to where rounding takes the next value, it is rounded to the same.
    """
    if not len(values) * most < _LARGEST:
        return total(values)
    if _BUILT_IN:
        return sum(values)
    exact = math.fsum(values)
    lost = 2.0 * len(values) ** 3 * _ROUNDING**2 * most
    rest = math.fsum([*values, -exact])
    if abs(rest) + lost < math.ulp(math.nextafter(exact, 0.0)) / 2:
        return exact
    return total(values)
