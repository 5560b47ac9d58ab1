"""The lowest level of late, from answers and from their counts of 429s."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.bucket import Bucket, ResponseCounts
from exporter.buckets.lowest import LowestLevel
from tests.support.builders import bucket


def keys(tokens: int, *, refused: int | None = None, instance: str = "one") -> Bucket:
    """KEYS_CHECK with so many tokens, and so many 429s among a thousand answers."""
    counts = None if refused is None else ResponseCounts(1_000 + refused, 10, refused, instance)
    return replace(bucket(tokens, policy="KEYS_CHECK", capacity=70), response_counts=counts)


def lowest(*answers: tuple[float, Bucket], window_seconds: float = 60) -> int:
    level = LowestLevel(window_seconds)
    for at, seen in answers:
        level.see(seen, at)
    return level.tokens


def test_it_is_the_fewest_tokens_that_an_answer_showed() -> None:
    assert lowest((0, keys(70)), (15, keys(3)), (30, keys(40))) == 3


def test_what_is_as_old_as_the_window_counts_no_more() -> None:
    assert lowest((0, keys(3)), (15, keys(50)), (59.9, keys(60))) == 3
    assert lowest((0, keys(3)), (15, keys(50)), (60, keys(60))) == 50


def test_the_last_answer_counts_however_short_the_window() -> None:
    assert lowest((0, keys(3)), (15, keys(50)), window_seconds=1) == 50


def test_a_bucket_in_debt_is_as_low_as_it_was() -> None:
    assert lowest((0, keys(-20)), (15, keys(5))) == -20


def test_a_429_proves_that_it_was_empty_though_no_answer_showed_it() -> None:
    assert lowest((0, keys(70, refused=4)), (15, keys(60, refused=5))) == 0


def test_an_empty_moment_counts_from_the_answer_that_proved_it() -> None:
    answers = ((0, keys(70, refused=4)), (15, keys(60, refused=5)), (74.9, keys(65, refused=5)))

    assert lowest(*answers) == 0
    assert lowest(*answers, (75, keys(70, refused=5))) == 65


def test_a_429_is_told_by_the_instance_that_counted_it() -> None:
    in_turn = ((0, keys(70, refused=4)), (15, keys(65, refused=90, instance="two")), (30, keys(60, refused=5)))

    assert lowest(*in_turn) == 0


@pytest.mark.parametrize(("seconds", "tokens"), [(299, 0), (300, 60)])
def test_what_an_instance_counted_long_ago_proves_nothing_of_late(seconds: float, tokens: int) -> None:
    two = keys(65, refused=90, instance="two")

    assert lowest((0, keys(70, refused=4)), (150, two), (seconds, two), (301, keys(60, refused=5))) == tokens


def test_a_429_counts_where_the_capacity_has_changed_meanwhile() -> None:
    larger = replace(keys(100, refused=5), capacity=140)

    assert lowest((0, keys(3, refused=4)), (15, larger)) == 0
    assert lowest((0, keys(3, refused=4)), (15, replace(keys(100, refused=4), capacity=140))) == 100


@pytest.mark.parametrize(
    "later",
    [
        keys(60, refused=4),  # none since
        keys(60, refused=5, instance="two"),  # another instance's
        keys(60, refused=3),  # it has started again
        keys(60),  # no counts
    ],
)
def test_counts_that_prove_nothing_change_nothing(later: Bucket) -> None:
    assert lowest((0, keys(70, refused=4)), (15, later)) == 60


def test_a_debt_is_lower_than_the_empty_moment_of_a_429() -> None:
    assert lowest((0, keys(70, refused=4)), (15, keys(-3, refused=5))) == -3


@given(
    answers=st.lists(st.tuples(st.floats(0.1, 40), st.integers(-5, 70), st.integers(0, 1)), min_size=1, max_size=40),
    window=st.floats(1, 120),
)
def test_it_is_the_least_of_all_that_the_window_holds(answers, window) -> None:
    at, refused, seen, levels = 0.0, 0, LowestLevel(window), []
    for gap, tokens, more in answers:
        at, refused = at + gap, refused + more
        seen.see(keys(tokens, refused=refused), at)
        proven = 0 if more and levels else tokens
        levels.append((at, min(tokens, proven)))

        assert seen.tokens == min(level for when, level in levels if when > at - window)
