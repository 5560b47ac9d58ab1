"""Input series played through rules, evaluation by evaluation, as promtool plays a test."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from exporter.alerts.alert import Alert, Fingerprint, RuleFailure
from exporter.alerts.lifecycle import evaluate
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Failure, Poll
from exporter.rules.promql.expression import compile_expression
from exporter.rules.promql.functions import EPOCH
from exporter.rules.promql.nodes import Scalar, run
from exporter.rules.promql.series import PARTICIPANT, Labels, Vector
from exporter.rules.promql.sources import Moment, SeriesView, Unexpanded, ViewSource
from exporter.rules.promtool.files import LOOKBACK_MS, InputSeries
from exporter.rules.rule import CompiledRule, unexpanded_labels


@dataclass(frozen=True, slots=True)
class Step:
    """One evaluation of all rules for all participants: the alerts open after it, the rules that failed."""

    at_ms: int
    alerts: Mapping[Ispb, Mapping[Fingerprint, Alert]]
    failures: tuple[RuleFailure, ...]


@dataclass(frozen=True, slots=True)
class Playback:
    """The evaluations of a test. They end early, with the one at which a rule failed."""

    series: Mapping[Ispb, Sequence[InputSeries]]
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
        no_participant = Ispb("")
        if isinstance(node, Scalar):
            return [("", Labels(()), run(node.run, self._moment(no_participant, at_ms)))]
        participants = self.series if node.carries_participant else [no_participant]
        return [sample for participant in participants for sample in run(node.run, self._moment(participant, at_ms))]

    def _step(self, at_ms: int) -> Step | None:
        count = bisect_right(self.steps, at_ms, key=lambda step: step.at_ms)
        return self.steps[count - 1] if count else None

    def _moment(self, participant: Ispb, at_ms: int) -> Moment:
        step = self._step(at_ms)
        alerts: list[Alert] = []
        if step is not None and at_ms - step.at_ms < LOOKBACK_MS:
            alerts = list(step.alerts.get(participant, {}).values())
        source = ViewSource(_view(self.series.get(participant, ()), participant, at_ms))
        return Moment(source, alerts, at_ms / 1000, self.unexpanded)


def play(rules: Sequence[CompiledRule], series: Sequence[InputSeries], *, until_ms: int, interval_ms: int) -> Playback:
    """Evaluates the rules at 0, at each interval, and last at ``until_ms`` or before it.

    Series without ``participant`` are left out: the exporter serves none, and no rule sees them.
    """
    by_participant: dict[Ispb, list[InputSeries]] = defaultdict(list)
    for one in series:
        if participant := one.labels.get(PARTICIPANT):
            by_participant[Ispb(participant)].append(one)
    steps: list[Step] = []
    open_alerts: dict[Ispb, Mapping[Fingerprint, Alert]] = {}
    for at_ms in range(0, until_ms + 1, interval_ms):
        failures: list[RuleFailure] = []
        after: dict[Ispb, Mapping[Fingerprint, Alert]] = {}
        for participant, input_series in by_participant.items():
            view = _view(input_series, participant, at_ms)
            evaluation = evaluate(rules, view, open_alerts.get(participant, {}))
            after[participant] = evaluation.alerts
            failures += evaluation.failures
        open_alerts = after
        steps.append(Step(at_ms, after, tuple(dict.fromkeys(failures))))
        if failures:
            break
    return Playback(by_participant, steps, unexpanded_labels(rules))


def _view(series: Sequence[InputSeries], participant: Ispb, at_ms: int) -> SeriesView:
    vectors: dict[str, Vector] = defaultdict(list)
    for one in series:
        value = one.at(at_ms)
        if value is not None:
            vectors[one.name].append((one.name, one.labels, value))
    poll = Poll(
        stream_id="",
        sequence=0,
        participant=participant,
        polled_at=EPOCH + timedelta(milliseconds=at_ms),  # test time starts there, as promtool's does
        interval_seconds=0.0,
        staleness_seconds=0.0,
        result=Failure("TEST", "the series are those of a test"),
    )
    return SeriesView(poll, series=vectors)
