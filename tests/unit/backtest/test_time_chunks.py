from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from exporter.backtest.backtest import Failing, Outcome, Past, Piece, Standing
from exporter.backtest.time_chunks import cut, joined
from exporter.history.gaps import Gap
from exporter.history.replay import Period
from tests.support.builders import PARTICIPANT, START, at
from tests.support.reports import HOUR, episode

NOTHING = Standing(None, ())
DAY = Period(START, START + timedelta(days=1))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_pieces_follow_one_another_and_are_the_whole(count):
    pieces = cut(DAY, count, timedelta(hours=1))

    assert len(pieces) == count
    assert (pieces[0].since, pieces[-1].until) == (DAY.since, DAY.until)
    assert all(one.until == other.since for one, other in pairwise(pieces))


@pytest.mark.parametrize(("hours", "count"), [(1, 6), (3, 2), (7, 1)])
def test_a_piece_is_much_longer_than_what_is_read_before_it(hours, count):
    assert len(cut(DAY, 100, timedelta(hours=hours))) == count


def piece(*episodes, polls: int = 10, gaps=(), failing=(), last=None) -> Piece:
    past = Past(
        participant=PARTICIPANT,
        polls=polls,
        failed_polls=1,
        observations=31 * polls,
        first_poll_at=last,
        last_poll_at=last,
        gap_count=len(gaps),
        gap_seconds=sum(gap.seconds for gap in gaps),
        gaps=tuple(gaps),
        raised=(),
        outcomes=(Outcome(tuple(episodes), tuple(failing)),),
    )
    return Piece(past, NOTHING, NOTHING)


def test_an_alert_that_fires_from_one_piece_into_the_next_is_one():
    one = piece(episode(0, 60), episode(600, None))
    other = piece(episode(600, 2000), episode(3000, None))

    assert joined([one, other]).outcomes[0].episodes == (episode(0, 60), episode(600, 2000), episode(3000, None))


def test_what_is_counted_is_added_up():
    one = piece(gaps=[Gap(at(0), at(100))], failing=[Failing("g", "A", 2, "x")], last=at(50))
    other = piece(
        gaps=[Gap(at(1000), at(1200))],
        failing=[Failing("g", "B", 1, "z"), Failing("g", "A", 3, "y")],
        last=at(2000),
    )

    past = joined([one, piece(polls=0), other])

    assert (past.polls, past.failed_polls, past.observations) == (20, 3, 620)
    assert (past.first_poll_at, past.last_poll_at) == (at(50), at(2000))
    assert (past.gap_count, past.gap_seconds, len(past.gaps)) == (2, 300, 2)
    assert past.outcomes[0].failing == (Failing("g", "A", 5, "y"), Failing("g", "B", 1, "z"))


def test_one_piece_is_the_whole():
    only = piece(episode(0, None), last=HOUR.since)

    assert joined([only]) == only.past
