"""Durations as a message says them."""

from __future__ import annotations

import math

import pytest

from exporter.durations import in_words, short


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
