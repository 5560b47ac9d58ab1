"""What rules would have raised over a participant's stored polls, and what was raised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Final, TypeAlias

from exporter.alerts.alert import Alert, Evaluation, Fingerprint
from exporter.alerts.history import History
from exporter.alerts.rule import Rule, alerting
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Observation, Poll, View, view_after
from exporter.history.episodes import Episode, episodes_within, firing_at
from exporter.history.lookback import lookback, warm_up
from exporter.history.replay import Gap, Gaps, Period, Replay
from exporter.store.reader import AlertFilter, Reader

Progress: TypeAlias = "Callable[[int, float], None]"
"""Is called with the polls replayed since the last call, and with the seconds that they cover."""

_REPORT_EVERY_POLLS: Final = 500


@dataclass(frozen=True, slots=True)
class FailedRule:
    """A rule that could not be evaluated at a number of polls, and the last error."""

    group: str
    name: str
    polls: int
    message: str


@dataclass(frozen=True, slots=True)
class RuleSetResult:
    """What one set of rules would have raised for a participant."""

    episodes: tuple[Episode, ...]
    failed: tuple[FailedRule, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a period was polled. ``observations`` counts buckets."""

    polls: int = 0
    failed_polls: int = 0
    observations: int = 0
    gap_count: int = 0
    gap_seconds: float = 0.0

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(*(round(a + b, 6) for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """One participant's result. ``gaps`` are the longest ones; ``raised`` is what the database has."""

    participant: Ispb
    coverage: Coverage
    gaps: tuple[Gap, ...]
    raised: tuple[Episode, ...]
    rule_sets: tuple[RuleSetResult, ...]


@dataclass(frozen=True, slots=True)
class ReplayState:
    """All that the polls to come depend on.

    They are the last view, and of each set of rules the open alerts, and what it looks back at.
    """

    view: View | None
    alerts: tuple[Mapping[Fingerprint, Alert], ...]
    histories: tuple[History, ...]


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """The result of a chunk of a period, and the states at its beginning and at its end."""

    result: BacktestResult
    initial_state: ReplayState
    final_state: ReplayState


async def replay_chunk(
    reader: Reader,
    participant: Ispb,
    rule_sets: Sequence[Sequence[Rule]],
    *,
    period: Period,
    chunk: Period,
    initial_state: ReplayState | None = None,
    progress: Progress = lambda _polls, _seconds: None,
) -> ChunkResult:
    """Replays a participant's polls of a chunk of the period through each set of rules, reading them once.

    Where the state at its beginning is not known, the replay begins earlier by the rules' warm-up, with the alerts that
    were firing then: so ``for`` and hysteresis are in their state by the time the chunk begins. What the rules look
    back at is read from before that. Raises DatabaseUnavailable.
    """
    begins_at = chunk.since if initial_state is not None else chunk.since - warm_up(rule_sets)
    alerts = await reader.alerts(AlertFilter(include_resolved=True, participant=participant, since=begins_at))
    firing = list(firing_at(alerts, begins_at))
    replays = [
        _RuleSetReplay(rules, firing if initial_state is None else initial_state.alerts[index].values(), chunk.since)
        for index, rules in enumerate(rule_sets)
    ]
    gaps = Gaps(period.since, period.until)
    view = initial_state.view if initial_state is not None else None
    read_from = begins_at if initial_state is not None else begins_at - lookback(rule_sets)
    for replay, history in zip(replays, initial_state.histories if initial_state is not None else (), strict=False):
        replay.history = history.copy()
    if view is not None:
        gaps.resume_after(view.poll)
    counter = _PollCounter(chunk.since, progress)
    async for poll in reader.polls(participant, read_from, chunk.until, evaluated_only=True):
        if initial_state is None and poll.polled_at >= chunk.since:
            initial_state = _state(view, replays)
        view = view_after(view, poll)
        for replay in replays:
            replay.follow(view, evaluate_from=begins_at)
        if poll.polled_at < chunk.since:
            gaps.resume_after(poll)
        else:
            gaps.add(poll)
            counter.add(poll)
    if chunk.until == period.until:
        gaps.finish()
    counter.report_progress(chunk.until)
    final_state = _state(view, replays)
    result = BacktestResult(
        participant=participant,
        coverage=Coverage(counter.polls, counter.failed_polls, counter.observations, gaps.count, gaps.seconds),
        gaps=gaps.longest(),
        raised=episodes_within(alerts, period.since, period.until),
        rule_sets=tuple(replay.result() for replay in replays),
    )
    return ChunkResult(result, initial_state or final_state, final_state)


def _state(view: View | None, replays: Sequence[Replay]) -> ReplayState:
    return ReplayState(view, tuple(r.alerts for r in replays), tuple(r.history.copy() for r in replays))


class _PollCounter:
    def __init__(self, since: datetime, progress: Progress) -> None:
        self.polls = self.failed_polls = self.observations = 0
        self._reported_polls, self._reported_until = 0, since
        self._progress = progress

    def add(self, poll: Poll) -> None:
        self.polls += 1
        if isinstance(poll.result, Observation):
            self.observations += len(poll.result.buckets)
        else:
            self.failed_polls += 1
        if self.polls - self._reported_polls == _REPORT_EVERY_POLLS:
            self.report_progress(poll.polled_at)

    def report_progress(self, until: datetime) -> None:
        self._progress(self.polls - self._reported_polls, (until - self._reported_until).total_seconds())
        self._reported_polls, self._reported_until = self.polls, until


class _RuleSetReplay(Replay):
    """Counts the failures of rules, too, from ``since`` on."""

    def __init__(self, rules: Sequence[Rule], open_alerts: Iterable[Alert], since: datetime) -> None:
        names = {(rule.name, rule.severity) for rule in alerting(rules)}
        super().__init__(rules, [alert for alert in open_alerts if (alert.name, alert.severity) in names], since)
        self._since = since
        self._failed: dict[tuple[str, str], FailedRule] = {}

    def step_to(self, view: View) -> Evaluation:
        evaluation = super().step_to(view)
        if view.at >= self._since:
            for failure in evaluation.failures:
                add_failure(self._failed, FailedRule(failure.group, failure.name, 1, failure.message))
        return evaluation

    def result(self) -> RuleSetResult:
        return RuleSetResult(self.episodes.all(), tuple(self._failed[key] for key in sorted(self._failed)))


def add_failure(failed: dict[tuple[str, str], FailedRule], failure: FailedRule) -> None:
    """Adds a later failure to those by group and name: polls are added up, the last error is kept."""
    key = failure.group, failure.name
    polls = failed[key].polls + failure.polls if key in failed else failure.polls
    failed[key] = FailedRule(*key, polls, failure.message)
