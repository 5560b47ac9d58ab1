"""Reports of one participant for tests: an hour of polls, and the alerts that are given."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from exporter.backtest.backtest import Failing, Outcome, Past
from exporter.backtest.report import Report, report
from exporter.history.episodes import Episode
from exporter.history.replay import Period
from tests.support.builders import PARTICIPANT, START, alert, at
from tests.support.stored import resolved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.history.gaps import Gap

HOUR = Period(START, START + timedelta(hours=1))


def episode(begin: float, end: float | None, name: str = "Low", **given) -> Episode:
    made = alert(name, seconds=begin, **given)
    found = Episode.of(made if end is None else resolved(made, end))
    assert found is not None
    return found


def reported(
    mine: Sequence[Episode] = (),
    was: Sequence[Episode] = (),
    *,
    against: str | None = None,
    policy: str | None = None,
    gaps: Sequence[Gap] = (),
    failing: Sequence[Failing] = (),
    polls: int = 240,
) -> Report:
    """Beside what was raised, or beside the rule file ``against``."""
    outcomes = [Outcome(tuple(mine), tuple(failing))]
    if against is not None:
        outcomes.append(Outcome(tuple(was), ()))
    past = Past(
        participant=PARTICIPANT,
        polls=polls,
        failed_polls=3 if polls else 0,
        observations=31 * polls,
        first_poll_at=at(0),
        last_poll_at=at(3585),
        gap_count=len(gaps),
        gap_seconds=sum(gap.seconds for gap in gaps),
        gaps=tuple(gaps),
        raised=() if against is not None else tuple(was),
        outcomes=tuple(outcomes),
    )
    return report([past], mine="new.yml", other=against, period=HOUR, policy=policy)
