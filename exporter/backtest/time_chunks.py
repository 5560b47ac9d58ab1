"""A period cut into pieces that are replayed at the same time, and put together again.

A piece finds out by itself how things stood when it began. Where that is not how the
piece before it ended, it is replayed again from there: what comes out is what one
replay of the whole gives.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from exporter.backtest.backtest import Failing, Outcome
from exporter.history.episodes import ordered
from exporter.history.gaps import longest_of
from exporter.history.replay import Period

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from exporter.backtest.backtest import Past, Piece

_LEADS = 4
"""A piece is at least so many times as long as what is read before it: else cutting costs more than it gives."""


def cut(period: Period, count: int, lead: timedelta) -> list[Period]:
    """Returns at most ``count`` pieces of equal length, in order."""
    length = period.until - period.since
    count = max(1, min(count, int(length / (_LEADS * lead))))
    edges = [period.since + length * place / count for place in range(count)] + [period.until]
    return [Period(since, until) for since, until in pairwise(edges)]


def joined(pieces: Sequence[Piece]) -> Past:
    """Returns the past of the whole period. Each piece begins as the one before it ended."""
    pasts = [piece.past for piece in pieces]
    times = [at for past in pasts for at in (past.first_poll_at, past.last_poll_at) if at is not None]
    return replace(
        pasts[0],
        polls=sum(past.polls for past in pasts),
        failed_polls=sum(past.failed_polls for past in pasts),
        observations=sum(past.observations for past in pasts),
        first_poll_at=min(times, default=None),
        last_poll_at=max(times, default=None),
        gap_count=sum(past.gap_count for past in pasts),
        gap_seconds=round(sum(past.gap_seconds for past in pasts), 6),
        gaps=longest_of(gap for past in pasts for gap in past.gaps),
        outcomes=tuple(_outcome(parts) for parts in zip(*(past.outcomes for past in pasts), strict=True)),
    )


def _outcome(parts: Sequence[Outcome]) -> Outcome:
    *earlier, last = parts
    # What still fires at the end of a piece fires on in the next one, and is told there.
    over = [episode for part in earlier for episode in part.episodes if episode.resolved_at is not None]
    return Outcome(ordered([*over, *last.episodes]), _failing(parts))


def _failing(parts: Sequence[Outcome]) -> tuple[Failing, ...]:
    found: dict[tuple[str, str], Failing] = {}
    for failing in (failing for part in parts for failing in part.failing):
        before = found.get((failing.group, failing.name))
        polls = failing.polls + (before.polls if before is not None else 0)
        found[failing.group, failing.name] = replace(failing, polls=polls)
    return tuple(found[key] for key in sorted(found))
