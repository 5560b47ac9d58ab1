"""What the planner reads next, and what POLICIES_READ lets it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.catalog import POLICIES_LIST, POLICIES_READ
from exporter.poller.reads import (
    AFTER_CROSSING_SECONDS,
    HOT_SECONDS,
    LONGEST_GAP_SECONDS,
    PACE_SECONDS,
    SHORTEST_GAP_SECONDS,
    PlannedRead,
    ReadBudget,
    ReadPlanner,
    Why,
)
from tests.support.builders import bucket

WRITE = "ENTRIES_WRITE"


def reading(tokens: int = 200, **given):
    """POLICIES_READ with so many tokens."""
    return bucket(tokens, policy=POLICIES_READ, capacity=200, refill_tokens=60, **given)


def large(tokens: int, policy: str = WRITE):
    """A bucket of 1,000 tokens that takes 100 minutes to fill."""
    return bucket(tokens, policy=policy, capacity=1_000, refill_tokens=10)


def planner(*buckets, at: float = 0.0, share: float = 1.0, reserve: int = 0) -> ReadPlanner:
    """A planner of a participant that is polled every 15 s, with a budget that is full."""
    made = ReadPlanner(share, reserve, 15.0)
    made.poll_answered([reading(), *buckets], at)
    return made


def polled(made: ReadPlanner, *buckets, at: float) -> ReadPlanner:
    made.poll_answered([reading(), *buckets], at)
    return made


# The budget


def budget(tokens: int = 200, *, share: float = 0.5, reserve: int = 100, at: float = 0.0) -> ReadBudget:
    made = ReadBudget(share, reserve)
    made.answered(reading(tokens), at)
    return made


def test_before_the_first_answer_nothing_is_read() -> None:
    assert ReadBudget(0.5, 100).ready_at(0.0) == math.inf


def test_a_budget_begins_with_its_share_of_what_lies_above_the_reserve() -> None:
    assert budget(200).credit(0) == 50
    assert budget(150).credit(0) == 25
    assert budget(90).credit(0) == 0


def test_what_the_share_leaves_unused_adds_up_to_all_that_lies_above_the_reserve() -> None:
    made = budget(200)

    assert made.credit(60) == 80
    assert made.credit(3_600) == 100


def test_reads_take_from_the_credit_and_wait_for_it() -> None:
    made = budget(101)
    made.answered(reading(110), 1.0)

    assert made.ready_at(1.0) == 1.0
    made.spend(1.0)
    assert made.credit(1.0) == 0
    assert made.ready_at(1.0) == 3.0  # half of a token a second


def test_nothing_is_read_below_the_reserve_however_large_the_credit() -> None:
    made = budget(200)
    made.answered(reading(102), 3_600.0)
    made._others.clear()

    made.spend(3_600.0)
    assert made.ready_at(3_600.0) == 3_600.0
    made.spend(3_600.0)
    assert made.ready_at(3_600.0) == math.inf


def test_what_others_took_between_two_answers_is_expected_again() -> None:
    made = budget(200)
    made.answered(reading(160), 15.0)

    # 40 were taken, so another 40 may be gone already: 160 - 40 - 100 are left for us.
    for _ in range(20):
        assert made.ready_at(15.0) == 15.0
        made.spend(15.0)
    assert made.ready_at(15.0) == math.inf


def test_our_own_reads_and_the_refill_are_not_taken_for_what_others_took() -> None:
    made = budget(150)
    for _ in range(10):
        made.spend(1.0)

    made.answered(reading(155), 15.0)

    assert list(made._others) == [0]


def test_what_others_took_is_forgotten_after_a_while() -> None:
    made = budget(200)
    made.answered(reading(110), 15.0)
    assert made.ready_at(15.0) == math.inf

    for n in range(2, 23):
        made.answered(reading(200), 15.0 * n)

    assert made.ready_at(15.0 * 23) == 15.0 * 23


def test_after_429_nothing_is_read_before_the_next_answer() -> None:
    made = budget()

    made.dry()
    assert made.ready_at(10) == math.inf
    made.answered(reading(), 15.0)
    assert made.ready_at(15) == 15


def test_without_a_share_nothing_is_read() -> None:
    assert budget(share=0).ready_at(3_600) == math.inf


@given(
    steps=st.lists(
        st.tuples(st.floats(0.1, 5), st.sampled_from(["read", "read", "poll"]), st.integers(0, 3)), max_size=60
    ),
    steady=st.integers(0, 200),
)
def test_no_read_takes_the_bucket_below_the_reserve_while_others_take_what_they_took_before(steps, steady) -> None:
    level, at, made = float(steady), 0.0, ReadBudget(1.0, 50)
    made.answered(reading(int(level)), at)
    # What others take between two polls is known from the first two on, and no more than that.
    for _ in range(2):
        at, level = at + 15, max(0.0, min(200.0, level + 15) - 30)
        made.answered(reading(int(level)), at)
    polled_at, taken = at, 0
    for wait, step, others in steps:
        at, level = at + wait, min(200.0, level + wait)
        if at - polled_at >= 15 or step == "poll":
            made.answered(reading(int(level)), at)
            polled_at, taken = at, 0
        elif taken + others <= 15:
            taken += others
            level = max(0.0, level - others)
        if step == "read" and made.ready_at(at) <= at:
            made.spend(at)
            level -= 1
            assert level >= 50


# What is read


def test_a_calm_bucket_that_recovers_slowly_is_not_read() -> None:
    made = polled(planner(large(1_000)), large(1_000), at=15.0)

    assert made.next(15.0, 30.0) is None


def test_a_level_that_is_crossed_before_the_next_poll_is_read_just_after() -> None:
    made = polled(planner(large(400)), large(280), at=15.0)  # 8 tokens a second: 200 after another 10

    assert made.next(15.0, 30.0) == PlannedRead(WRITE, 25.0 + AFTER_CROSSING_SECONDS, Why.CROSSING)


@pytest.mark.parametrize(("tokens", "crossed_after"), [((150, 120), 10), ((60, 30), 15 - 1e-9)])
def test_every_level_counts_on_the_way_down(tokens, crossed_after) -> None:
    made = polled(planner(large(tokens[0])), large(tokens[1]), at=15.0)

    planned = made.next(15.0, 31.0)

    assert planned is not None
    assert planned.at == pytest.approx(15 + crossed_after + AFTER_CROSSING_SECONDS)


def test_a_level_that_is_crossed_after_the_next_poll_is_left_to_that() -> None:
    made = polled(planner(large(400)), large(330), at=15.0)

    assert made.next(15.0, 30.0) is None


def test_on_the_way_up_a_level_is_left_behind_by_the_first_token_above_it() -> None:
    made = polled(planner(large(100)), large(160), at=15.0)  # 4 tokens a second

    planned = made.next(15.0, 30.0)

    assert planned is not None
    assert planned.at == pytest.approx(15 + 41 / 4 + AFTER_CROSSING_SECONDS)


def test_a_bucket_that_does_not_move_is_looked_at_ever_more_rarely() -> None:
    made, at, looks = planner(large(0)), 0.0, []
    while (planned := made.next(at, 1_000.0)) is not None:
        at = planned.at
        made.read_answered(large(0), at)
        looks.append(at)

    assert 3 < len(looks) < 12
    assert looks == sorted(looks)


def test_two_looks_are_a_gap_apart_that_grows_as_the_credit_shrinks() -> None:
    made = polled(planner(large(220)), large(201), at=15.0)  # 200 within a second

    gaps = [made.next(15.0, 30.0).at - 15.0]
    for spent in (100, 50, 25):
        for _ in range(spent):
            made.budget.spend(15.0)
        gaps.append(made.next(15.0, 30.0).at - 15.0)

    assert gaps == [SHORTEST_GAP_SECONDS, 2.0, LONGEST_GAP_SECONDS, LONGEST_GAP_SECONDS]


def fallen(at: float = 15.0) -> ReadPlanner:
    """A planner that has seen a bucket fall from full to 5 % between two polls: 63 tokens a second."""
    return polled(planner(large(1_000)), large(50), at=at)


def test_a_bucket_that_fell_through_a_level_unseen_is_read_as_soon_as_it_may_have_fallen_again() -> None:
    made = polled(fallen(), large(1_000), at=30.0)

    planned = made.next(30.0, 45.0)

    seconds_to_20_percent = 800 / (950 / 15)
    assert planned == PlannedRead(WRITE, pytest.approx(30 + seconds_to_20_percent + PACE_SECONDS), Why.HOT)


def test_a_fall_is_forgotten_after_a_while() -> None:
    late = 15.0 + HOT_SECONDS
    made = polled(polled(fallen(), large(1_000), at=30.0), large(1_000), at=late)

    assert made.next(late, late + 15) is None


def test_a_fall_that_was_expected_is_no_surprise() -> None:
    made = polled(planner(large(1_000)), large(600), at=15.0)
    made.poll_answered([reading(), large(190)], 30.0)
    made.poll_answered([reading(), large(1_000)], 45.0)

    assert made.next(45.0, 60.0) is None


def test_buckets_that_recover_within_an_interval_are_read_in_between() -> None:
    keys = bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=70)  # from empty to 20 % in 12 s

    assert planner(keys).next(0.0, 15.0) == PlannedRead("KEYS_CHECK", 7.5, Why.TURN)


def test_a_bucket_that_was_read_waits_for_the_next_poll() -> None:
    keys = bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=70)
    made = planner(keys)

    made.read_answered(keys, 7.5)

    assert made.next(7.5, 15.0) is None


def test_what_recovers_ever_faster_is_read_the_more_often() -> None:
    made, at, looks = planner(bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=280)), 0.0, []
    while (planned := made.next(at, 15.0)) is not None:
        at = planned.at
        made.read_answered(bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=280), at)
        looks.append(at)

    assert looks == pytest.approx([3, 6, 9, 12])  # 20 % come back within 3 s


def test_what_may_cross_a_level_goes_first() -> None:
    keys = bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=70)
    made = polled(planner(large(400), keys), large(257), keys, at=15.0)  # 200 at 21 s

    assert made.next(15.0, 30.0).why is Why.CROSSING
    assert made.next(23.0, 30.0).why is Why.CROSSING  # both are due


def test_taking_turns_leaves_some_of_the_credit_for_what_may_cross_a_level() -> None:
    keys = bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=70)
    made = polled(planner(large(400), keys), large(257), keys, at=15.0)
    for _ in range(197):
        made.budget.spend(15.0)

    assert made.next(15.0, 21.0) is None
    assert made.next(15.0, 30.0).policy == WRITE


@pytest.mark.parametrize("policy", [POLICIES_LIST, POLICIES_READ])
def test_what_pays_for_the_calls_is_not_read(policy) -> None:
    made = ReadPlanner(1.0, 0, 15.0)
    for at in (0.0, 15.0):
        made.poll_answered([reading(), bucket(4 - int(at / 5), policy=policy, capacity=20, refill_tokens=6)], at)

    assert made.next(15.0, 30.0) is None or made.next(15.0, 30.0).policy not in {POLICIES_LIST, POLICIES_READ}


def test_a_policy_that_the_last_answer_did_not_hold_is_not_read() -> None:
    made = fallen()

    made.poll_answered([reading()], 30.0)

    assert made.next(30.0, 45.0) is None


def test_excluded_policies_are_not_read() -> None:
    assert fallen().next(15.0, 30.0, {WRITE}) is None


def test_a_bucket_of_another_capacity_is_another_bucket() -> None:
    made = planner(large(1_000))

    made.poll_answered([reading(), bucket(10, capacity=500, refill_tokens=10)], 15.0)

    assert made._watched[WRITE].hot_until == -math.inf
