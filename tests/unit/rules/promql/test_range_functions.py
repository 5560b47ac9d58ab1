"""Functions of the samples in a range. The figures are worked out by hand from Prometheus' documentation."""

from __future__ import annotations

import math
import struct
from array import array
from itertools import cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.gauge_history import Magnitudes, Samples
from exporter.rules.promql.extended_ranges import EXTENDED_FUNCTIONS
from exporter.rules.promql.range_functions import RANGE_FUNCTIONS, Extent

NAN, INF = math.nan, math.inf
MINUTE_MS = 60_000


def by_minute(*values: float, first: int = 1) -> Samples:
    return Samples([MINUTE_MS * (first + index) for index in range(len(values))], list(values))


def result(function: str, samples: Samples, *numbers: float, minutes: int = 5, end: int = 5) -> float | None:
    """A function of the range of so many minutes up to the minute ``end``."""
    extent = Extent((end - minutes) * MINUTE_MS, end * MINUTE_MS, minutes * 60.0, end * MINUTE_MS)
    return RANGE_FUNCTIONS[function](samples, extent, *numbers)


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        ("avg_over_time", (1, 2, 6), 3),
        ("avg_over_time", (1e308, 1e308), 1e308),
        ("count_over_time", (1, NAN, 6), 3),
        ("first_over_time", (1, 2, 6), 1),
        ("last_over_time", (1, 2, NAN), NAN),
        ("max_over_time", (NAN, 2, 6, NAN), 6),
        ("max_over_time", (NAN, NAN), NAN),
        ("min_over_time", (NAN, 2, 6), 2),
        ("present_over_time", (NAN,), 1),
        ("sum_over_time", (0.1, 0.2, 0.3), 0.6),
        ("sum_over_time", (INF, -INF), NAN),
        ("stdvar_over_time", (1, 2, 3, 6), 3.5),
        ("stddev_over_time", (1, 3), 1),
        ("stddev_over_time", (1, INF), NAN),
        ("changes", (1, 1, 2, NAN, NAN, 1), 3),
        ("resets", (1, 3, 2, 2, 0), 2),
        ("idelta", (1, 5, 3), -2),
        ("idelta", (1,), None),
        ("irate", (0, 60, 180), 2),
        ("irate", (0, 60, 30), 0.5),
        ("irate", (7,), None),
        ("deriv", (0, 60, 120), 1),
        ("deriv", (5, 5), 0),
        ("deriv", (INF, INF), NAN),
        ("deriv", (5,), None),
    ],
)
def test_functions_of_the_values(function: str, values: tuple[float, ...], expected: float | None):
    got = result(function, by_minute(*values))

    assert got == expected or (expected is not None and got is not None and math.isnan(expected) and math.isnan(got))


@pytest.mark.parametrize(
    ("function", "samples", "expected"),
    [
        ("delta", by_minute(10, 8, 6, 4, 2), -10),  # -8 in four minutes, extrapolated to five
        ("increase", by_minute(0, 1, 2, 3, 4), 4),  # not to below zero
        ("increase", by_minute(100, 101, 102, 103, 104), 5),
        ("rate", by_minute(100, 160, 220, 280, 340), 1),
        ("increase", by_minute(100, 110, 5, 10, 15), 31.25),  # a reset: 10 + 5 + 5 + 5, extrapolated
        ("delta", by_minute(4, 6, first=2), 4),  # at both ends by half an interval only
        ("delta", by_minute(4), None),
        ("increase", by_minute(-4, -2), 5),  # what begins below zero is extrapolated to there
        ("rate", by_minute(NAN, 1), NAN),
    ],
)
def test_differences_are_extrapolated_to_the_ends_of_the_range(function: str, samples: Samples, expected: float | None):
    got = result(function, samples)

    assert got == pytest.approx(expected, nan_ok=True)


def test_a_line_is_drawn_on_from_the_instant_of_the_evaluation():
    samples = by_minute(100, 90, 80, 70, 60)

    assert result("predict_linear", samples, 600.0) == pytest.approx(-40)
    assert result("predict_linear", samples, 0.0, end=6) == pytest.approx(50)
    assert result("predict_linear", by_minute(3), 60.0) is None
    assert result("predict_linear", by_minute(3, 3), 60.0) == 3


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2), (0.25, 1.5), (1, 9), (-1, -INF), (2, INF), (NAN, NAN)])
def test_a_quantile_lies_between_two_values(share: float, expected: float):
    assert result("quantile_over_time", by_minute(9, 1, 2), share) == pytest.approx(expected, nan_ok=True)


def extended(mode: str, function: str, samples: Samples, *, begin: float = 1, end: float = 3) -> float | None:
    extent = Extent(int(begin * MINUTE_MS), int(end * MINUTE_MS), (end - begin) * 60.0, int(end * MINUTE_MS))
    return EXTENDED_FUNCTIONS[mode][function](samples, extent)


@pytest.mark.parametrize(
    ("mode", "function", "begin", "end", "expected"),
    [
        ("anchored", "delta", 1.5, 3.5, 30),  # of minutes 1 and 3: 10 and 40
        ("anchored", "delta", 0, 2, 10),  # nothing before: from the first sample on
        ("anchored", "increase", 3, 5, 35),  # 40, 30, 35: a reset to 0
        ("anchored", "rate", 1, 3, 0.25),
        ("anchored", "changes", 1, 3, 2),
        ("anchored", "changes", 5, 9, None),
        ("anchored", "resets", 2, 4, 1),
        ("anchored", "delta", 5, 9, None),
        ("smoothed", "delta", 1.5, 2.5, 15),  # 15 to 30
        ("smoothed", "increase", 3.5, 4.5, 17.5),  # half of what follows 0, and half of 5
        ("smoothed", "rate", 1, 2, 10 / 60),
        ("smoothed", "delta", 5, 9, None),
        ("smoothed", "delta", -3, 0.5, None),
        ("smoothed", "delta", -3, 1.5, 5),
    ],
)
def test_extended_ranges_know_the_samples_around_them(
    mode: str, function: str, begin: float, end: float, expected: float | None
):
    samples = by_minute(10, 20, 40, 30, 35)
    if mode == "anchored":  # which sees nothing later than its end
        count = sum(time_ms <= end * MINUTE_MS for time_ms in samples.times_ms)
        samples = Samples(samples.times_ms[:count], samples.values[:count])

    assert extended(mode, function, samples, begin=begin, end=end) == pytest.approx(expected)


ANY = st.lists(st.floats(), min_size=1, max_size=8)


@given(ANY, st.sampled_from(sorted(RANGE_FUNCTIONS)), st.floats(), st.integers(0, 400_000))
def test_no_samples_make_a_function_fail(values: list[float], function: str, number: float, gap_ms: int):
    samples = Samples([gap_ms + 7 * index for index in range(len(values))], values)
    numbers = (number,) if function in {"quantile_over_time", "predict_linear"} else ()

    value = RANGE_FUNCTIONS[function](samples, Extent(-1, 500_000, 500.001, 500_000), *numbers)

    assert value is None or isinstance(value, float)


@given(ANY, st.sampled_from(["anchored", "smoothed"]), st.integers(-10, 60), st.integers(1, 60))
def test_no_samples_make_a_function_of_an_extended_range_fail(
    values: list[float], mode: str, begin_ms: int, length_ms: int
):
    samples = Samples([7 * index for index in range(len(values))], values)

    for function in EXTENDED_FUNCTIONS[mode].values():
        value = function(samples, Extent(begin_ms, begin_ms + length_ms, length_ms / 1000, begin_ms + length_ms))
        assert value is None or isinstance(value, float)


def known(values: list[float]) -> Samples:
    """Samples with the bounds of their magnitudes."""
    magnitudes = [abs(value) for value in values if value]
    greatest = math.nan if any(map(math.isnan, values)) else max(magnitudes, default=0.0)
    return Samples(range(len(values)), values, Magnitudes(min(magnitudes, default=INF), greatest))


EXTENT = Extent(-1, 1_000, 1.001, 1_000)
ALIKE = st.one_of(
    st.floats(0, 100),
    st.integers(0, 72_000).map(float),
    st.integers(0, 72_000).map(lambda tokens: 100 * (72_000 - tokens) / 72_000),
    st.floats(-1e-9, 1e9),
    st.builds(math.ldexp, st.floats(-1, 1), st.integers(-30, 30)),
)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("sum_over_time", []),
        ("avg_over_time", []),
        ("stddev_over_time", []),
        ("stdvar_over_time", []),
        ("deriv", []),
        ("predict_linear", [600.0]),
    ],
)
@given(
    values=st.one_of(ANY, st.lists(ALIKE, min_size=1, max_size=60)),
    times=st.integers(1, 8),
    late_ms=st.lists(st.integers(0, 14_999), min_size=1, max_size=7),
)
def test_results_are_to_the_bit_what_they_are_without_knowing_magnitudes(
    function: str, arguments: list[float], values: list[float], times: int, late_ms: list[int]
):
    of_range, values = RANGE_FUNCTIONS[function], values * times
    times_ms = [15_000 * index + late for index, late in zip(range(len(values)), cycle(late_ms), strict=False)]
    extent = Extent(-1, times_ms[-1], 1.0, times_ms[-1])

    quick = of_range(known(values)._replace(times_ms=times_ms), extent, *arguments)
    slow = of_range(Samples(times_ms, values), extent, *arguments)

    if quick is None or slow is None:
        assert quick is slow
    else:
        assert struct.pack("<d", quick) == struct.pack("<d", slow) or (math.isnan(quick) and math.isnan(slow))


def test_sums_of_levels_are_exact_and_of_what_differs_too_much_are_not_taken_for_it():
    levels = [100 * (36_000 - tokens) / 36_000 for tokens in range(0, 36_000, 150)]

    assert RANGE_FUNCTIONS["sum_over_time"](known(levels), EXTENT) == math.fsum(levels)
    lossy = [2.0**53, 1.0, 2.0**-54, -1.0, -(2.0**53)]  # the compensation, 1, has no place for the last but two
    assert RANGE_FUNCTIONS["sum_over_time"](known(lossy), EXTENT) == 0.0 != math.fsum(lossy)
    wide = [1e308, 1.0, -1e308, 1e-300]
    assert RANGE_FUNCTIONS["avg_over_time"](known(wide), EXTENT) == 0.25


@given(st.lists(st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, NAN, INF, -INF])), min_size=1, max_size=12))
def test_changes_and_resets_are_counted_pair_by_pair(values: list[float]):
    pairs = list(pairwise(values))
    changes = sum(before != after and not (math.isnan(before) and math.isnan(after)) for before, after in pairs)

    for samples in (known(values), Samples(range(len(values)), array("d", values))):
        assert RANGE_FUNCTIONS["changes"](samples, EXTENT) == changes
        assert RANGE_FUNCTIONS["resets"](samples, EXTENT) == sum(after < before for before, after in pairs)
