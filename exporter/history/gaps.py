"""Stretches of the past in which nobody polled, so that no rule can say anything of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporter.buckets.observation import MISSED_INTERVALS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from exporter.buckets.observation import Poll

_KEPT: Final = 100


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
    """Finds the gaps of one participant's polls within a period: all are counted, the longest are kept."""

    since: datetime
    until: datetime
    count: int = 0
    seconds: float = 0.0
    _longest: list[Gap] = field(default_factory=list)
    _last: Poll | None = None

    def go_on_after(self, poll: Poll) -> None:
        """The poll came before: somebody else looks at what is missing before it."""
        self._last = poll

    def take(self, poll: Poll) -> None:
        last = self._last
        interval = max(poll.interval_seconds, last.interval_seconds if last is not None else 0.0)
        self._note(last.polled_at if last is not None else self.since, poll.polled_at, interval)
        self._last = poll

    def end(self) -> None:
        """There are no more polls."""
        last = self._last
        if last is None:
            self._note(self.since, self.until, 0.0)
        else:
            self._note(last.polled_at, self.until, last.interval_seconds)

    def longest(self) -> tuple[Gap, ...]:
        """Returns the longest gaps in order of time."""
        return longest_of(self._longest)

    def _note(self, begin: datetime, end: datetime, interval_seconds: float) -> None:
        gap = Gap(max(begin, self.since), end)
        if (
            end <= self.since
            or (end - begin).total_seconds() <= MISSED_INTERVALS * interval_seconds
            or gap.seconds <= 0
        ):
            return
        self.count += 1
        self.seconds = round(self.seconds + gap.seconds, 6)
        self._longest.append(gap)
        if len(self._longest) > 2 * _KEPT:
            self._longest = list(longest_of(self._longest))


def longest_of(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Returns as many as are kept, in order of time; of equal ones the earlier."""
    kept = sorted(gaps, key=lambda gap: (-gap.seconds, gap.begin))[:_KEPT]
    return tuple(sorted(kept, key=lambda gap: gap.begin))
