"""What POLICIES_LIST pays for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.poller.budget import RESERVE_TOKENS, Budget
from tests.support.builders import bucket


@pytest.mark.parametrize(("tokens", "interval"), [(20, 15), (11, 15), (10, 15), (9, 30), (5, 30), (2, 30), (0, 30)])
def test_the_interval_stretches_before_policies_list_is_dry(tokens, interval) -> None:
    assert Budget(tokens, 20).interval_seconds(15) == interval


@pytest.mark.parametrize(
    ("tokens", "interval"), [(10, 5), (9, 10), (8, 10), (7, 15), (5, 15), (4, 20), (3, 20), (2, 20), (0, 20)]
)
def test_the_interval_grows_with_the_shortage_to_two_refill_times(tokens, interval) -> None:
    assert Budget(tokens, 20).interval_seconds(5) == interval


def test_a_small_bucket_is_short_only_when_a_retry_would_take_the_next_polls_token() -> None:
    assert [Budget(tokens, 5).interval_seconds(15) for tokens in (3, 2)] == [15, 30]


def test_a_budget_that_is_spent_keeps_how_it_refills_and_is_never_below_nothing() -> None:
    assert Budget(5, 20, 3, 120).less(2) == Budget(3, 20, 3, 120)
    assert Budget(1, 20).less(2) == Budget(0, 20)
    assert Budget().less(2) == Budget()


def test_a_bucket_is_the_budget() -> None:
    assert Budget.of(bucket(7, policy="POLICIES_LIST", capacity=20, refill_tokens=3, refill_period_seconds=30)) == (
        Budget(7, 20, 3, 30)
    )


@given(tokens=st.integers(0, 200), capacity=st.integers(3, 200), wanted=st.sampled_from([5.0, 10.0, 15.0, 60.0]))
def test_a_stretched_interval_is_a_whole_number_of_intervals(tokens, capacity, wanted) -> None:
    interval = Budget(min(tokens, capacity), capacity).interval_seconds(wanted)

    assert interval >= wanted
    assert interval % wanted == pytest.approx(0)


@given(tokens=st.integers(0, 200), wanted=st.integers(0, 10))
def test_a_retry_leaves_a_token_for_the_next_poll(tokens, wanted) -> None:
    retries = Budget(tokens, 200).retries(wanted)

    assert 0 <= retries <= wanted
    assert retries == 0 or tokens - retries >= RESERVE_TOKENS
