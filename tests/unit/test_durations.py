"""Durations as a message says them, and as one waits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.durations import Backoff, in_words, short

BACKOFF = Backoff(0.5, 10.0)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (33, "33 s"),
        (33.4, "33 s"),
        (59.6, "1 min"),
        (65, "1 min 5 s"),
        (605, "10 min 5 s"),
        (3600, "1 h"),
        (7_440, "2 h 4 min"),
        (7_499, "2 h 4 min"),
        (3 * 86_400 + 2 * 3_600 + 59, "3 d 2 h"),
        (-5, "0 s"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert in_words(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.25, "0s"),
        (59.6, "1m"),
        (60, "1m"),
        (3661, "1h1m"),
        (86_400 * 3 + 60, "3d"),
        (90_000, "1d1h"),
        (math.inf, "never"),
    ],
)
def test_a_short_duration_has_their_two_largest_units(seconds, text):
    assert short(seconds) == text


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.5), (1, 1), (2, 2), (4, 8), (5, 10), (10, 10), (11, 10), (10_000, 10)]
)
def test_the_longest_wait_doubles_with_each_failure_up_to_a_limit(failures: int, seconds: float) -> None:
    assert BACKOFF.seconds(failures, jitter=1.0) == seconds


@given(st.integers(0, 100), st.floats(0, 1))
def test_jitter_takes_off_at_most_half_of_a_wait(failures: int, jitter: float) -> None:
    longest = BACKOFF.seconds(failures, jitter=1.0)

    assert longest / 2 <= BACKOFF.seconds(failures, jitter) <= longest


def test_without_a_given_jitter_waits_are_spread_out() -> None:
    waits = {BACKOFF.seconds(3) for _ in range(100)}

    assert len(waits) > 50
    assert all(2.0 <= wait <= 4.0 for wait in waits)
