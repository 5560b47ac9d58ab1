"""prometheus_client's objects as the program uses them: one that fails costs no other, what is unknown is absent."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

T = TypeVar("T", bound="MetricWrapperBase")

DURATION_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# A series `..._created` beside each counter would double their number, and nothing reads it.
disable_created_metrics()  # type: ignore[no-untyped-call]


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


class Guarded:
    """A collector whose failure is counted and costs no other collector its metrics."""

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
