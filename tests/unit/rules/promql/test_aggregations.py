"""What a group of values comes to, to the last digit that is not left to the order of the series."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.rules.promql.aggregations import CHOICES, FOLDS, deviation, mean, quantile, total, variance
from exporter.rules.promql.series import Labels

NAN, INF = math.nan, math.inf
LARGE = 1.7e308
ORDINARY = st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("values", "summed"),
    [
        ([0.1, 0.2, 0.3], 0.6),
        ([1e16, 1.0, -1e16], 1.0),
        ([1.0, 1e16, -1e16], 1.0),
        ([1.0, -1e16, 1e16, 1.0], 2.0),
        ([LARGE, LARGE], INF),
        ([-LARGE, -LARGE, 1.0], -INF),
        ([1e16, 1.0, LARGE, LARGE, 5.0], INF),
        ([INF, -INF], NAN),
        ([NAN, 1.0], NAN),
        ([1.0, INF, 2.0], INF),
        ([3.0], 3.0),
    ],
)
def test_sums_compensate_for_rounding(values: list[float], summed: float):
    assert total(values) == pytest.approx(summed, rel=0, abs=0, nan_ok=True)


@given(ORDINARY)
def test_a_sum_is_exact_to_the_last_digit(values: list[float]):
    assert total(values) == pytest.approx(math.fsum(values), rel=1e-15, abs=1e-300)


@pytest.mark.parametrize("fold", [total, mean])
def test_of_minus_zero_alone_it_is_zero(fold):
    assert math.copysign(1.0, fold([-0.0])) == math.copysign(1.0, fold([-0.0, -0.0])) == 1.0


@pytest.mark.parametrize(
    ("values", "averaged"),
    [
        ([1.0, 2.0, 4.5], 2.5),
        ([LARGE, LARGE], LARGE),
        ([-LARGE, -LARGE, -LARGE], -LARGE),
        ([LARGE, LARGE, -LARGE, -LARGE], 0.0),
        ([1e308, 1e308, 4e307], 8e307),
        ([INF, 1.0], INF),
        ([1.0, -INF], -INF),
        ([INF, -INF], NAN),
        ([NAN, 1.0], NAN),
        ([0.1, 0.2, 0.3], 0.6 / 3),
    ],
)
def test_a_mean_does_not_overflow(values: list[float], averaged: float):
    assert mean(values) == pytest.approx(averaged, rel=1e-15, abs=1e293, nan_ok=True)


@given(ORDINARY)
def test_a_mean_is_the_sum_divided_by_the_count(values: list[float]):
    assert mean(values) == pytest.approx(math.fsum(values) / len(values), rel=1e-15, abs=1e-300)


@given(ORDINARY)
def test_a_variance_is_that_of_a_population(values: list[float]):
    assert variance(values) == pytest.approx(statistics.pvariance(values), rel=1e-6, abs=1e-2)
    assert deviation(values) == pytest.approx(math.sqrt(variance(values)))


@pytest.mark.parametrize(
    ("values", "varied"),
    [
        ([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], 4.0),
        ([5.0], 0.0),
        ([INF], NAN),
        ([1.0, INF], NAN),
        ([NAN, 1.0], NAN),
        ([-1e308, 1e308], -INF),
    ],
)
def test_a_variance_of_what_is_not_finite_is_none(values: list[float], varied: float):
    assert variance(values) == pytest.approx(varied, nan_ok=True)
    assert deviation(values) == pytest.approx(NAN if varied < 0 else math.sqrt(varied), nan_ok=True)


@pytest.mark.parametrize(
    ("share", "values", "found"),
    [
        (0.5, [3.0, 1.0, 2.0], 2.0),
        (0.5, [1.0, 2.0], 1.5),
        (0.25, [0.0, 10.0, 20.0], 5.0),
        (0.0, [3.0, 1.0], 1.0),
        (1.0, [3.0, 1.0], 3.0),
        (0.9, [7.0], 7.0),
        (-0.1, [1.0], -INF),
        (1.1, [1.0], INF),
        (NAN, [1.0], NAN),
        (0.0, [1.0, NAN], NAN),
        (1.0, [NAN, 1.0, 0.5], 1.0),
        (0.5, [NAN, 1.0, 0.5], 0.5),
    ],
)
def test_a_quantile_lies_between_two_values(share: float, values: list[float], found: float):
    assert quantile(share, values) == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize(
    ("operator", "count", "chosen"),
    [
        ("topk", 2, "ea"),
        ("topk", 3, "eac"),
        ("topk", 9, "eacfbd"),
        ("bottomk", 2, "fc"),
        ("bottomk", 4, "fcae"),
        ("bottomk", 9, "fcaebd"),
        ("limitk", 2, "ab"),
    ],
)
def test_the_largest_and_the_smallest_are_chosen_nan_last_and_equal_ones_in_their_order(
    operator: str, count: int, chosen: str
):
    values = {"a": 2.0, "b": NAN, "c": 1.0, "d": NAN, "e": 2.5, "f": 1.0 - 1e-9}
    samples = [(name, Labels(()), value) for name, value in values.items()]

    assert "".join(name for name, _, _ in CHOICES[operator](samples, count)) == chosen


@pytest.mark.parametrize("operator", ["topk", "bottomk"])
def test_of_equal_ones_the_first_are_chosen(operator: str):
    samples = [(name, Labels(()), 1.0) for name in "abc"]

    assert [name for name, _, _ in CHOICES[operator](samples, 2)] == ["a", "b"]


@pytest.mark.parametrize(
    ("operator", "values", "folded"),
    [
        ("min", [NAN, 2.0, 1.0], 1.0),
        ("max", [1.0, NAN, 2.0], 2.0),
        ("max", [NAN, NAN], NAN),
        ("count", [NAN, 1.0], 2.0),
        ("group", [5.0, NAN], 1.0),
        ("sum", [1.0, 2.0], 3.0),
        ("avg", [1.0, 2.0], 1.5),
        ("stddev", [1.0, 3.0], 1.0),
        ("stdvar", [1.0, 5.0], 4.0),
    ],
)
def test_each_aggregation_has_its_name(operator: str, values: list[float], folded: float):
    assert FOLDS[operator](values) == pytest.approx(folded, nan_ok=True)
