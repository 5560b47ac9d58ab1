from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from exporter.backtest.backtest import BacktestResult, Coverage, FailedRule, RuleSetResult
from exporter.backtest.workers import merge, split
from exporter.history.replay import Gap, Period
from tests.support.builders import PARTICIPANT, START, at
from tests.support.reports import episode

DAY = Period(START, START + timedelta(days=1))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_chunks_follow_one_another_and_are_the_whole(count):
    chunks = split(DAY, count, timedelta(hours=4))

    assert len(chunks) == count
    assert (chunks[0].since, chunks[-1].until) == (DAY.since, DAY.until)
    assert all(one.until == other.since for one, other in pairwise(chunks))


@pytest.mark.parametrize(("hours", "count"), [(1, 6), (3, 2), (7, 1)])
def test_no_chunk_is_shorter_than_the_shortest_allowed(hours, count):
    assert len(split(DAY, 100, timedelta(hours=4 * hours))) == count


def chunk(*episodes, polls: int = 10, gaps=(), failed=()) -> BacktestResult:
    return BacktestResult(
        participant=PARTICIPANT,
        coverage=Coverage(polls, 1, 31 * polls, len(gaps), sum(gap.seconds for gap in gaps)),
        gaps=tuple(gaps),
        raised=(),
        rule_sets=(RuleSetResult(tuple(episodes), tuple(failed)),),
    )


def test_an_alert_that_fires_from_one_chunk_into_the_next_is_one():
    one = chunk(episode(0, 60), episode(600, None))
    other = chunk(episode(600, 2000), episode(3000, None))

    assert merge([one, other]).rule_sets[0].episodes == (episode(0, 60), episode(600, 2000), episode(3000, None))


def test_what_is_counted_is_added_up():
    one = chunk(gaps=[Gap(at(0), at(100))], failed=[FailedRule("g", "A", 2, "x")])
    other = chunk(
        gaps=[Gap(at(1000), at(1200))],
        failed=[FailedRule("g", "B", 1, "z"), FailedRule("g", "A", 3, "y")],
    )

    result = merge([one, chunk(polls=0), other])

    assert (result.coverage.polls, result.coverage.failed_polls, result.coverage.observations) == (20, 3, 620)
    assert (result.coverage.gap_count, result.coverage.gap_seconds, len(result.gaps)) == (2, 300, 2)
    assert result.rule_sets[0].failed == (FailedRule("g", "A", 5, "y"), FailedRule("g", "B", 1, "z"))


def test_one_chunk_is_the_whole():
    only = chunk(episode(0, None))

    assert merge([only]) == only
