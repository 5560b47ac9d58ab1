"""Reports of one participant for tests: an hour of polls, and the alerts that a test passes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from exporter.backtest.backtest import BacktestResult, Coverage, FailedRule, RuleSetResult
from exporter.backtest.report import Report, build_report
from exporter.history.episodes import Episode
from exporter.history.replay import Period
from tests.support.builders import PARTICIPANT, START, alert
from tests.support.stored import resolved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.history.replay import Gap

HOUR = Period(START, START + timedelta(hours=1))


def episode(begin: float, end: float | None, name: str = "Low", **fields) -> Episode:
    firing = alert(name, seconds=begin, **fields)
    result = Episode.from_alert(firing if end is None else resolved(firing, end))
    assert result is not None
    return result


def reported(
    mine: Sequence[Episode] = (),
    was: Sequence[Episode] = (),
    *,
    against: str | None = None,
    policy: str | None = None,
    gaps: Sequence[Gap] = (),
    failing: Sequence[FailedRule] = (),
    polls: int = 240,
) -> Report:
    """Beside what was raised, or beside the rule file ``against``."""
    rule_sets = [RuleSetResult(tuple(mine), tuple(failing))]
    if against is not None:
        rule_sets.append(RuleSetResult(tuple(was), ()))
    result = BacktestResult(
        participant=PARTICIPANT,
        coverage=Coverage(
            polls=polls,
            failed_polls=3 if polls else 0,
            observations=31 * polls,
            gap_count=len(gaps),
            gap_seconds=sum(gap.seconds for gap in gaps),
        ),
        gaps=tuple(gaps),
        raised=() if against is not None else tuple(was),
        rule_sets=tuple(rule_sets),
    )
    return build_report([result], mine="new.yml", other=against, period=HOUR, policy=policy)
