"""Two sides of a backtest put beside each other: what is new, gone, otherwise, or the same."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from exporter.history.episodes import Episode
    from exporter.history.replay import Period


class Change(StrEnum):
    NEW = "new"
    GONE = "gone"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class Pair:
    """An alert of the rules on trial, and the one that stands for it on the other side; one of them may be missing."""

    mine: Episode | None
    other: Episode | None

    @property
    def change(self) -> Change:
        if self.other is None:
            return Change.NEW
        if self.mine is None:
            return Change.GONE
        same = (self.mine.began_at, self.mine.resolved_at) == (self.other.began_at, self.other.resolved_at)
        return Change.SAME if same else Change.CHANGED

    @property
    def episode(self) -> Episode:
        """The alert on trial, or the one that is gone."""
        episode = self.mine or self.other
        assert episode is not None  # noqa: S101 - a pair has at least one
        return episode


@dataclass(frozen=True, slots=True)
class Side:
    """What one side raised: how many alerts, seconds that they fired, the longest."""

    alerts: int
    seconds: float
    longest_seconds: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table: both sides, and how their alerts differ."""

    name: str
    severity: str
    policy: str
    mine: Side
    other: Side
    changes: dict[str, int]


def pairs(mine: Iterable[Episode], other: Iterable[Episode], until: datetime) -> list[Pair]:
    """Returns every alert of both sides, once, in order of time.

    Two are the same alert where name, severity, participant and policy are, and
    they fired at the same time for a while; the longer, the rather.
    """
    left: dict[_Subject, list[Episode]] = defaultdict(list)
    right: dict[_Subject, list[Episode]] = defaultdict(list)
    for episode in mine:
        left[_subject(episode)].append(episode)
    for episode in other:
        right[_subject(episode)].append(episode)
    found: list[Pair] = []
    for subject in left.keys() | right.keys():
        found += _paired(left.get(subject, []), right.get(subject, []), until)
    return sorted(found, key=lambda p: (p.episode.began_at, p.episode.participant, p.episode.policy or "", p.change))


def lines(paired: Sequence[Pair], period: Period, key: Callable[[Episode], tuple[str, str, str]]) -> list[Line]:
    """Returns totals by ``key`` (alert, severity, policy; what is not asked for is empty), the noisiest first."""
    by_key: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in paired:
        by_key[key(pair.episode)].append(pair)
    made = [
        Line(
            *named,
            side((p.mine for p in group), period),
            side((p.other for p in group), period),
            {change: sum(p.change is change for p in group) for change in Change},
        )
        for named, group in by_key.items()
    ]
    return sorted(made, key=lambda line: (-line.mine.alerts, -line.other.alerts, line.name, line.policy))


def side(episodes: Iterable[Episode | None], period: Period) -> Side:
    """Totals within the period: an alert that began before it counts, its time from the period's beginning."""
    seconds = [seconds_within(e, period) for e in episodes if e is not None]
    return Side(len(seconds), sum(seconds), max(seconds, default=0.0))


def seconds_within(episode: Episode, period: Period) -> float:
    """Returns how long it fired within the period."""
    begin = max(episode.began_at, period.since)
    return max(0.0, ((episode.resolved_at or period.until) - begin).total_seconds())


_Subject: TypeAlias = "tuple[str, str, str, str | None]"


def _subject(episode: Episode) -> _Subject:
    return episode.name, episode.severity, episode.participant, episode.policy


def _paired(mine: Sequence[Episode], other: Sequence[Episode], until: datetime) -> list[Pair]:
    """Both in order of time."""
    candidates: list[tuple[float, int, int]] = []
    first = 0
    for i, a in enumerate(mine):
        while first < len(other) and (other[first].resolved_at or until) <= a.began_at:
            first += 1
        for j in range(first, len(other)):
            if other[j].began_at >= (a.resolved_at or until):
                break
            together = _seconds_together(a, other[j], until)
            if together > 0:
                candidates.append((together, i, j))
    candidates.sort(key=lambda found: (-found[0], found[1], found[2]))
    free_mine, free_other = set(range(len(mine))), set(range(len(other)))
    found: list[Pair] = []
    for _, i, j in candidates:
        if i in free_mine and j in free_other:
            free_mine.remove(i)
            free_other.remove(j)
            found.append(Pair(mine[i], other[j]))
    found += [Pair(mine[i], None) for i in sorted(free_mine)]
    found += [Pair(None, other[j]) for j in sorted(free_other)]
    return found


def _seconds_together(a: Episode, b: Episode, until: datetime) -> float:
    """Of two that overlap as long, the one with the very same labels counts as a little longer."""
    begin, end = max(a.began_at, b.began_at), min(a.resolved_at or until, b.resolved_at or until)
    overlap = (end - begin).total_seconds()
    return overlap + 0.5 if overlap > 0 and a.fingerprint == b.fingerprint else overlap
