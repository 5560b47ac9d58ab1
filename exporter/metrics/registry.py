"""Renders each participant's lines when they change, so that a scrape only joins them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import View
from exporter.metrics.exposition import Part, gzip_page, text_page
from exporter.metrics.families import (
    COUNTER_FAMILIES,
    POLLED_FAMILIES,
    Buckets,
    Family,
    WatchedParticipant,
    number_text,
)
from exporter.metrics.own_metrics import Guarded, ProgramMetrics
from exporter.metrics.recorded import RecordedSeries

log = logging.getLogger(__name__)

KEEP_REMOVED_SECONDS: Final = 3600.0
"""How long the counters of a removed policy, or participant, are served."""

SWEEP_SECONDS: Final = 60.0

MISSED_POLLS: Final = 3
"""A participant whose polls stopped coming loses its gauges this many intervals after the staleness."""

_in_text: Callable[[Collector], bytes] = generate_latest
_in_openmetrics: Callable[[Collector], bytes] = generate_openmetrics

_EOF: Final = b"# EOF\n"
_NO_LINES: Final = Part(b"")


@dataclass(slots=True)
class _Rendered(WatchedParticipant):
    """A participant with its ready lines, one part per family."""

    polled_parts: list[Part] = field(default_factory=lambda: [_NO_LINES] * len(POLLED_FAMILIES))
    counter_parts: list[Part] = field(default_factory=lambda: [_NO_LINES] * len(COUNTER_FAMILIES))
    outdated: bool = True
    served_until: float = 0.0
    touched_at: float = 0.0


class Metrics(ProgramMetrics):
    """Every metric of this process. Used from one thread.

    ``monotonic`` tells when a participant's polls stopped coming.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.recorded = RecordedSeries(monotonic)
        self._monotonic = monotonic
        self._participants: dict[str, _Rendered] = {}
        self._series: frozenset[tuple[Severity, bool]] = frozenset()
        self._gzip_requested = False
        self._swept_at = monotonic()
        # The same families for prometheus_client's registry: see `describe` and `collect`.
        self.registry.register(Guarded(self, "participants", self.collectors.errors))

    def publish(self, view: View) -> None:
        """Renders what is known of a participant after a poll, for the scrapes to come."""
        poll = view.poll
        rendered = self._of(poll.participant)
        now = rendered.touched_at = self._monotonic()
        changed = _only_change(rendered.view, view)
        rendered.view = view
        rendered.served_until = now + poll.staleness_seconds + MISSED_POLLS * poll.interval_seconds
        if not view.buckets.keys() <= rendered.policies.keys():
            rendered.outdated = True
        rendered.policies |= dict.fromkeys(view.buckets, now)
        if len(rendered.policies) > len(view.buckets) and rendered.remove_policies(now - KEEP_REMOVED_SECONDS):
            rendered.outdated = True
        buckets = rendered.buckets(changed)
        rendered.polled_parts = [
            self._part_of_one(family, rendered, buckets, before)
            if family.of_buckets and changed is not None
            else self._part(family, rendered, buckets, before)
            for family, before in zip(POLLED_FAMILIES, rendered.polled_parts, strict=True)
        ]
        self._update_counters(rendered)
        if now - self._swept_at >= SWEEP_SECONDS:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        """Removes participants that have not been polled for long."""
        self._swept_at = now
        for rendered in list(self._participants.values()):
            if rendered.touched_at < now - KEEP_REMOVED_SECONDS and rendered.served_until < now - KEEP_REMOVED_SECONDS:
                self.remove(rendered.participant)

    def remove(self, participant: str) -> None:
        """Removes all series of a participant, its counters included: it is no longer watched."""
        self._participants.pop(participant, None)
        self.recorded.remove(participant)
        self.collectors.remove_participant(participant)

    def withdraw_gauges(self, participant: Ispb) -> None:
        """Removes the gauges of a participant; its counters stay."""
        rendered = self._participants.get(participant)
        if rendered is not None:
            rendered.view = None
            rendered.polled_parts = [_NO_LINES] * len(POLLED_FAMILIES)

    def count_transition(self, participant: str, policy: str | None, severity: Severity, state: AlertState) -> None:
        """Counts an alert that began firing, or resolved."""
        if state is AlertState.PENDING:
            return
        rendered = self._of(participant)
        rendered.touched_at = self._monotonic()
        if policy is not None:
            rendered.policies[policy] = rendered.touched_at
        key = (state, policy or "", severity)
        rendered.counts[key] = rendered.counts.get(key, 0) + 1
        rendered.outdated = True

    def declare_alert_counters(self, series: Collection[tuple[Severity, bool]]) -> None:
        """Makes the alert counters exist for what loaded rules can produce: (severity, whether per policy).

        What was declared before stays: a counter that vanishes loses its count.
        """
        self._series |= frozenset(series)
        for rendered in self._participants.values():
            rendered.series = self._series
            rendered.outdated = True

    def exposition(self, *, openmetrics: bool = False, gzip: bool = False) -> bytes:
        """Returns the whole page."""
        return b"".join(self.page(openmetrics=openmetrics, gzip=gzip))

    def page(self, *, openmetrics: bool = False, gzip: bool = False) -> Iterator[bytes]:
        """Yields the page in slices of about a millisecond's work: the caller lets others work in between.

        Gauges are those of one instant, however long the page takes to be sent.
        """
        self._gzip_requested = self._gzip_requested or gzip
        parts = self._parts(openmetrics=openmetrics)
        return gzip_page(parts) if gzip else text_page(parts)

    def describe(self) -> Iterable[Metric]:
        """Returns the participants' families without samples, for prometheus_client's registry."""
        return [_metric(family) for family in (*POLLED_FAMILIES, *COUNTER_FAMILIES)]

    def collect(self) -> Iterable[Metric]:
        """Yields the participants' families, for prometheus_client's registry."""
        everyone = [(rendered, rendered.buckets(), polled) for rendered, polled in self._everyone()]
        for family in (*POLLED_FAMILIES, *COUNTER_FAMILIES):
            metric = _metric(family)
            for rendered, buckets, polled in everyone:
                if polled or family.outlives_polling:
                    for labels, value in family.samples(rendered, buckets):
                        pairs = dict(zip(family.label_names, labels.values, strict=True))
                        metric.add_sample(family.name, pairs, value)
            yield metric
        yield from self.recorded.collect()

    def _of(self, participant: str) -> _Rendered:
        rendered = self._participants.get(participant)
        if rendered is None:
            rendered = self._participants[participant] = _Rendered(Ispb(participant), series=self._series)
        return rendered

    def _everyone(self) -> list[tuple[_Rendered, bool]]:
        """Returns every participant, and whether its polls keep coming."""
        now = self._monotonic()
        return [(rendered, now < rendered.served_until) for _, rendered in sorted(self._participants.items())]

    def _part_of_one(self, family: Family, rendered: _Rendered, bucket: Buckets, before: Part) -> Part:
        """Returns ``before`` with the lines of one bucket as they are now."""
        ((labels, _),) = bucket
        begins = f"{family.name}{labels.text[:-1]}".encode()
        first = before.text.find(begins)
        if first < 0:
            return self._part(family, rendered, rendered.buckets(), before)
        rest = before.text.index(b"\n", before.text.rfind(begins)) + 1
        text = self._text(family, rendered, bucket)
        return self._ready(before.text[:first] + text + before.text[rest:], before)

    def _part(self, family: Family, rendered: _Rendered, buckets: Buckets, before: Part) -> Part:
        return self._ready(self._text(family, rendered, buckets), before)

    def _text(self, family: Family, rendered: _Rendered, buckets: Buckets) -> bytes:
        name = family.name
        try:
            lines = [
                f"{name}{labels.text} {number_text(value)}\n" for labels, value in family.samples(rendered, buckets)
            ]
        except Exception:
            self.collectors.errors.labels(name).inc()
            log.exception("a family could not be rendered", extra={"family": name, "participant": rendered.participant})
            return b""
        return "".join(lines).encode()

    def _ready(self, text: bytes, before: Part) -> Part:
        # Most buckets are idle: what is the same as before need not be deflated again.
        part = before if before.text == text else Part(text)
        if self._gzip_requested and part.deflated is None:
            part.deflate()
        return part

    def _update_counters(self, rendered: _Rendered) -> None:
        if rendered.outdated:
            rendered.counter_parts = [
                self._part(family, rendered, [], before)
                for family, before in zip(COUNTER_FAMILIES, rendered.counter_parts, strict=True)
            ]
            rendered.outdated = False

    def _parts(self, *, openmetrics: bool) -> Iterator[Part]:
        everyone = self._everyone()
        gauges = [(rendered.polled_parts, polled) for rendered, polled in everyone]
        recorded = list(self.recorded.families())
        for index, family in enumerate(POLLED_FAMILIES):
            yield _header(family, openmetrics=openmetrics)
            for parts, polled in gauges:
                if polled or family.outlives_polling:
                    yield parts[index]
        for index, family in enumerate(COUNTER_FAMILIES):
            yield _header(family, openmetrics=openmetrics)
            for rendered, _ in everyone:
                self._update_counters(rendered)
                yield rendered.counter_parts[index]
        for metric, parts in recorded:
            yield Part(_text_of(_One(metric), openmetrics=openmetrics))
            yield from parts
        for collector in self.collectors.guarded:
            yield Part(_text_of(collector, openmetrics=openmetrics))
        if openmetrics:
            yield Part(_EOF)


def _only_change(before: View | None, after: View) -> str | None:
    """Returns the policy of the only bucket that changed, as after a read; None: there is none, or more than one."""
    if before is None or before.buckets.keys() != after.buckets.keys():
        return None
    # A read keeps the other buckets as they are, not only equal ones.
    changed = [policy for policy, visible in after.buckets.items() if visible is not before.buckets[policy]]
    return changed[0] if len(changed) == 1 else None


@dataclass(frozen=True, slots=True)
class _One:
    metric: Metric

    def collect(self) -> Iterable[Metric]:
        return [self.metric]


def _metric(family: Family) -> Metric:
    return Metric(family.name.removesuffix("_total"), family.help, family.kind)


def _header(family: Family, *, openmetrics: bool) -> Part:
    return Part(_text_of(_One(_metric(family)), openmetrics=openmetrics))


def _text_of(collector: _One | Guarded, *, openmetrics: bool) -> bytes:
    if openmetrics:
        return _in_openmetrics(collector).removesuffix(_EOF)
    return _in_text(collector)
