"""The line of least squares is that of Prometheus, to the bit."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.gauge_history import Magnitudes, Samples
from exporter.rules.promql.regression import regression

TOKENS = st.lists(st.integers(0, 72_000).map(float), min_size=2, max_size=300)


@given(TOKENS, st.integers(1, 3), st.integers(1, 3))
def test_series_of_other_times_do_not_share_what_is_computed_of_times(values: list[float], first: int, second: int):
    for at_ms in (0, 60_000):
        for interval_s in (first, second, first):
            times_ms = [1_000 * interval_s * index for index in range(len(values))]
            samples = Samples(times_ms, values, Magnitudes(1.0, 72_000.0))
            assert regression(samples, at_ms) == by_hand(samples, at_ms)


def by_hand(samples: Samples, at_ms: int) -> tuple[float, float]:
    """The same by whole numbers, in which nothing is rounded."""
    times = [Fraction(time_ms - at_ms, 1_000) for time_ms in samples.times_ms]
    values = [Fraction(value) for value in samples.values]
    mean_time, mean_value = sum(times) / len(times), sum(values) / len(values)
    spread = sum((time - mean_time) ** 2 for time in times)
    slope = sum((t - mean_time) * (v - mean_value) for t, v in zip(times, values, strict=True)) / spread
    at_once = mean_value - slope * mean_time
    return pytest.approx(float(slope), abs=1e-6), pytest.approx(float(at_once), abs=1e-3)
