"""One scrape of a big installation, against prometheus_client's `generate_latest` of the same samples.

1,000 participants, each with the 31 published policies and all seven gauges.
Both sides answer with whole pages in memory; what a scrape does not do because
a poll did it before is measured too.
"""

from __future__ import annotations

import gzip
import time
from datetime import UTC, datetime, timedelta
from itertools import cycle
from random import Random
from typing import TYPE_CHECKING

import psutil
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.figure import Figure
from exporter.alerts.alert import Severity
from exporter.buckets.bucket import Bucket, Ispb
from exporter.buckets.catalog import POLICIES
from exporter.buckets.observation import BucketObservation, Observation, Poll, View, view_after
from exporter.metrics import Metrics
from exporter.metrics.families import POLLED_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.metrics_core import Metric

PARTICIPANTS = 1_000
POLL_INTERVAL_SECONDS = 15.0
START = datetime(2026, 3, 10, 12, tzinfo=UTC)


def run() -> Iterator[Figure]:
    views = [_view(number, 0) for number in range(PARTICIPANTS)]
    memory_before = _memory()
    metrics = Metrics(monotonic=lambda: 0.0)
    metrics.declare_alert_counters([(Severity.WARNING, True), (Severity.CRITICAL, True), (Severity.INFO, False)])
    for view in views:
        metrics.publish(view)
    metrics.exposition()
    without_gzip = _memory() - memory_before
    metrics.exposition(gzip=True)
    for view in views:
        metrics.publish(view)
    with_gzip = _memory() - memory_before

    gauges = _Prepared(metrics)
    registry = CollectorRegistry()
    registry.register(gauges)
    samples = gauges.samples
    their_text = _seconds(lambda: generate_latest(registry))
    their_gzip = _seconds(lambda: gzip.compress(generate_latest(registry), 1))

    yield Figure("bucket gauges' samples on the page", samples, "")
    yield Figure("generate_latest of the bucket gauges alone", their_text * 1e3, "ms")
    only_gauges = Metrics(monotonic=lambda: 0.0)
    for view in views:
        only_gauges.publish(view)
    our_text = _seconds(only_gauges.exposition)
    yield Figure("ours, text: all metrics", our_text * 1e3, "ms")
    yield _ratio("generate_latest / ours, text", their_text / our_text)
    only_gauges.exposition(gzip=True)
    for view in views:
        only_gauges.publish(view)
    our_gzip = _seconds(lambda: only_gauges.exposition(gzip=True))
    yield Figure("ours, gzip: all metrics", our_gzip * 1e3, "ms")
    yield _ratio("generate_latest with gzip / ours, gzip", their_gzip / our_gzip)
    our_openmetrics = _seconds(lambda: only_gauges.exposition(openmetrics=True, gzip=True))
    yield _ratio("generate_latest with gzip / ours, OpenMetrics, gzip", their_gzip / our_openmetrics)
    full = _seconds(lambda: metrics.exposition(gzip=True))
    yield Figure("ours, gzip, with 130,000 alert counters", full * 1e3, "ms")

    turns = cycle((_view(0, 0), _view(1, 15, participant=0)))
    show = _seconds(lambda: metrics.publish(next(turns)), repeat=200)
    share = 100 * show * PARTICIPANTS / POLL_INTERVAL_SECONDS
    yield Figure("rendering and deflating at a poll", show * 1e6, "us")
    yield Figure("the same, of one core at a poll every 15 s", share, "%")
    yield Figure("memory of the ready lines, text only", without_gzip / 1e6, "MB")
    yield Figure("memory of the ready lines, with gzip", with_gzip / 1e6, "MB")
    longest = _longest_turn(metrics)
    yield Figure(
        "longest turn taken from the event loop by a scrape", longest * 1e3, "ms", "< 20 ms", met=longest < 0.02
    )


def _ratio(name: str, ratio: float) -> Figure:
    return Figure(name, ratio, "x", ">= 20x", met=ratio >= 20)


def _seconds(work: Callable[[], object], repeat: int = 5) -> float:
    """Returns the least time that ``work`` took: what it costs when nobody disturbs."""
    taken = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return min(taken)


def _longest_turn(metrics: Metrics) -> float:
    longest = 0.0
    started = time.perf_counter()
    for _ in metrics.page(gzip=True):
        longest = max(longest, time.perf_counter() - started)
        started = time.perf_counter()
    return longest


def _memory() -> int:
    return int(psutil.Process().memory_full_info().uss)


class _Prepared:
    """The same samples, as prometheus_client wants them, made before the time is taken."""

    def __init__(self, metrics: Metrics) -> None:
        names = {family.name for family in POLLED_FAMILIES[:7]}
        self._metrics = [metric for metric in metrics.registry.collect() if metric.name in names]
        self.samples = sum(len(metric.samples) for metric in self._metrics)

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> list[Metric]:
        return self._metrics


def _view(seed: int, seconds: float, *, participant: int | None = None) -> View:
    random = Random(seed)
    ispb = Ispb(f"{seed if participant is None else participant:08d}")
    buckets = []
    for policy, limit in POLICIES.items():
        capacity, refill, period = (
            (1000, 100, 60)
            if limit is None
            else (
                limit.capacity,
                limit.refill_tokens,
                limit.refill_period_seconds,
            )
        )
        bucket = Bucket(policy, random.randint(0, capacity), capacity, refill, period)
        rate = random.uniform(0, 2 * refill)
        left = random.choice([float("inf"), random.uniform(0, 3600)])
        buckets.append(BucketObservation(bucket, rate, left, random.random()))
    at = START + timedelta(seconds=seconds)
    observation = Observation(ispb, at, "A", "c", tuple(sorted(buckets, key=lambda o: o.bucket.policy)))
    poll = Poll("stream", seed + 1, ispb, at, POLL_INTERVAL_SECONDS, 300.0, observation, 0.0, at)
    return view_after(None, poll)
