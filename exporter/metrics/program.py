"""What the program says about itself, in prometheus_client's own objects."""

from __future__ import annotations

import logging
import platform
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from exporter import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics import MetricWrapperBase
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

T = TypeVar("T", bound="Collector")

OPERATIONS: Final = ("poll", "evaluate", "persist", "relay")
DURATION_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# A series `..._created` beside each counter would double their number, and nothing reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]


class LateGauge(Gauge):
    """A gauge without labels that is absent until it is set: a role that doesn't know it makes no 0 up."""

    _known = False

    def set(self, value: float) -> None:
        self._known = True
        super().set(value)

    def withdraw(self) -> None:
        """Makes the gauge absent: what it said is no longer known."""
        self._known = False

    def collect(self) -> Iterable[Metric]:
        return super().collect() if self._known else []


class Guarded:
    """A collector whose failure is counted and costs nobody else's metrics."""

    def __init__(self, collector: Collector, name: str, failures: Counter) -> None:
        self._collector = collector
        self._name = name
        self._failures = failures

    def describe(self) -> Iterable[Metric]:
        describe = getattr(self._collector, "describe", None)
        return list(describe()) if describe is not None else []

    def collect(self) -> Iterable[Metric]:
        try:
            return list(self._collector.collect())
        except Exception:
            self._failures.labels(self._name).inc()
            log.exception("metrics of one collector are missing from the scrape", extra={"collector": self._name})
            return []


class ProgramMetrics:
    """The program's own metrics, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.collectors: list[Guarded] = []

        self.collector_errors = Counter(
            "dict_rate_limit_collector_errors",
            "Collectors that failed at a scrape, or families that could not be rendered.",
            ["collector"],
            registry=None,
        )
        self.monitoring_duration = self._histogram(
            "dict_rate_limit_monitoring_duration_seconds",
            "How long the program's own work took, by operation.",
            ["operation"],
        )
        for operation in OPERATIONS:
            self.monitoring_duration.labels(operation)
        self.poll_errors = self._counter(
            "dict_rate_limit_poll_errors",
            "Polls that failed, by gRPC status, or BAD_ANSWER.",
            ["participant", "code"],
        )
        self.answer_defects = self._counter(
            "dict_rate_limit_answer_defects",
            "Defects in the Bridge's answers that were refused or repaired.",
            ["participant", "reason"],
        )
        self.snapshots_dropped = self._counter(
            "dict_rate_limit_snapshots_dropped",
            "Polls that will never be in the database.",
            ["reason"],
        )
        self.polls_late = self._counter(
            "dict_rate_limit_polls_late",
            "Polls that came behind an evaluated one: kept as history, not evaluated.",
            ["participant"],
        )
        self.polls_ahead = self._counter(
            "dict_rate_limit_polls_ahead",
            "Polls further ahead of the database's clock than poll.max_clock_skew: they took its time.",
            ["participant"],
        )
        self.by_participant: tuple[MetricWrapperBase, ...] = (
            self.poll_errors,
            self.answer_defects,
            self.polls_late,
            self.polls_ahead,
        )
        self.rule_evaluation_failures = self._counter(
            "dict_rate_limit_rule_evaluation_failures",
            "Rules that could not be evaluated at a poll.",
            ["rule_group"],
        )
        self.rule_never_had_series = self._gauge(
            "dict_rate_limit_rule_never_had_series",
            "1 for a rule whose gauges no participant has had since it was loaded.",
            ["rule_group", "alertname"],
        )
        self.config_last_reload_successful = self._late_gauge(
            "dict_rate_limit_config_last_reload_successful", "Whether the last load of the rule files succeeded."
        )
        self.config_last_reload_success_timestamp_seconds = self._late_gauge(
            "dict_rate_limit_config_last_reload_success_timestamp_seconds",
            "When the rule files were last loaded, in seconds since 1970.",
        )
        self.database_up = self._late_gauge("dict_rate_limit_database_up", "Whether the database did what was asked.")
        self.broker_up = self._late_gauge("dict_rate_limit_broker_up", "Whether the broker is connected.")
        self.alertmanager_up = self._gauge(
            "dict_rate_limit_alertmanager_up", "Whether the Alertmanager took what it was last sent.", ["target"]
        )
        self.notifications = self._counter(
            "dict_rate_limit_notifications",
            "Alerts that the Alertmanager took, each time that they were sent.",
            ["target"],
        )
        self.notification_errors = self._counter(
            "dict_rate_limit_notification_errors",
            "Alerts that the Alertmanager did not take, each time that they were sent.",
            ["target"],
        )
        self.notification_duration = self._histogram(
            "dict_rate_limit_notification_duration_seconds",
            "How long the Alertmanager took to answer, or not to.",
            ["target"],
        )
        self.lease_held = self._late_gauge("dict_rate_limit_lease_held", "Whether this process leads.")
        self.last_evaluation_timestamp_seconds = self._gauge(
            "dict_rate_limit_last_evaluation_timestamp_seconds",
            "When rules were last evaluated for a participant, and that committed, in seconds since 1970.",
            ["participant"],
        )
        self.by_participant += (self.last_evaluation_timestamp_seconds,)
        self.partitions_ready_months = self._late_gauge(
            "dict_rate_limit_partitions_ready_months", "Months after this one that partitions are ready for."
        )
        self.feed_refused = self._counter(
            "dict_rate_limit_feed_refused",
            "Polls of a participant that another exporter already polls.",
            ["target"],
        )
        self.feed_connected = self._gauge(
            "dict_rate_limit_feed_connected", "Whether the exporter's feed answers.", ["target"]
        )
        self.outbox_pending = self._late_gauge("dict_rate_limit_outbox_pending", "Events that wait for the broker.")
        self.outbox_oldest_age_seconds = self._late_gauge(
            "dict_rate_limit_outbox_oldest_age_seconds", "Age of the oldest event that waits; 0 when none does."
        )
        self.events_published = self._counter("dict_rate_limit_events_published", "Events that the broker received.")
        self.events_dead = self._counter("dict_rate_limit_events_dead", "Events that can never be sent.")
        self.receipt_defects = self._counter(
            "dict_rate_limit_receipt_defects",
            "Events that the broker took for repeats though they were not; they were sent again with a new id.",
        )
        self._info("dict_rate_limit_build", "The program's version, and that of Python.")
        # Last, so that a failure of an earlier collector is counted in the same scrape.
        self._add(ProcessCollector(registry=None), "process")
        self._add(PlatformCollector(registry=None), "platform")
        self._add(self.collector_errors, "collector_errors")

    def _counter(self, name: str, help_: str, labels: Iterable[str] = ()) -> Counter:
        return self._add(Counter(name, help_, labels, registry=None), name)

    def _gauge(self, name: str, help_: str, labels: Iterable[str]) -> Gauge:
        return self._add(Gauge(name, help_, labels, registry=None), name)

    def _late_gauge(self, name: str, help_: str) -> LateGauge:
        return self._add(LateGauge(name, help_, registry=None), name)

    def _histogram(self, name: str, help_: str, labels: Iterable[str]) -> Histogram:
        return self._add(Histogram(name, help_, labels, buckets=DURATION_BUCKETS, registry=None), name)

    def _info(self, name: str, help_: str) -> None:
        info = Info(name, help_, registry=None)
        info.info({"version": __version__, "python_version": platform.python_version()})
        self._add(info, name)

    def _add(self, collector: T, name: str) -> T:
        guarded = Guarded(collector, name, self.collector_errors)
        self.collectors.append(guarded)
        self.registry.register(guarded)
        return collector
