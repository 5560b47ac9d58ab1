"""Input series played through rules, evaluation by evaluation, as promtool plays a test."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal, TypeAlias

from exporter.alerts.alert import Alert, Fingerprint, RuleFailure
from exporter.alerts.history import History
from exporter.alerts.lifecycle import evaluate
from exporter.alerts.written_series import WrittenSeries
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Failure, Poll
from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.expression import compile_expression
from exporter.rules.promql.functions import EPOCH
from exporter.rules.promql.lookback import ALL_MS
from exporter.rules.promql.nodes import Scalar, run
from exporter.rules.promql.parser import parse
from exporter.rules.promql.pinned import pinned_participants
from exporter.rules.promql.selectors import RecordedMetric, RecordedMetrics
from exporter.rules.promql.series import PARTICIPANT, Labels, Vector
from exporter.rules.promql.sources import (
    ALERT_SERIES,
    LOOKBACK_MS,
    Moment,
    SeriesSamples,
    SeriesView,
)
from exporter.rules.promtool.input_series import InputSeries
from exporter.rules.rule import AnyCompiledRule

Reference: TypeAlias = Literal[2, 3]


class _SeriesByName(dict[str, list[InputSeries]]):
    """The input series of one participant, by name."""

    def __init__(self, series: Iterable[InputSeries] = ()) -> None:
        super().__init__()
        for one in series:
            self.setdefault(one.name, []).append(one)


class SeriesSource:
    """Input series as they are seen at ``now_ms``, with their samples up to ``until_ms``; and what rules wrote."""

    __slots__ = ("_by_name", "_read", "_until_ms", "edge_ms", "now_ms", "participant", "subquery_step_ms", "written")

    def __init__(
        self,
        participant: Ispb,
        by_name: _SeriesByName,
        written: WrittenSeries,
        *,
        now_ms: int,
        until_ms: int,
        interval_ms: int,
        edge_ms: int,
    ) -> None:
        self.participant = participant
        self.now_ms = now_ms
        self.subquery_step_ms = interval_ms
        self.edge_ms = edge_ms
        self._until_ms = until_ms
        self._by_name = by_name
        self.written: WrittenSeries | None = written
        self._read: dict[str, Vector] = {}

    def series(self, name: str) -> Vector:
        vector = self._read.get(name)
        if vector is None:
            vector = self._read[name] = self.at(name, self.now_ms)
        return vector

    def at(self, name: str, at_ms: int) -> Vector:
        return [(name, labels, value) for labels, (_, value) in self._samples(name, at_ms)]

    def sampled(self, name: str, at_ms: int) -> Vector:
        return [(name, labels, time_ms / 1000) for labels, (time_ms, _) in self._samples(name, at_ms)]

    def _samples(self, name: str, at_ms: int) -> Iterator[tuple[Labels, tuple[int, float]]]:
        for one in self._by_name.get(name, ()):
            sample = one.sample(at_ms, self._until_ms, LOOKBACK_MS + self.edge_ms)
            if sample is not None:
                yield one.labels, sample

    def between(self, name: str, begin_ms: int, end_ms: int) -> list[SeriesSamples]:
        end_ms = min(end_ms, self._until_ms)
        ranges = ((one.labels, one.between(begin_ms, end_ms)) for one in self._by_name.get(name, ()))
        return [SeriesSamples(name, labels, samples) for labels, samples in ranges if samples.times_ms]


@dataclass(frozen=True, slots=True)
class Step:
    """One evaluation of all rules for all participants: the alerts open after it, the rules that failed."""

    at_ms: int
    alerts: Mapping[Ispb, Mapping[Fingerprint, Alert]]
    failures: tuple[RuleFailure, ...]


@dataclass(frozen=True, slots=True)
class Playback:
    """The evaluations of a test, and what rules wrote. They end early, with the one at which a rule failed."""

    series: Mapping[Ispb, _SeriesByName]
    written: Mapping[Ispb, WrittenSeries] = field(repr=False)
    interval_ms: int
    edge_ms: int
    steps: Sequence[Step] = field(repr=False)
    recorded: RecordedMetrics

    @property
    def failed(self) -> Step | None:
        return next((step for step in self.steps if step.failures), None)

    def alerts(self, at_ms: int) -> list[Alert]:
        """Returns the open alerts of the last evaluation that is not after the time."""
        step = self._step(at_ms)
        return [a for alerts in step.alerts.values() for a in alerts.values()] if step is not None else []

    def query(self, expr: str, at_ms: int) -> Vector:
        """Returns an expression's series at a time; a number is one series without labels.

        Raises ExpressionRefused, RuleEvaluationFailed.
        """
        node = compile_expression(expr, self.recorded)
        pinned = [Ispb(participant) for participant in sorted(pinned_participants(parse(expr)))]
        if isinstance(node, Scalar):
            return [("", Labels(()), run(node.run, self._moment((*pinned, Ispb(""))[0], at_ms)))]
        known = dict.fromkeys([*self.series, *pinned]) if node.carries_participant else {}
        moments = [self._moment(participant, at_ms) for participant in known or [Ispb("")]]
        return [sample for moment in moments for sample in run(node.run, moment)]

    def _step(self, at_ms: int) -> Step | None:
        count = bisect_right(self.steps, at_ms, key=lambda step: step.at_ms)
        return self.steps[count - 1] if count else None

    def _moment(self, participant: Ispb, at_ms: int) -> Moment:
        source = SeriesSource(
            participant,
            self.series.get(participant, _SeriesByName()),
            self.written.get(participant, WrittenSeries({})),
            now_ms=at_ms,
            until_ms=self.steps[-1].at_ms,
            interval_ms=self.interval_ms,
            edge_ms=self.edge_ms,
        )
        return Moment(source, None)


def play(
    rules: Sequence[AnyCompiledRule],
    series: Sequence[InputSeries],
    *,
    until_ms: int,
    interval_ms: int,
    start_ms: int = 0,
    reference: Reference = 3,
) -> Playback:
    """Evaluates the rules at the start, at each interval, and last at ``until_ms`` or before it.

    ``reference`` is the release of Prometheus whose ranges are meant: those of 2 hold their beginning, too.

    Series without ``participant`` are left out: the exporter serves none, and no rule sees them.
    """
    by_participant: dict[Ispb, list[InputSeries]] = defaultdict(list)
    for one in series:
        if participant := one.labels.get(PARTICIPANT):
            by_participant[Ispb(participant)].append(one)
    for rule in rules:  # that a participant has no series can be what a rule is about
        for pinned in sorted(pinned_participants(rule.expression.tree)):
            by_participant[Ispb(pinned)] += []
    by_name = {participant: _SeriesByName(input_series) for participant, input_series in by_participant.items()}
    steps: list[Step] = []
    # Between two evaluations that lie further apart, Prometheus forgets alerts.
    edge_ms = 1 if reference == 2 else 0
    by_time = interval_ms >= LOOKBACK_MS + edge_ms
    without_limits = [replace(rule, limit=0, sees_alerts_by_time=rule.sees_alerts_by_time or by_time) for rule in rules]
    limits = [(rule.limit, "alerts" if rule.kind == "alerting" else "series") for rule in rules]
    recorded = {rule.name: RecordedMetric() for rule in rules if rule.kind == "recording"}
    participants = _Participants(by_name, interval_ms, edge_ms, without_limits, limits, recorded)
    step: Step | None = None
    for at_ms in range(start_ms, until_ms + 1, interval_ms):
        step = participants.evaluate(step.alerts if step is not None else {}, at_ms)
        steps.append(step)
        if step.failures:
            break
    written = {participant: history.written for participant, history in participants.histories.items()}
    return Playback(by_name, written, interval_ms, edge_ms, steps, participants.recorded)


def _failing(rule: AnyCompiledRule, message: str) -> AnyCompiledRule:
    """Returns the rule as it is at an evaluation at which it fails: later ones see its alerts as they were."""

    def fail(_: Moment) -> Vector:
        raise RuleEvaluationFailed(message)

    return replace(rule, expression=rule.expression.running(fail))


@dataclass(frozen=True, slots=True)
class _Participants:
    """The input series by participant, and what rules wrote.

    ``limits`` are those of the rules, which have none, and of what; ``recorded`` are the names that rules record.
    """

    by_name: Mapping[Ispb, _SeriesByName]
    interval_ms: int
    edge_ms: int
    rules: Sequence[AnyCompiledRule]
    limits: Sequence[tuple[int, str]]
    recorded: RecordedMetrics
    histories: dict[Ispb, History] = field(default_factory=dict)

    def evaluate(self, open_alerts: Mapping[Ispb, Mapping[Fingerprint, Alert]], at_ms: int) -> Step:
        """Returns an evaluation of all rules. The alerts of all participants count towards limits, as in Prometheus."""
        tried, has_limits = list(self.rules), any(limit for limit, _ in self.limits)
        before = {participant: history.copy() for participant, history in self.histories.items() if has_limits}
        while True:
            step, counts = self._evaluate(tried, open_alerts, at_ms)
            beyond = _first_beyond(self.limits, counts) if has_limits else None
            if beyond is None:
                return step
            index, message = beyond
            tried[index] = _failing(tried[index], message)
            self.histories.clear()
            self.histories.update({participant: history.copy() for participant, history in before.items()})

    def _evaluate(
        self, rules: Sequence[AnyCompiledRule], open_alerts: Mapping[Ispb, Mapping[Fingerprint, Alert]], at_ms: int
    ) -> tuple[Step, list[tuple[int, ...]]]:
        """Returns the evaluation, and the counts of each rule's alerts for each participant."""
        failures: list[RuleFailure] = []
        after: dict[Ispb, Mapping[Fingerprint, Alert]] = {}
        counts: list[tuple[int, ...]] = []
        for participant, named in self.by_name.items():
            history = self.histories.get(participant)
            if history is None:
                history = self.histories[participant] = History(dict.fromkeys([*ALERT_SERIES, *self.recorded], ALL_MS))
            self._add_input(named, history.written, at_ms)
            source = SeriesSource(
                participant,
                named,
                history.written,
                now_ms=at_ms,
                until_ms=at_ms,
                interval_ms=self.interval_ms,
                edge_ms=self.edge_ms,
            )
            evaluation = evaluate(rules, _view(source), open_alerts.get(participant, {}), history=history)
            after[participant] = evaluation.alerts
            counts.append(evaluation.counts)
            failures += evaluation.failures
        return Step(at_ms, after, tuple(dict.fromkeys(failures))), counts

    def _add_input(self, named: _SeriesByName, written: WrittenSeries, at_ms: int) -> None:
        """Adds input series of names that rules record to what these write."""
        for name in self.recorded.keys() & named.keys():
            for one in named[name]:
                written.add_input(name, one.labels.pairs, one.with_ends(at_ms - self.interval_ms, at_ms))


def _first_beyond(limits: Sequence[tuple[int, str]], counts: Sequence[Sequence[int]]) -> tuple[int, str] | None:
    """Returns the index of the first rule with more alerts or series than its limit, and how that is said.

    ``counts`` are those for each participant.
    """
    for index, ((limit, noun), of_rule) in enumerate(zip(limits, zip(*counts, strict=True), strict=False)):
        if sum(of_rule) > limit > 0:
            return index, f"exceeded limit of {limit} with {sum(of_rule)} {noun}"
    return None


def _view(source: SeriesSource) -> SeriesView:
    poll = Poll(
        stream_id="",
        sequence=0,
        participant=source.participant,
        polled_at=EPOCH + timedelta(milliseconds=source.now_ms),  # test time starts there, as promtool's does
        interval_seconds=0.0,
        staleness_seconds=0.0,
        result=Failure("TEST", "the series are those of a test"),
    )
    return SeriesView(poll, source=source)
