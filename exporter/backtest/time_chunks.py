"""A period split into chunks that are replayed in parallel, and their results merged.

A chunk finds out its initial state itself. Where that differs from the state in which the chunk before it ended, it is
replayed again from there: so the merged result is that of one replay of the whole period.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from exporter.backtest.backtest import BacktestResult, Coverage, FailedRule, RuleSetResult, add_failure
from exporter.history.episodes import ordered
from exporter.history.replay import Period, longest_of


def split(period: Period, count: int, shortest: timedelta) -> list[Period]:
    """Returns at most ``count`` chunks of equal length, in order, none shorter than ``shortest``."""
    length = period.until - period.since
    count = max(1, min(count, int(length / shortest)))
    edges = [period.since + length * index / count for index in range(count)] + [period.until]
    return [Period(since, until) for since, until in pairwise(edges)]


def merge(results: Sequence[BacktestResult]) -> BacktestResult:
    """Returns the result of the whole period. Each chunk began in the state in which the one before it ended."""
    return replace(
        results[0],
        coverage=sum((result.coverage for result in results), Coverage()),
        gaps=longest_of(gap for result in results for gap in result.gaps),
        rule_sets=tuple(map(_merge_rule_sets, zip(*(result.rule_sets for result in results), strict=True))),
    )


def _merge_rule_sets(results: Sequence[RuleSetResult]) -> RuleSetResult:
    *earlier, last = results
    # What still fires at the end of a chunk is an episode of the next one.
    ended = [episode for result in earlier for episode in result.episodes if episode.resolved_at is not None]
    failed: dict[tuple[str, str], FailedRule] = {}
    for result in results:
        for failure in result.failed:
            add_failure(failed, failure)
    return RuleSetResult(ordered([*ended, *last.episodes]), tuple(failed[key] for key in sorted(failed)))
