"""Input series played through rules, evaluation by evaluation, as promtool plays a test."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from exporter.alerts.alert import Alert, Fingerprint, RuleFailure
from exporter.alerts.lifecycle import evaluate
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Failure, Poll
from exporter.rules.promql.expression import compile_expression
from exporter.rules.promql.functions import EPOCH
from exporter.rules.promql.nodes import Scalar, run
from exporter.rules.promql.parser import parse
from exporter.rules.promql.pinned import pinned_participants
from exporter.rules.promql.series import PARTICIPANT, Labels, Vector
from exporter.rules.promql.sources import LOOKBACK_MS, Moment, SeriesSamples, SeriesView, Unexpanded
from exporter.rules.promtool.files import InputSeries
from exporter.rules.rule import CompiledRule, unexpanded_labels


class _SeriesByName(dict[str, list[InputSeries]]):
    """The input series of one participant, by name."""

    def __init__(self, series: Iterable[InputSeries] = ()) -> None:
        super().__init__()
        for one in series:
            self.setdefault(one.name, []).append(one)


class SeriesSource:
    """Input series as they are seen at ``now_ms``, with their samples up to ``until_ms``."""

    __slots__ = ("_by_name", "_read", "_until_ms", "now_ms", "participant", "subquery_step_ms")

    def __init__(
        self, participant: Ispb, by_name: _SeriesByName, *, now_ms: int, until_ms: int, interval_ms: int
    ) -> None:
        self.participant = participant
        self.now_ms = now_ms
        self.subquery_step_ms = interval_ms
        self._until_ms = until_ms
        self._by_name = by_name
        self._read: dict[str, Vector] = {}

    def series(self, name: str) -> Vector:
        vector = self._read.get(name)
        if vector is None:
            vector = self._read[name] = self.at(name, self.now_ms)
        return vector

    def at(self, name: str, at_ms: int) -> Vector:
        series = self._by_name.get(name, ())
        return [(name, one.labels, value) for one in series if (value := one.at(at_ms, self._until_ms)) is not None]

    def sampled(self, name: str, at_ms: int) -> Vector:
        samples = ((one.labels, one.sample(at_ms, self._until_ms)) for one in self._by_name.get(name, ()))
        return [(name, labels, sample[0] / 1000) for labels, sample in samples if sample is not None]

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
    """The evaluations of a test. They end early, with the one at which a rule failed."""

    series: Mapping[Ispb, _SeriesByName]
    interval_ms: int
    steps: Sequence[Step] = field(repr=False)
    unexpanded: Unexpanded = field(default_factory=dict)

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
        node = compile_expression(expr)
        pinned = [Ispb(participant) for participant in sorted(pinned_participants(parse(expr)))]
        if isinstance(node, Scalar):
            return [("", Labels(()), run(node.run, self._moment((*pinned, Ispb(""))[0], at_ms)))]
        participants = dict.fromkeys([*self.series, *pinned]) if node.carries_participant else [Ispb("")]
        return [sample for participant in participants for sample in run(node.run, self._moment(participant, at_ms))]

    def _step(self, at_ms: int) -> Step | None:
        count = bisect_right(self.steps, at_ms, key=lambda step: step.at_ms)
        return self.steps[count - 1] if count else None

    def _moment(self, participant: Ispb, at_ms: int) -> Moment:
        step = self._step(at_ms)
        alerts: list[Alert] = []
        if step is not None and at_ms - step.at_ms < LOOKBACK_MS:
            alerts = list(step.alerts.get(participant, {}).values())
        series = self.series.get(participant, _SeriesByName())
        source = SeriesSource(
            participant, series, now_ms=at_ms, until_ms=self.steps[-1].at_ms, interval_ms=self.interval_ms
        )
        return Moment(source, alerts, self.unexpanded)


def play(rules: Sequence[CompiledRule], series: Sequence[InputSeries], *, until_ms: int, interval_ms: int) -> Playback:
    """Evaluates the rules at 0, at each interval, and last at ``until_ms`` or before it.

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
    open_alerts: dict[Ispb, Mapping[Fingerprint, Alert]] = {}
    for at_ms in range(0, until_ms + 1, interval_ms):
        failures: list[RuleFailure] = []
        after: dict[Ispb, Mapping[Fingerprint, Alert]] = {}
        for participant, named in by_name.items():
            source = SeriesSource(participant, named, now_ms=at_ms, until_ms=at_ms, interval_ms=interval_ms)
            view = _view(source)
            evaluation = evaluate(rules, view, open_alerts.get(participant, {}))
            after[participant] = evaluation.alerts
            failures += evaluation.failures
        open_alerts = after
        steps.append(Step(at_ms, after, tuple(dict.fromkeys(failures))))
        if failures:
            break
    return Playback(by_name, interval_ms, steps, unexpanded_labels(rules))


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
