"""The exact bucket, held against one that is refilled microsecond by microsecond in fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.simulator.token_bucket import Refill, TokenBucket


def test_a_bucket_is_full_at_the_start_unless_told_otherwise():
    assert TokenBucket(70, 70, 60).available(0) == 70
    assert TokenBucket(70, 70, 60, tokens=3).available(0) == 3


def test_continuous_refill_comes_token_by_token():
    bucket = TokenBucket(10, 6, 60, tokens=0)

    assert [bucket.available(at) for at in (0, 9.999999, 10, 19.9, 20, 99, 100, 1e6)] == [0, 0, 1, 1, 2, 9, 10, 10]


def test_stepwise_refill_comes_at_its_phase():
    bucket = TokenBucket(10, 6, 60, mode=Refill.STEPWISE, phase_seconds=7, tokens=0)

    assert [bucket.available(at) for at in (0, 6.999999, 7, 66.9, 67, 127)] == [0, 0, 6, 6, 10, 10]


def test_a_request_takes_all_its_tokens_or_none():
    bucket = TokenBucket(5, 1, 60)

    assert bucket.take(3, 0)
    assert not bucket.take(3, 0)
    assert bucket.available(0) == 2


def test_draining_takes_what_there_is():
    bucket = TokenBucket(5, 1, 60)

    assert (bucket.drain(3, 0), bucket.drain(3, 0), bucket.drain(3, 0)) == (3, 2, 0)


def test_draining_leaves_the_fraction_of_a_token_that_has_come_back():
    bucket = TokenBucket(5, 1, 60, tokens=0)

    bucket.drain(5, 30)

    assert bucket.available(60) == 1


def test_what_is_given_back_beyond_the_capacity_is_lost():
    bucket = TokenBucket(5, 1, 60)
    bucket.take(1, 0)

    bucket.give_back(3, 0)

    assert bucket.available(0) == 5


def test_a_smaller_bucket_holds_no_more_than_its_capacity():
    bucket = TokenBucket(100, 10, 60)

    bucket.resize(20, 2, 0)

    assert bucket.available(0) == 20
    bucket.drain(20, 0)
    assert bucket.available(60) == 2


def test_a_larger_bucket_begins_with_the_tokens_of_the_smaller():
    bucket = TokenBucket(20, 2, 60)

    bucket.resize(100, 10, 0)

    assert (bucket.available(0), bucket.available(60)) == (20, 30)


@pytest.mark.parametrize("mode", Refill)
def test_time_never_goes_back(mode: Refill):
    bucket = TokenBucket(10, 6, 60, mode=mode, tokens=0)
    before = bucket.available(60)

    assert bucket.available(0) == before


@given(
    mode=st.sampled_from(Refill),
    capacity=st.integers(1, 200),
    refill=st.integers(1, 300),
    period=st.integers(1, 120),
    phase=st.integers(0, 119),
    events=st.lists(st.tuples(st.integers(0, 90_000), st.integers(0, 50)), max_size=20),
)
def test_the_tokens_are_exact_whatever_the_instants_it_is_asked_at(
    mode: Refill, capacity: int, refill: int, period: int, phase: int, events: list[tuple[int, int]]
):
    bucket = TokenBucket(capacity, refill, period, mode=mode, phase_seconds=phase)
    level, now = Fraction(capacity), Fraction(0)

    for wait_ms, tokens in events:
        later = now + Fraction(wait_ms, 1000)
        if mode is Refill.CONTINUOUS:
            gained = (later - now) * refill / period
        else:
            gained = ((later - phase) // period - (now - phase) // period) * refill
        level, now = min(Fraction(capacity), level + gained), later
        taken = min(tokens, level // 1)
        level -= taken

        assert bucket.drain(tokens, float(now)) == taken
        assert bucket.available(float(now)) == level // 1
