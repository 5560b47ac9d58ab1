"""What rules look at: the gauges of a participant after a poll and before it, and its open alerts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final, NamedTuple, Protocol

from exporter.alerts.alert import Alert
from exporter.alerts.history import History
from exporter.alerts.written_series import Pairs, WrittenSeries
from exporter.buckets.gauge_history import Samples, milliseconds
from exporter.buckets.gauges import (
    BUCKET_METRIC_BY_NAME,
    METRIC_NAMES,
    PARTICIPANT_GAUGE_BY_NAME,
    BucketCounter,
    BucketGauge,
    Subject,
    shown,
)
from exporter.buckets.observation import BucketObservation, View
from exporter.rules.promql.alert_series import Unexpanded, alert_labels
from exporter.rules.promql.series import PARTICIPANT, POLICY, Labels, Vector

ALERTS: Final = "ALERTS"
ALERTS_FOR_STATE: Final = "ALERTS_FOR_STATE"
ALERT_SERIES: Final = frozenset({ALERTS, ALERTS_FOR_STATE})
"""Series of open alerts: their state, and when they became active (Unix seconds)."""

LOOKBACK_MS: Final = 300_000
"""How old a sample can be that is still seen; one of exactly this age is not."""

SUBQUERY_STEP_MS: Final = 60_000
"""The step of a subquery that gives none: Prometheus' default for ``global.evaluation_interval``."""


class SeriesSamples(NamedTuple):
    """A series, and its samples in a range."""

    name: str
    labels: Labels
    samples: Samples


class Source(Protocol):
    """The series of a participant, by metric name. Times are milliseconds since 1970.

    ``subquery_step_ms`` is the step of a subquery that gives none.
    """

    @property
    def now_ms(self) -> int:
        """The instant at which rules are evaluated."""
        ...

    @property
    def subquery_step_ms(self) -> int: ...

    @property
    def edge_ms(self) -> int:
        """How much further back than in Prometheus 3 a sample is seen.

        In Prometheus 2, whose ranges hold their beginning, too, it is 1: times are whole milliseconds.
        """
        ...

    @property
    def participant(self) -> str: ...

    @property
    def written(self) -> WrittenSeries | None:
        """What rules wrote: ``ALERTS``, and what they record; None: nothing is kept of it."""
        ...

    def series(self, name: str) -> Vector:
        """Returns what an instant query sees now."""
        ...

    def at(self, name: str, at_ms: int) -> Vector:
        """Returns what an instant query sees at another time."""
        ...

    def sampled(self, name: str, at_ms: int) -> Vector:
        """Returns when the samples were made that an instant query sees at a time, in seconds since 1970."""
        ...

    def between(self, name: str, begin_ms: int, end_ms: int) -> list[SeriesSamples]:
        """Returns the samples after ``begin_ms`` and up to ``end_ms``, of each series that has any."""
        ...


@dataclass(frozen=True, slots=True)
class SeriesView(View):
    """A view of given series instead of gauges, for rule unit tests."""

    source: Source | None = None


class GaugeSource:
    """The gauges of a participant as `/metrics` serves them after a poll, and as it served them before.

    Each is read once, when a rule first selects it.
    """

    __slots__ = ("_about_participant", "_buckets", "_history", "_read", "now_ms", "participant", "view", "written")
    subquery_step_ms: Final = SUBQUERY_STEP_MS
    edge_ms: Final = 0

    def __init__(self, view: View, history: History | None = None) -> None:
        self.view = view
        self.participant = view.participant
        self.now_ms = milliseconds(view.at)
        self._history = history.gauges if history is not None else None
        self.written = history.written if history is not None else None
        self._read: dict[str, Vector] = {}
        self._about_participant = Labels(((PARTICIPANT, view.participant),))
        self._buckets: list[tuple[Labels, BucketObservation]] | None = None

    def series(self, name: str) -> Vector:
        vector = self._read.get(name)
        if vector is None:
            vector = self._read[name] = self._of(name)
        return vector

    def at(self, name: str, at_ms: int) -> Vector:
        if self._history is None:
            return []
        labels = self._labels(name)
        return [(name, labels(subject), value) for subject, value in self._history.at(name, at_ms, LOOKBACK_MS)]

    def sampled(self, name: str, at_ms: int) -> Vector:
        if at_ms == self.now_ms:
            return [(name, labels, self.now_ms / 1000) for _, labels, _ in self.series(name)]
        sampled_ms = self._history.sampled_ms(name, at_ms, LOOKBACK_MS) if self._history is not None else None
        seconds = (sampled_ms or 0) / 1000
        return [(name, labels, seconds) for _, labels, _ in self.at(name, at_ms)]

    def between(self, name: str, begin_ms: int, end_ms: int) -> list[SeriesSamples]:
        if self._history is None:
            return []
        labels = self._labels(name)
        return [
            SeriesSamples(name, labels(subject), samples)
            for subject, samples in self._history.between(name, begin_ms, end_ms)
        ]

    def _labels(self, name: str) -> Callable[[Subject], Labels]:
        """Returns what makes the labels of a metric's series."""
        about_participant = self._about_participant
        metric = BUCKET_METRIC_BY_NAME.get(name)
        if isinstance(metric, BucketCounter):
            label = metric.label
            return lambda subject: about_participant.replaced([(POLICY, subject[0]), (label, subject[1])])
        if metric is not None:
            known: dict[Subject, Labels] = {(labels.get(POLICY),): labels for labels, _ in self._about_buckets()}
            return lambda subject: known.get(subject) or about_participant.with_policy(subject[0])
        label_names = PARTICIPANT_GAUGE_BY_NAME[name].label_names
        if not label_names:
            return lambda _: about_participant
        return lambda subject: about_participant.replaced(list(zip(label_names, subject, strict=True)))

    def _about_buckets(self) -> list[tuple[Labels, BucketObservation]]:
        if self._buckets is None:
            label = self._about_participant.with_policy
            self._buckets = [(label(policy), visible.observation) for policy, visible in self.view.buckets.items()]
        return self._buckets

    def _of(self, name: str) -> Vector:
        metric = BUCKET_METRIC_BY_NAME.get(name)
        if isinstance(metric, BucketGauge):  # what most rules look at
            read = metric.value
            return [
                (name, labels, float(value))
                for labels, observation in self._about_buckets()
                if (value := read(observation)) is not None
            ]
        label = self._labels(name)
        return [(name, label(subject), value) for subject, value in shown(name, self.view)]


class _Latest:
    """The source of the view that was last looked at."""

    view: ClassVar[View | None] = None
    history: ClassVar[History | None] = None
    source: ClassVar[Source]


def source_of(view: View, history: History | None = None) -> Source:
    """Returns a view's source, made once: a poll's rules are evaluated one after the other over the same view."""
    if isinstance(view, SeriesView) and view.source is not None:
        return view.source
    if _Latest.view is not view or (history is not None and _Latest.history is not history):
        _Latest.view, _Latest.history, _Latest.source = view, history, GaugeSource(view, history)
    return _Latest.source


class Moment:
    """One evaluation of one rule: the series, the participant's open alerts, the instant.

    ``alerts`` None: those that were written by its instant; ``unexpanded`` are the templates of rules' labels. Within
    a subquery and behind ``offset`` the instant ``at_ms`` is another than ``evaluated_at_ms``, that of the evaluation.
    """

    __slots__ = ("_alerts", "_source", "_unexpanded", "at_ms", "evaluated_at_ms", "seconds", "series")

    def __init__(
        self,
        source: Source,
        alerts: Collection[Alert] | None,
        unexpanded: Unexpanded | None = None,
        *,
        evaluated_at_ms: int | None = None,
        at_ms: int | None = None,
    ) -> None:
        """``evaluated_at_ms`` None: what the source shows now is evaluated; ``at_ms`` None: that instant."""
        self._source = source
        self._unexpanded = unexpanded or {}
        self._alerts = alerts
        self.evaluated_at_ms = source.now_ms if evaluated_at_ms is None else evaluated_at_ms
        self.at_ms = self.evaluated_at_ms if at_ms is None else at_ms
        self.seconds = self.at_ms / 1000.0
        self.series: Callable[[str], Vector] = (
            source.series if self.at_ms == source.now_ms else partial(source.at, at_ms=self.at_ms)
        )

    @property
    def subquery_step_ms(self) -> int:
        return self._source.subquery_step_ms

    @property
    def edge_ms(self) -> int:
        return self._source.edge_ms

    @property
    def participant(self) -> str:
        return self._source.participant

    @property
    def alerts(self) -> Collection[Alert] | None:
        """The open alerts, where these are what ``ALERTS`` shows at this instant; None: the series tell."""
        return self._alerts if self.at_ms == self.evaluated_at_ms else None

    def written(self, name: str) -> Vector:
        """Returns what rules have written of a metric, as an instant query sees it."""
        return [(name, Labels(pairs), value) for pairs, _, value in self._written_at(name, self.at_ms)]

    def sampled(self, name: str, at_ms: int) -> Vector:
        """Returns when the samples were made that an instant query sees at a time, in seconds since 1970."""
        if name not in METRIC_NAMES:
            written = self._written_at(name, at_ms)
            return [(name, Labels(pairs), sampled_ms / 1000) for pairs, sampled_ms, _ in written]
        return self._source.sampled(name, at_ms)

    def _written_at(self, name: str, at_ms: int) -> Iterable[tuple[Pairs, int, float]]:
        written = self._source.written
        return () if written is None else written.at(name, at_ms, LOOKBACK_MS + self._source.edge_ms)

    def at(self, at_ms: int) -> Moment:
        """Returns another instant of the same evaluation."""
        if at_ms == self.at_ms:
            return self
        return Moment(self._source, self._alerts, self._unexpanded, evaluated_at_ms=self.evaluated_at_ms, at_ms=at_ms)

    def between(self, name: str, begin_ms: int, end_ms: int) -> list[SeriesSamples]:
        """Returns the samples of a range that ends with ``end_ms``, of each series that has any."""
        begin_ms -= self._source.edge_ms
        if name in METRIC_NAMES:
            return self._source.between(name, begin_ms, end_ms)
        written = self._source.written
        series = () if written is None else written.between(name, begin_ms, end_ms)
        return [SeriesSamples(name, Labels(pairs), samples) for pairs, samples in series]

    def alert_series(self, alert: Alert, *, with_state: bool = True) -> Labels:
        """Returns the labels of the ``ALERTS`` series of an open alert, or of the one without its state."""
        return alert_labels(alert, self._unexpanded, with_state=with_state)
