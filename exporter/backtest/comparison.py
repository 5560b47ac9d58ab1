"""Both sides of a backtest compared: which alerts are new, gone, changed, or the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from exporter.durations import short
from exporter.history.episodes import Episode
from exporter.history.replay import Period


class Change(StrEnum):
    NEW = "new"
    REMOVED = "gone"
    CHANGED = "changed"
    SAME = "same"


@dataclass(frozen=True, slots=True)
class Pair:
    """An alert of the rules on trial and its counterpart on the other side; one of them may be missing."""

    mine: Episode | None
    other: Episode | None

    @property
    def change(self) -> Change:
        if self.other is None:
            return Change.NEW
        if self.mine is None:
            return Change.REMOVED
        same = (self.mine.began_at, self.mine.resolved_at) == (self.other.began_at, self.other.resolved_at)
        return Change.SAME if same else Change.CHANGED

    @property
    def episode(self) -> Episode:
        """The alert on trial, or the one that is gone."""
        episode = self.mine or self.other
        assert episode is not None  # noqa: S101 - a pair has at least one
        return episode


@dataclass(frozen=True, slots=True)
class SideTotal:
    """One side: how many alerts, how long they fired together, the longest. The fields are keys of the JSON report."""

    alerts: int
    firing_seconds: float
    longest_seconds: float


@dataclass(frozen=True, slots=True)
class Total:
    """Both sides of a rule, of one policy's bucket, or of all, and how many alerts changed in which way."""

    name: str
    severity: str
    policy: str
    mine: SideTotal
    other: SideTotal
    changes: dict[str, int]

    def figures(self) -> tuple[str, ...]:
        """Returns its cells: alerts and firing time of both sides, its own longest alert, and the changes."""
        mine, other, changes = self.mine, self.other, self.changes
        return (
            *(f"{mine.alerts:,}", f"{other.alerts:,}"),
            *map(short, (mine.firing_seconds, other.firing_seconds, mine.longest_seconds)),
            *(f"{changes[c]:,}" if changes[c] else "" for c in (Change.NEW, Change.REMOVED, Change.CHANGED)),
        )


def pair_episodes(mine: Iterable[Episode], other: Iterable[Episode], until: datetime) -> list[Pair]:
    """Returns every alert of both sides, once, in order of time.

    Two are the same alert if name, severity, participant and policy are, and they fired at the same time for a while;
    of several candidates, those that overlap the longest.
    """
    by_subject: dict[tuple[str, ...], tuple[list[Episode], list[Episode]]] = defaultdict(lambda: ([], []))
    for side, episodes in enumerate((mine, other)):
        for episode in episodes:
            subject = episode.name, episode.severity, episode.participant, episode.policy or ""
            by_subject[subject][side].append(episode)
    pairs = [pair for sides in by_subject.values() for pair in _pair_overlapping(*sides, until)]
    return sorted(pairs, key=lambda p: (p.episode.began_at, p.episode.participant, p.episode.policy or "", p.change))


def totals(pairs: Sequence[Pair], period: Period, key: Callable[[Episode], tuple[str, str, str]]) -> list[Total]:
    """Returns totals by ``key`` (alert, severity, policy, which may be empty), those with most alerts first."""
    by_key: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_key[key(pair.episode)].append(pair)
    return sorted(
        (total(group, period, names) for names, group in by_key.items()),
        key=lambda total: (-total.mine.alerts, -total.other.alerts, total.name, total.policy),
    )


def total(pairs: Sequence[Pair], period: Period, names: tuple[str, str, str] = ("", "", "")) -> Total:
    """Returns the total of all pairs; ``names`` are those of the alert, its severity and its policy."""
    mine, other = side_total((p.mine for p in pairs), period), side_total((p.other for p in pairs), period)
    return Total(*names, mine, other, {change: sum(pair.change is change for pair in pairs) for change in Change})


def side_total(episodes: Iterable[Episode | None], period: Period) -> SideTotal:
    """Returns totals within the period: of an alert that began before it, only the time from its beginning counts."""
    times = [(max(e.began_at, period.since), e.resolved_at or period.until) for e in episodes if e is not None]
    seconds = [max(0.0, (end - begin).total_seconds()) for begin, end in times]
    return SideTotal(len(seconds), sum(seconds), max(seconds, default=0.0))


def _pair_overlapping(mine: Sequence[Episode], other: Sequence[Episode], until: datetime) -> list[Pair]:
    """Pairs the episodes of one subject; both sequences are in order of time."""
    candidates: list[tuple[float, int, int]] = []  # the longest overlap first
    first = 0
    for i, a in enumerate(mine):
        while first < len(other) and (other[first].resolved_at or until) <= a.began_at:
            first += 1
        for j in range(first, len(other)):
            if other[j].began_at >= (a.resolved_at or until):
                break
            overlap = _overlap_seconds(a, other[j], until)
            if overlap > 0:
                candidates.append((-overlap, i, j))
    free_mine, free_other = dict(enumerate(mine)), dict(enumerate(other))
    pairs: list[Pair] = []
    for _, i, j in sorted(candidates):
        if i in free_mine and j in free_other:
            pairs.append(Pair(free_mine.pop(i), free_other.pop(j)))
    pairs += [Pair(episode, None) for episode in free_mine.values()]
    pairs += [Pair(None, episode) for episode in free_other.values()]
    return pairs


def _overlap_seconds(a: Episode, b: Episode, until: datetime) -> float:
    """Of two that overlap equally long, the one with identical labels counts as a little longer."""
    begin, end = max(a.began_at, b.began_at), min(a.resolved_at or until, b.resolved_at or until)
    overlap = (end - begin).total_seconds()
    return overlap + 0.5 if overlap > 0 and a.fingerprint == b.fingerprint else overlap
