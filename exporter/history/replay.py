"""Stored polls, replayed through rules, and the gaps between them, in which no rule was evaluated."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from exporter.alerts.alert import Alert, Evaluation, Fingerprint, by_fingerprint
from exporter.alerts.history import History
from exporter.alerts.lifecycle import evaluate, lookback_ms, remove_participant
from exporter.alerts.rule import Rule
from exporter.buckets.observation import MISSED_INTERVALS, Poll, View, view_after
from exporter.clock import in_utc
from exporter.history.episodes import Episodes

_EVER: Final = datetime.min.replace(tzinfo=UTC)
_MOST_GAPS: Final = 100


@dataclass(frozen=True, slots=True)
class Period:
    """``since`` up to, not including, ``until`` (UTC)."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()

    def __str__(self) -> str:
        return f"{in_utc(self.since)} to {in_utc(self.until)} UTC"


class Replay:
    """Replays one participant's polls through rules, in order, as the reconciler evaluated them.

    ``view`` is what `/metrics` served after the last poll, ``history`` what the rules look back at, ``alerts`` are
    those open after it, and ``episodes`` those that were firing at ``since`` or later. Initial alerts are those open
    before the first poll. ``is_stored``: all polls are in the database, where there is no row of a read that shows
    nothing new and changed no alert, of these rules or of others.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        alerts: Collection[Alert] = (),
        since: datetime = _EVER,
        *,
        is_stored: bool = False,
    ) -> None:
        self.view: View | None = None
        self.history = History(lookback_ms(rules))
        self.alerts: Mapping[Fingerprint, Alert] = by_fingerprint(alerts)
        self.episodes = Episodes(since)
        self.episodes.resume(alerts)
        self._rules = rules
        self._is_stored = is_stored

    def step(self, poll: Poll) -> Evaluation:
        """Returns the evaluation of the rules at the poll."""
        return self.step_to(view_after(self.view, poll))

    def follow(self, view: View, evaluate_from: datetime) -> None:
        """Evaluates the rules over the view after a poll, or only notes one of earlier: later they look back at it."""
        if view.at >= evaluate_from:
            self.step_to(view)
            return
        self.view = view
        self.history.add(view)

    def step_to(self, view: View) -> Evaluation:
        """Returns the evaluation over the view after the poll, which several replays may share."""
        self.view = view
        self.history.add(view)
        if view.poll.is_removal:
            evaluation = Evaluation({}, remove_participant(self.alerts, view.at))
        else:
            evaluation = evaluate(self._rules, view, self.alerts, history=self.history, is_stored=self._is_stored)
        self.alerts = evaluation.alerts
        self.episodes.add(evaluation.transitions)
        return evaluation


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
        if len(self._longest) > 2 * _MOST_GAPS:
            self._longest = list(longest_of(self._longest))


def longest_of(gaps: Iterable[Gap]) -> tuple[Gap, ...]:
    """Returns the longest gaps in order of time; of equally long ones the earlier."""
    kept = sorted(gaps, key=lambda gap: (-gap.seconds, gap.begin))[:_MOST_GAPS]
    return tuple(sorted(kept, key=lambda gap: gap.begin))
