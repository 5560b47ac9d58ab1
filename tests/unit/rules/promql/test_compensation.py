"""Compensated sums are those of Prometheus, to the bit, where they are computed exactly, too."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.rules.promql import compensation
from exporter.rules.promql.compensation import compensated


@pytest.mark.parametrize(
    "values",
    [
        [2.0**53, 1.0, 2.0**-54, -1.0, -(2.0**53)],  # the compensation, 1, has no place for the last but two
        [1.0, 2.0**-53, 2.0**-107],  # just above the middle between 1 and the next
        [1.0, 2.0**-53, -(2.0**-107)],
        [1.0, -(2.0**-54), 2.0**-108, -(2.0**-109)],
        [5e-324, -5e-324],
        [-0.0, -0.0],
    ],
)
def test_a_sum_that_the_compensation_loses_some_of_is_what_prometheus_has(
    values: list[float], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(compensation, "_BUILT_IN", False)

    assert compensated(values, max(map(abs, values))) == compensated(values, math.nan)


def test_a_sum_of_tokens_is_computed_once_and_exactly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(compensation, "_BUILT_IN", False)
    monkeypatch.delattr(compensation, "total")

    assert compensated([72_000.0, 0.1, 35_999.5], 72_000.0) == math.fsum([72_000.0, 0.1, 35_999.5])


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=300))
def test_a_sum_is_the_same_with_a_built_in_that_compensates_and_without(values: list[float]):
    greatest, slow = max(map(abs, values)), compensated(values, math.nan)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compensation, "_BUILT_IN", False)
        assert compensated(values, greatest) == slow
    assert compensated(values, greatest) == slow
