"""The program's own metrics: one class per package; a package sees only its own.

A collector that fails costs no other, and what is unknown is absent.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, PlatformCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from exporter import __version__

log = logging.getLogger(__name__)

T = TypeVar("T", bound="MetricWrapperBase")

DURATION_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# A series `..._created` beside each counter would double their number, and nothing reads it.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class LateGauge(Gauge):
    """A gauge without labels that is absent until it is set: a role that does not know it must not claim 0."""

    _is_set = False

    def set(self, value: float) -> None:
        self._is_set = True
        super().set(value)

    def withdraw(self) -> None:
        """Makes the gauge absent: its value is no longer known."""
        self._is_set = False

    def collect(self) -> Iterable[Metric]:
        return super().collect() if self._is_set else []


@dataclass(frozen=True, slots=True, eq=False)
class Guarded:
    """A collector whose failure is counted and costs no other collector its metrics."""

    collector: Collector
    name: str
    failures: Counter

    def describe(self) -> Iterable[Metric]:
        describe = getattr(self.collector, "describe", None)
        return list(describe()) if describe is not None else []

    def collect(self) -> Iterable[Metric]:
        try:
            return list(self.collector.collect())
        except Exception:
            self.failures.labels(self.name).inc()
            log.exception("metrics of one collector are missing from the scrape", extra={"collector": self.name})
            return []


class Collectors:
    """Makes the program's metrics and registers them. ``declared`` are all of them, for the registry and for docs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.guarded: list[Guarded] = []
        self.declared: list[MetricWrapperBase] = []
        self.errors = Counter(
            "dict_rate_limit_collector_errors",
            "Collectors that failed at a scrape, or families that could not be rendered.",
            ["collector"],
            registry=None,
        )

    def counter(self, name: str, help_: str, *labels: str) -> Counter:
        return self._declare(Counter(f"dict_rate_limit_{name}", help_, labels, registry=None), name)

    def gauge(self, name: str, help_: str, *labels: str) -> Gauge:
        return self._declare(Gauge(f"dict_rate_limit_{name}", help_, labels, registry=None), name)

    def late_gauge(self, name: str, help_: str) -> LateGauge:
        return self._declare(LateGauge(f"dict_rate_limit_{name}", help_, registry=None), name)

    def histogram(self, name: str, help_: str, *labels: str) -> Histogram:
        histogram = Histogram(f"dict_rate_limit_{name}", help_, labels, buckets=DURATION_BUCKETS, registry=None)
        return self._declare(histogram, name)

    def add(self, collector: Collector, name: str) -> None:
        """Registers a collector that is another's, or is to come later in the page."""
        guarded = Guarded(collector, name, self.errors)
        self.guarded.append(guarded)
        self.registry.register(guarded)

    def remove_participant(self, participant: str) -> None:
        """Removes the series of one participant."""
        for metric in self.declared:
            if "participant" in metric._labelnames:  # noqa: SLF001 - has no public name
                metric.remove_by_labels({"participant": participant})

    def _declare(self, metric: T, name: str) -> T:
        self.declared.append(metric)
        self.add(metric, f"dict_rate_limit_{name}")
        return metric


class PollMetrics:
    """Counted by the poller."""

    def __init__(self, add: Collectors, durations: Histogram) -> None:
        self.duration = durations.labels("poll")
        self.errors = add.counter(
            "poll_errors", "Polls and reads that failed, by gRPC status, or BAD_ANSWER.", "participant", "code"
        )
        self.reads = add.counter("reads", "Reads of single buckets that were answered.", "participant")
        self.reads_off = add.gauge(
            "reads_off",
            "1 while no single buckets are read: the Bridge refused it with this gRPC status, its answers hold no "
            "bucket that pays for it (NO_POLICIES_READ), or the reserve leaves nothing of that (RESERVE_TOO_LARGE).",
            "participant",
            "code",
        )
        self.answer_defects = add.counter(
            "answer_defects", "Defects in the Bridge's answers that were refused or repaired.", "participant", "reason"
        )


class ReconcilerMetrics:
    """Counted by the reconcile loop, by leadership and by maintenance."""

    def __init__(self, add: Collectors, durations: Histogram) -> None:
        self.evaluate_duration = durations.labels("evaluate")
        self.persist_duration = durations.labels("persist")
        self.polls_late = add.counter(
            "polls_late", "Polls that came behind an evaluated one: kept as history, not evaluated.", "participant"
        )
        self.polls_ahead = add.counter(
            "polls_ahead",
            "Polls further ahead of the database's clock than poll.max_clock_skew: they took its time.",
            "participant",
        )
        self.last_evaluation_timestamp_seconds = add.gauge(
            "last_evaluation_timestamp_seconds",
            "When rules were last evaluated for a participant, and that committed, in seconds since 1970.",
            "participant",
        )
        self.database_up = add.late_gauge("database_up", "Whether the last database operation succeeded.")
        self.lease_held = add.late_gauge("lease_held", "Whether this process leads.")
        self.partitions_ready_months = add.late_gauge(
            "partitions_ready_months", "Months after this one that partitions are ready for."
        )
        self.compacted_states = add.counter("compacted_states", "Bucket states that were taken from rows into chunks.")
        self.compaction_refused = add.counter(
            "compaction_refused", "Hours of a participant that could not be compacted: they stay as rows."
        )
        self.compaction_oldest_age_seconds = add.late_gauge(
            "compaction_oldest_age_seconds", "Age of the oldest hour that is due to be compacted; 0 when none is."
        )


class OutboxMetrics:
    """What the leading reconciler counts in the outbox, and reports to exporters."""

    def __init__(self, add: Collectors) -> None:
        self.pending = add.late_gauge("outbox_pending", "Events that wait for the broker.")
        self.oldest_age_seconds = add.late_gauge(
            "outbox_oldest_age_seconds", "Age of the oldest event that waits; 0 when none does."
        )

    def set(self, pending: int, oldest_age_seconds: float | None) -> None:
        """Shows how many events wait for the broker, and the age of the oldest (None: none waits)."""
        self.pending.set(pending)
        self.oldest_age_seconds.set(oldest_age_seconds or 0.0)

    def withdraw(self) -> None:
        """Shows nothing of the outbox any more: another process looks at it now."""
        self.pending.withdraw()
        self.oldest_age_seconds.withdraw()


class RuleMetrics:
    """Counted by the rules in force and their health."""

    def __init__(self, add: Collectors) -> None:
        self.evaluation_failures = add.counter(
            "rule_evaluation_failures", "Rules that could not be evaluated at a poll.", "rule_group"
        )
        self.never_had_series = add.gauge(
            "rule_never_had_series",
            "1 if a rule's selector has never selected a series of any participant.",
            "rule_group",
            "rule",
            "selector",
        )
        self.last_reload_successful = add.late_gauge(
            "config_last_reload_successful", "Whether the last load of the rule files succeeded."
        )
        self.last_reload_success_timestamp_seconds = add.late_gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the rule files were last loaded, in seconds since 1970.",
        )


class FeedMetrics:
    """Counted on the way of polls to the reconciler."""

    def __init__(self, add: Collectors) -> None:
        self.dropped = add.counter("snapshots_dropped", "Polls that will never be in the database.", "reason")
        self.refused = add.counter(
            "feed_refused", "Polls of a participant that another exporter already polls.", "target"
        )
        self.connected = add.gauge("feed_connected", "Whether the exporter's feed answers.", "target")


class RelayMetrics:
    """Counted by the relay."""

    def __init__(self, add: Collectors, durations: Histogram) -> None:
        self.duration = durations.labels("relay")
        self.broker_up = add.late_gauge("broker_up", "Whether the broker is connected.")
        self.events_published = add.counter("events_published", "Events that the broker received.")
        self.events_dead = add.counter("events_dead", "Events that can never be sent.")
        self.receipt_defects = add.counter(
            "receipt_defects",
            "Events that the broker took for repeats though they were not; they were sent again with a new id.",
        )


class NotifierMetrics:
    """Counted by the notifier, by Alertmanager."""

    def __init__(self, add: Collectors) -> None:
        self.alertmanager_up = add.gauge(
            "alertmanager_up", "Whether the Alertmanager took what it was last sent.", "target"
        )
        self.notifications = add.counter(
            "notifications", "Alerts that the Alertmanager took, each time that they were sent.", "target"
        )
        self.errors = add.counter(
            "notification_errors", "Alerts that the Alertmanager did not take, each time that they were sent.", "target"
        )
        self.duration = add.histogram(
            "notification_duration_seconds", "How long the Alertmanager took to answer, or not to.", "target"
        )


class ProgramMetrics:
    """All of them, on a registry of their own."""

    def __init__(self) -> None:
        self.collectors = add = Collectors()
        self.registry = add.registry
        """The same metrics for prometheus_client, in this process."""
        durations = add.histogram(
            "monitoring_duration_seconds", "How long the program's own work took, by operation.", "operation"
        )
        self.polls = PollMetrics(add, durations)
        self.reconciler = ReconcilerMetrics(add, durations)
        self.rules = RuleMetrics(add)
        self.feed = FeedMetrics(add)
        self.outbox = OutboxMetrics(add)
        self.relay = RelayMetrics(add, durations)
        self.notifier = NotifierMetrics(add)
        build = Info("dict_rate_limit_build", "The program's version, and that of Python.", registry=None)
        build.info({"version": __version__, "python_version": platform.python_version()})
        add.add(build, "dict_rate_limit_build")
        # Last, so that a failure of an earlier collector is counted in the same scrape.
        add.add(ProcessCollector(registry=None), "process")
        add.add(PlatformCollector(registry=None), "platform")
        add.add(add.errors, "collector_errors")
