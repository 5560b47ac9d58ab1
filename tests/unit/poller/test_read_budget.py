"""What POLICIES_READ lets the planner read."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.catalog import POLICIES_READ
from exporter.poller.read_budget import ReadBudget
from tests.support.builders import bucket


def reading(tokens: int = 200, **given):
    """POLICIES_READ with so many tokens."""
    return bucket(tokens, policy=POLICIES_READ, capacity=200, refill_tokens=60, **given)


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


def test_no_more_credit_is_waited_for_than_there_can_ever_be() -> None:
    made = budget(200, reserve=190)
    for _ in range(5):
        made.spend(0.0)

    assert made.ready_at(0.0, 13) == 20  # all ten, at half a token a second


def test_a_reserve_of_the_whole_capacity_leaves_nothing() -> None:
    assert budget(200, reserve=200).ready_at(3_600) == math.inf


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
