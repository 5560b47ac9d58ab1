"""What rules look at: the gauges of a participant after a poll, and its group's open alerts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, TypeAlias

from exporter.alerts.alert import Alert, AlertState, Severity
from exporter.buckets.gauges import BUCKET_GAUGES, PARTICIPANT_GAUGES
from exporter.buckets.observation import BucketObservation, View
from exporter.rules.promql.series import Labels, Vector

ALERTS: Final = "ALERTS"
ALERTS_FOR_STATE: Final = "ALERTS_FOR_STATE"
ALERT_SERIES: Final = frozenset({ALERTS, ALERTS_FOR_STATE})
"""Series of open alerts: their state, and when they became active (Unix seconds)."""

BUCKET_GAUGE_BY_NAME: Final = {gauge.name: gauge for gauge in BUCKET_GAUGES}
PARTICIPANT_GAUGE_BY_NAME: Final = {gauge.name: gauge for gauge in PARTICIPANT_GAUGES}
GAUGE_NAMES: Final = frozenset(BUCKET_GAUGE_BY_NAME) | frozenset(PARTICIPANT_GAUGE_BY_NAME)


Unexpanded: TypeAlias = "Mapping[tuple[str, str, Severity], Mapping[str, str]]"
"""Labels that are templates, as written, by group, alert name and severity."""


@dataclass(frozen=True, slots=True)
class SeriesView(View):
    """A view of given series instead of gauges, for rule unit tests."""

    series: Mapping[str, Vector] = field(default_factory=dict)


class ViewSource:
    """The series of a view by metric name: the gauges of a participant as `/metrics` serves them, or those given.

    Each is read once, when a rule first selects it.
    """

    __slots__ = ("_about_participant", "_buckets", "_read", "view")
    _latest: ClassVar[ViewSource | None] = None

    def __init__(self, view: View) -> None:
        self.view = view
        self._read: dict[str, Vector] = {}
        self._about_participant = Labels((("participant", view.participant),))
        self._buckets: list[tuple[Labels, BucketObservation]] | None = None

    @classmethod
    def of(cls, view: View) -> ViewSource:
        """Returns a view's source, made once: a poll's rules are evaluated one after the other over the same view."""
        latest = cls._latest
        if latest is None or latest.view is not view:
            latest = cls._latest = cls(view)
        return latest

    def series(self, name: str) -> Vector:
        vector = self._read.get(name)
        if vector is None:
            vector = self._read[name] = self._of(name)
        return vector

    def _about_buckets(self) -> list[tuple[Labels, BucketObservation]]:
        if self._buckets is None:
            label = self._about_participant.with_policy
            self._buckets = [(label(policy), visible.observation) for policy, visible in self.view.buckets.items()]
        return self._buckets

    def _of(self, name: str) -> Vector:
        if isinstance(self.view, SeriesView):
            return self.view.series.get(name, [])
        per_bucket = BUCKET_GAUGE_BY_NAME.get(name)
        if per_bucket is not None:
            read = per_bucket.value
            return [
                (name, labels, float(value))
                for labels, observation in self._about_buckets()
                if (value := read(observation)) is not None
            ]
        gauge = PARTICIPANT_GAUGE_BY_NAME[name]
        value = gauge.value(self.view)
        if value is None:
            return []
        labels = self._about_participant
        if gauge.label_names:
            labels = labels.replaced(list(zip(gauge.label_names, gauge.labels(self.view), strict=True)))
        return [(name, labels, float(value))]


class Moment:
    """One evaluation of one rule: the series, the group's open alerts, the instant.

    ``unexpanded`` are the templates of the group's labels. ``seconds`` since 1970,
    in whole milliseconds, as Prometheus counts.
    """

    __slots__ = ("_unexpanded", "alerts", "seconds", "series")

    def __init__(
        self, source: ViewSource, alerts: Sequence[Alert], seconds: float, unexpanded: Unexpanded | None = None
    ) -> None:
        self.series = source.series
        self.alerts = alerts
        self.seconds = math.floor(seconds * 1000.0 + 0.5) / 1000.0
        self._unexpanded = unexpanded or {}

    def alert_series(self, alert: Alert, *, with_state: bool = True) -> Labels:
        """Returns the labels of the ``ALERTS`` series of an open alert, or of the one without its state.

        A label whose template came out empty is missing from the alert, and is in
        its series as the template itself: so Prometheus has it.
        """
        templates = self._unexpanded.get((alert.group, alert.name, alert.severity), {})
        labels = {**templates, **alert.labels}
        if with_state:
            state = AlertState.FIRING if alert.state is AlertState.FIRING else AlertState.PENDING
            labels["alertstate"] = state.value
        return Labels.of(labels)
