"""What rules would have raised over a participant's stored polls, and what really was raised."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.buckets.observation import Observation, view_after
from exporter.history.episodes import Episode, Episodes, firing_at, raised
from exporter.history.gaps import Gap, Gaps
from exporter.history.replay import Period, Replay, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from exporter.alerts.alert import Alert, Fingerprint, Rule, RuleFailure
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Poll, View
    from exporter.store.reader import Reader

_REPORT_EVERY_POLLS: Final = 500


@dataclass(frozen=True, slots=True)
class Failing:
    """A rule that failed, at so many polls, and what it said last."""

    group: str
    name: str
    polls: int
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule file would have raised for a participant."""

    episodes: tuple[Episode, ...]
    failing: tuple[Failing, ...]


@dataclass(frozen=True, slots=True)
class Past:
    """One participant's history in a period.

    ``outcomes`` are those of the rule files, in their order; ``raised`` is what the
    database says was raised. ``observations`` counts buckets seen. ``gaps`` are the
    longest of ``gap_count``, which last ``gap_seconds`` together.
    """

    participant: Ispb
    polls: int
    failed_polls: int
    observations: int
    first_poll_at: datetime | None
    last_poll_at: datetime | None
    gap_count: int
    gap_seconds: float
    gaps: tuple[Gap, ...]
    raised: tuple[Episode, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Standing:
    """All that the polls to come depend on: what is shown, and the open alerts of each set of rules."""

    view: View | None
    alerts: tuple[Mapping[Fingerprint, Alert], ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """The past of a part of a period, how things stood when it began, and when it ended."""

    past: Past
    begun: Standing
    ended: Standing


async def backtest(
    reader: Reader,
    participant: Ispb,
    rule_sets: Sequence[Sequence[Rule]],
    period: Period,
    progress: Callable[[int, float], None] = lambda _polls, _seconds: None,
) -> Past:
    """Replays a participant's polls of the period through each set of rules, all in one reading.

    ``progress`` hears of polls done since it last did, and of the seconds that they cover.
    Raises DatabaseUnavailable.
    """
    return (await replayed(reader, participant, rule_sets, period=period, part=period, progress=progress)).past


async def replayed(
    reader: Reader,
    participant: Ispb,
    rule_sets: Sequence[Sequence[Rule]],
    *,
    period: Period,
    part: Period,
    begin: Standing | None = None,
    progress: Callable[[int, float], None],
) -> Piece:
    """Replays a part of the period, from how things stood when it began.

    Where that is not known (``begin`` None), it is found out: the replay begins a while before, with the
    alerts that fired then, so that what counts up (``for``) and what holds (hysteresis) has begun in time.
    """
    begins_at = part.since if begin is not None else part.since - warm_up(rule_sets)
    alerts = await reader.alerts(include_resolved=True, participant=participant, since=begins_at)
    firing = list(firing_at(alerts, begins_at))
    runs = [
        _Run(rules, firing if begin is None else begin.alerts[place].values(), part.since)
        for place, rules in enumerate(rule_sets)
    ]
    gaps = Gaps(period.since, period.until)
    view = begin.view if begin is not None else None
    if view is not None:
        gaps.go_on_after(view.poll)
    begun = begin
    tally = _Tally(part.since, progress)
    async for poll in reader.polls(participant, begins_at, part.until, evaluated_only=True):
        if begun is None and poll.polled_at >= part.since:
            begun = Standing(view, tuple(run.alerts for run in runs))
        view = view_after(view, poll)
        for run in runs:
            run.step(view)
        if poll.polled_at < part.since:
            gaps.go_on_after(poll)
        else:
            gaps.take(poll)
            tally.take(poll)
    if part.until == period.until:
        gaps.end()
    tally.end(part.until)
    ended = Standing(view, tuple(run.alerts for run in runs))
    past = Past(
        participant=participant,
        polls=tally.polls,
        failed_polls=tally.failed,
        observations=tally.observations,
        first_poll_at=tally.first,
        last_poll_at=tally.last,
        gap_count=gaps.count,
        gap_seconds=gaps.seconds,
        gaps=gaps.longest(),
        raised=raised(alerts, period.since, period.until),
        outcomes=tuple(run.outcome() for run in runs),
    )
    return Piece(past, begun or ended, ended)


class _Tally:
    """Counts polls, and tells of it now and then."""

    def __init__(self, since: datetime, progress: Callable[[int, float], None]) -> None:
        self.polls = self.failed = self.observations = 0
        self.first: datetime | None = None
        self.last: datetime | None = None
        self._told, self._told_to = 0, since
        self._progress = progress

    def take(self, poll: Poll) -> None:
        self.polls += 1
        self.first = self.first or poll.polled_at
        self.last = poll.polled_at
        if isinstance(poll.result, Observation):
            self.observations += len(poll.result.buckets)
        else:
            self.failed += 1
        if self.polls - self._told == _REPORT_EVERY_POLLS:
            self.end(poll.polled_at)

    def end(self, at: datetime) -> None:
        self._progress(self.polls - self._told, (at - self._told_to).total_seconds())
        self._told, self._told_to = self.polls, at


class _Run:
    """One set of rules on its way through the polls."""

    def __init__(self, rules: Sequence[Rule], open_alerts: Iterable[Alert], since: datetime) -> None:
        known = {(rule.name, rule.severity) for rule in rules}
        begun = [alert for alert in open_alerts if (alert.name, alert.severity) in known]
        self._replay = Replay(rules, begun)
        self._episodes = Episodes(since)
        self._episodes.go_on_with(begun)
        self._since = since
        self._failed: Counter[tuple[str, str]] = Counter()
        self._said: dict[tuple[str, str], str] = {}

    @property
    def alerts(self) -> Mapping[Fingerprint, Alert]:
        return self._replay.alerts

    def step(self, view: View) -> None:
        evaluation = self._replay.step_to(view)
        if evaluation.transitions:
            self._episodes.take(evaluation.transitions)
        if evaluation.failures and view.at >= self._since:
            self._note(evaluation.failures)

    def _note(self, failures: Sequence[RuleFailure]) -> None:
        for failure in failures:
            self._failed[failure.group, failure.name] += 1
            self._said[failure.group, failure.name] = failure.message

    def outcome(self) -> Outcome:
        failing = tuple(Failing(*key, polls, self._said[key]) for key, polls in sorted(self._failed.items()))
        return Outcome(self._episodes.all(), failing)
