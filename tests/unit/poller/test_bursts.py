"""When the next burst is expected, from when the last ones were seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.poller.bursts import (
    JITTER_SECONDS,
    MOST_MISSED,
    ONE_BURST_SECONDS,
    REGULAR_BURSTS,
    WIDEST_SHARE,
    Bursts,
)


def bursts(*began: float, within: float = 1.0) -> Bursts:
    """What is known after bursts that each began within so many seconds before they were seen."""
    made = Bursts()
    for at in began:
        made.note(at - within / 2, at + within / 2)
    return made


def test_before_enough_were_seen_none_is_expected() -> None:
    assert bursts(*range(0, 40 * (REGULAR_BURSTS - 1), 40)).expected(0) is None


def test_the_next_of_regular_bursts_is_expected_a_period_after_the_last() -> None:
    earliest, latest = bursts(0, 40, 80, 120).expected(121)

    assert earliest < 160 < latest
    assert latest - earliest < 6


def test_the_better_they_are_known_the_narrower_is_the_span() -> None:
    widths = []
    for within in (0.2, 1, 3):
        earliest, latest = bursts(0, 40, 80, 120, within=within).expected(121)
        widths.append(latest - earliest)

    assert widths == sorted(widths)
    assert widths[0] >= 2 * JITTER_SECONDS


def test_irregular_bursts_are_expected_at_no_time() -> None:
    assert bursts(0, 40, 95, 120).expected(121) is None


def test_bursts_that_are_known_too_badly_are_expected_at_no_time() -> None:
    assert bursts(0, 40, 80, 120, within=40 * WIDEST_SHARE + 1).expected(121) is None


def test_bursts_that_went_unseen_leave_a_multiple_of_the_period() -> None:
    earliest, latest = bursts(0, 80, 120, 160).expected(161)

    assert earliest < 200 < latest


def test_where_more_would_have_gone_unseen_than_were_seen_they_are_not_regular() -> None:
    assert bursts(0, 120, 160, 280).expected(281) is None


def test_falls_that_follow_at_once_are_one_burst() -> None:
    made = bursts(0, 40, 80, 120)
    before = made.expected(125)

    made.note(121, 120.4 + ONE_BURST_SECONDS)

    assert made.expected(125) == before


def test_one_that_comes_at_another_time_ends_the_expectation() -> None:
    made = bursts(0, 40, 80, 120)

    made.note(137, 138)

    assert made.expected(139) is None


def test_what_becomes_regular_is_expected_again() -> None:
    made = bursts(3, 17, 90)
    for at in (200, 240, 280, 320):
        made.note(at - 0.5, at + 0.5)

    earliest, latest = made.expected(321)
    assert earliest < 360 < latest


def test_after_one_that_was_not_seen_the_one_after_is_expected() -> None:
    earliest, latest = bursts(0, 40, 80, 120).expected(170)

    assert earliest < 200 < latest


def test_after_several_that_were_not_seen_none_is_expected() -> None:
    made = bursts(0, 40, 80, 120)

    assert made.expected(120 + 40 * (MOST_MISSED + 1)) is not None
    assert made.expected(120 + 40 * (MOST_MISSED + 1) + 5) is None


@given(
    first=st.floats(0, 100),
    period=st.floats(20, 600),
    unknown=st.lists(st.floats(0.1, 1.5), min_size=REGULAR_BURSTS, max_size=8),
    jitter=st.randoms(use_true_random=False),
)
def test_regular_bursts_are_always_expected_and_begin_within_their_span(first, period, unknown, jitter) -> None:
    made = Bursts()
    for number, within in enumerate(unknown):
        began = first + number * period + jitter.uniform(-JITTER_SECONDS, JITTER_SECONDS) * 0.99
        before = jitter.uniform(0, within)
        made.note(began - before, began - before + within)
    following = first + len(unknown) * period

    expected = made.expected(following - period / 2)

    if expected is None:  # too short a period for what is known of it
        assert period < (4 * JITTER_SECONDS + 3 * max(unknown)) * 2 / WIDEST_SHARE
    else:
        assert expected[0] - 1e-6 <= following <= expected[1] + 1e-6


@pytest.mark.parametrize("within", [0.0, 1.0])
def test_bursts_at_the_same_distance_to_the_second_are_expected_within_seconds(within) -> None:
    earliest, latest = bursts(0, 60, 120, 180, 240, within=within).expected(241)

    assert latest - earliest <= 2 * (within + 2 * JITTER_SECONDS)
