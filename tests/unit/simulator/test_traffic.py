"""Counting rules, how many requests a flow makes, and the exact bucket, held against one in fractions."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.bucket import PolicyName
from exporter.buckets.catalog import ANTISCAN, USER_POLICIES
from exporter.durations import Duration
from exporter.simulator.scenario import Flow, Refill
from exporter.simulator.traffic import Account, Prices, Stream, TokenBucket, prices

WRITE = PolicyName("ENTRIES_WRITE")


def account(policy: str = WRITE, *, capacity: int = 1_000, person_type: str = "PF", **given: Any) -> Account:
    name = PolicyName(policy)
    return Account(name, TokenBucket(capacity, 60, 60, **given), prices(name, person_type))


def flow(**given: Any) -> Flow:
    given.setdefault("policies", "all")
    if "share_of_refill" not in given:
        given.setdefault("requests_per_minute", 60)
    for name in ("from_", "until", "every", "spread"):
        if name in given:
            given[name] = Duration(given[name])
    return Flow(**given)


def play(flow_: Flow, on: Account, steps: int, *, step_seconds: float = 1.0, seed: int = 1) -> list[int]:
    """Plays a flow; returns the requests of each step."""
    random = Random(seed)
    stream = Stream(flow_, on, step_seconds, random)
    made = []
    for step in range(steps):
        before = on.total
        stream.play(step, (step + 1) * step_seconds, random)
        made.append(on.total - before)
    return made


@pytest.mark.parametrize(
    ("policy", "person_type", "expected"),
    [
        (ANTISCAN, "PF", Prices(not_found=3, given_back=1)),
        (ANTISCAN, "PJ", Prices(not_found=3, given_back=1)),
        (USER_POLICIES[0], "PF", Prices(not_found=20, given_back=1)),
        (USER_POLICIES[1], "PJ", Prices(not_found=20, given_back=2)),
        (WRITE, "PJ", Prices(not_found=1, given_back=0)),
    ],
)
def test_prices_are_those_of_dict(policy: str, person_type: str, expected: Prices):
    assert prices(PolicyName(policy), person_type) == expected


def test_a_hit_takes_one_token_and_a_404_its_price():
    antiscan = account(ANTISCAN)

    served = antiscan.serve(10, 5, 0)

    assert served == 10
    assert antiscan.bucket.available(0) == 1_000 - 10 - 15
    assert (antiscan.total, antiscan.not_found, antiscan.rate_limited, antiscan.taken) == (15, 5, 0, 25)


def test_a_404_elsewhere_takes_one():
    write = account()

    write.serve(10, 5, 0)

    assert (write.total, write.not_found, write.taken) == (15, 5, 15)


def test_what_finds_no_token_is_429_and_takes_none():
    write = account(capacity=12)

    served = write.serve(10, 5, 0)

    assert served == 10
    assert write.bucket.available(0) == 0
    assert (write.total, write.not_found, write.rate_limited, write.taken) == (15, 2, 3, 12)


def test_a_404_is_admitted_while_there_is_a_token_and_takes_what_is_left():
    antiscan = account(ANTISCAN, capacity=14)

    antiscan.serve(10, 5, 0)

    assert antiscan.bucket.available(0) == 0
    assert (antiscan.not_found, antiscan.rate_limited, antiscan.taken) == (2, 3, 14)


def test_a_payment_order_gives_tokens_back():
    user = account(USER_POLICIES[0], person_type="PJ")
    user.serve(10, 0, 0)

    user.give_back(3, 0)

    assert user.bucket.available(0) == 1_000 - 10 + 6
    assert user.taken == 4


def test_being_watched_takes_one_token_or_is_429():
    listing = account("POLICIES_LIST", capacity=1)

    assert [listing.charge(0), listing.charge(0)] == [True, False]
    assert (listing.total, listing.rate_limited, listing.taken) == (2, 1, 1)


def test_a_restarted_bridge_counts_anew_and_the_tokens_stay():
    write = account()
    write.serve(10, 0, 0)

    write.reset_counts()

    assert (write.total, write.bucket.available(0)) == (0, 990)


def test_a_flow_makes_its_rate_without_losing_fractions():
    made = play(flow(requests_per_minute=20), account(), 600)

    assert sum(made) in (199, 200, 201)
    assert set(made) == {0, 1}


def test_variation_keeps_the_mean():
    made = play(flow(requests_per_minute=6_000, variation=0.5), account(), 2_000)

    assert sum(made) == pytest.approx(200_000, rel=0.02)
    assert min(made) < 60
    assert max(made) > 140


def test_a_share_of_404s_is_404():
    antiscan = account(ANTISCAN)

    play(flow(requests_per_minute=60, not_found=0.25), antiscan, 400)

    assert antiscan.not_found == pytest.approx(100, abs=1)


def test_paid_lookups_give_back():
    antiscan = account(ANTISCAN)

    play(flow(requests_per_minute=60, paid=0.5), antiscan, 400)

    assert antiscan.taken == pytest.approx(200, abs=1)


def test_nothing_is_paid_where_dict_gives_nothing_back():
    write = account()

    play(flow(requests_per_minute=60, paid=0.5), write, 400)

    assert write.taken == 400


@pytest.mark.parametrize(
    ("given", "tokens"),
    [
        ({}, 300),
        ({"not_found": 0.5}, 300),
        ({"paid": 0.5}, 300),
        ({"not_found": 0.2, "paid": 0.4}, 300),
    ],
)
def test_a_share_of_the_refill_is_one_in_tokens(given: dict[str, float], tokens: int):
    antiscan = account(ANTISCAN, capacity=100_000)

    play(flow(share_of_refill=0.5, **given), antiscan, 600)

    assert antiscan.taken == pytest.approx(tokens, abs=4)


def test_a_flow_runs_in_its_time_and_repeats():
    made = play(flow(from_=2, until=4, every=5), account(), 12)

    assert [step for step, requests in enumerate(made) if requests] == [2, 3, 7, 8]


def test_a_flow_that_is_spread_begins_later_by_what_the_seed_decides():
    begins = {
        next(step for step, requests in enumerate(play(flow(from_=2, spread=3), account(), 9, seed=seed)) if requests)
        for seed in range(50)
    }

    assert begins == {2, 3, 4, 5}


def test_a_spread_moves_a_flow_and_its_repetitions_as_a_whole():
    made = play(flow(from_=0, until=2, every=5, spread=4), account(), 30)

    began = [step for step, requests in enumerate(made) if requests]
    assert began[::2] == list(range(began[0], 30, 5))


def test_a_flow_without_an_end_goes_on():
    made = play(flow(from_=3), account(), 6)

    assert [step for step, requests in enumerate(made) if requests] == [3, 4, 5]


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
