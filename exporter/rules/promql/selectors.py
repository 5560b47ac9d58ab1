"""Selectors: which series of a gauge, of ``ALERTS``, or of what rules record, an expression selects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from exporter.alerts.alert import Alert
from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, METRIC_NAMES
from exporter.rules.promql.alert_series import active_seconds
from exporter.rules.promql.nodes import NO_DATA, Data, Instant
from exporter.rules.promql.series import Labels, Vector
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS, ALERTS_FOR_STATE, Moment
from exporter.rules.promql.tree import Matcher
from exporter.rules.promql.unsupported import of_metric


@dataclass(frozen=True, slots=True)
class RecordedMetric:
    """What is known of the series of a name that rules record; the rest is as of an `Instant`."""

    carries_policy: bool = True
    data: Data = NO_DATA


RecordedMetrics: TypeAlias = "Mapping[str, RecordedMetric]"
"""By the name of ``record``."""


def select(
    name: str, matchers: Sequence[Matcher], selects: Callable[[Labels], bool], recorded: RecordedMetrics
) -> Instant:
    """Returns the selector of a metric's series; ``selects`` tells whether a series fulfils all of its matchers.

    Raises ValueError, a sentence, where it is none that rules may use.
    """
    if name in recorded:
        return Instant(
            lambda moment: [sample for sample in moment.written(name) if selects(sample[1])],
            frozenset([name]),
            carries_participant=True,
            carries_policy=recorded[name].carries_policy,
            data=recorded[name].data,
        )
    if name not in METRIC_NAMES and name not in ALERT_SERIES:
        raise ValueError(of_metric(name, recorded.keys()))
    if name in ALERT_SERIES:
        run = _alerts(matchers, selects) if name == ALERTS else _alerts_for_state(matchers, selects)
        return Instant(run, frozenset([name]), carries_participant=True, carries_policy=True)
    return Instant(
        _gauge(name, matchers, selects),
        frozenset([name]),
        carries_participant=True,
        carries_policy=name in BUCKET_METRIC_BY_NAME,
        data=Data(name),
    )


def _gauge(name: str, matchers: Sequence[Matcher], selects: Callable[[Labels], bool]) -> Callable[[Moment], Vector]:
    if not matchers:
        return lambda moment: moment.series(name)
    if len(matchers) == 1:
        label, matches = matchers[0].label, matchers[0].predicate()
        return lambda moment: [sample for sample in moment.series(name) if matches(sample[1].get(label))]
    return lambda moment: [sample for sample in moment.series(name) if selects(sample[1])]


def predicate(matchers: Iterable[Matcher]) -> Callable[[Labels], bool]:
    """Returns what tells whether a series fulfils all conditions."""
    conditions = [(matcher.label, matcher.predicate()) for matcher in matchers]
    return lambda labels: all(matches(labels.get(label)) for label, matches in conditions)


def _predicates(label: str, matchers: Iterable[Matcher]) -> list[Callable[[str], bool]]:
    return [matcher.predicate() for matcher in matchers if matcher.label == label]


def _alerts(matchers: Sequence[Matcher], selects: Callable[[Labels], bool]) -> Callable[[Moment], Vector]:
    conditions = [(m.label, m.predicate()) for m in matchers if m.label not in {"alertname", "alertstate"}]
    names, states = _predicates("alertname", matchers), _predicates("alertstate", matchers)

    def selected(alert: Alert) -> bool:
        return all(matches(alert.name) for matches in names) and all(matches(alert.state) for matches in states)

    def run(moment: Moment) -> Vector:
        alerts = moment.alerts
        if alerts is None:
            return [sample for sample in moment.written(ALERTS) if selects(sample[1])]
        if not alerts:
            return []
        series = [moment.alert_series(alert) for alert in alerts if selected(alert)]
        if len(series) > 1:
            # Alerts that differ in nothing but a label `alertstate` of their own are one series.
            series = list({labels.pairs: labels for labels in series}.values())
        return [
            (ALERTS, labels, 1.0)
            for labels in series
            if all(matches(labels.get(label)) for label, matches in conditions)
        ]

    return run


def _alerts_for_state(matchers: Sequence[Matcher], selects: Callable[[Labels], bool]) -> Callable[[Moment], Vector]:
    names = _predicates("alertname", matchers)
    selected = predicate(m for m in matchers if m.label != "alertname")

    def run(moment: Moment) -> Vector:
        if moment.alerts is None:
            return [sample for sample in moment.written(ALERTS_FOR_STATE) if selects(sample[1])]
        alerts = [alert for alert in moment.alerts if all(matches(alert.name) for matches in names)]
        series = [(moment.alert_series(alert, with_state=False), alert) for alert in alerts]
        return [(ALERTS_FOR_STATE, labels, active_seconds(alert)) for labels, alert in series if selected(labels)]

    return run
