"""Gaps in the stored polls: no rule was evaluated in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from exporter.buckets.observation import MISSED_INTERVALS, Poll

_MOST_KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class Gap:
    """No poll between two times (UTC)."""

    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()


@dataclass(slots=True)
class Gaps:
    """Finds the gaps between one participant's polls within a period: counts all, keeps the longest."""

    since: datetime
    until: datetime
    count: int = 0
    seconds: float = 0.0
    _longest: list[Gap] = field(default_factory=list)
    _last: Poll | None = None

    def resume_after(self, poll: Poll) -> None:
        """Continues after a poll; a gap before it is not counted."""
        self._last = poll

    def add(self, poll: Poll) -> None:
        self._add_gap_before(poll.polled_at, poll.interval_seconds)
        self._last = poll

    def finish(self) -> None:
        """Counts the gap after the last poll."""
        self._add_gap_before(self.until, 0.0)

    def longest(self) -> tuple[Gap, ...]:
        """Returns the longest gaps in order of time."""
        return longest_of(self._longest)

    def _add_gap_before(self, end: datetime, interval_seconds: float) -> None:
        begin = self.since
        if self._last is not None:
            begin, interval_seconds = self._last.polled_at, max(interval_seconds, self._last.interval_seconds)
        gap = Gap(max(begin, self.since), end)
        if gap.seconds <= 0 or (end - begin).total_seconds() <= MISSED_INTERVALS * interval_seconds:
            return
        self.count += 1
        self.seconds = round(self.seconds + gap.seconds, 6)
        self._longest.append(gap)
        if len(self._longest) > 2 * _MOST_KEPT:
            self._longest = list(longest_of(self._longest))


def longest_of(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Returns the longest gaps in order of time; of equally long ones the earlier."""
    kept = sorted(gaps, key=lambda gap: (-gap.seconds, gap.begin))[:_MOST_KEPT]
    return tuple(sorted(kept, key=lambda gap: gap.begin))
