"""Renders each participant's lines when they change, so that a scrape only joins them."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.utils import floatToGoString

from exporter.alerts.alert import AlertState
from exporter.metrics.exposition import Part, gzip_page, text_page
from exporter.metrics.families import COUNTER_FAMILIES, GAUGE_FAMILIES, Family, Watched
from exporter.metrics.program import Guarded, ProgramMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from prometheus_client.registry import Collector

    from exporter.alerts.alert import Severity
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View
    from exporter.metrics.families import Buckets

log = logging.getLogger(__name__)

FORGET_SECONDS: Final = 3600.0
"""How long the counters of a policy, or a participant, are shown that is gone."""

SWEEP_SECONDS: Final = 60.0

MISSED_POLLS: Final = 3
"""A participant whose polls stopped coming loses its gauges so many intervals after the staleness."""

_in_text: Callable[[Collector], bytes] = generate_latest
_in_openmetrics: Callable[[Collector], bytes] = generate_openmetrics
_written: Callable[[float], str] = floatToGoString

_EOF: Final = b"# EOF\n"
_NO_LINES: Final = Part(b"")


class _Shown(Watched):
    """A participant with its ready lines, one part per family."""

    __slots__ = ("counter_parts", "gauge_parts", "outdated", "shown_until", "touched_at")

    def __init__(self, participant: Ispb) -> None:
        super().__init__(participant)
        self.gauge_parts: list[Part] = [_NO_LINES] * len(GAUGE_FAMILIES)
        self.counter_parts: list[Part] = [_NO_LINES] * len(COUNTER_FAMILIES)
        self.outdated = True
        self.shown_until = 0.0
        self.touched_at = 0.0


class Metrics(ProgramMetrics):
    """Every metric of this process. Used from one thread.

    ``monotonic`` tells when a participant's polls stopped coming.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._shown: dict[str, _Shown] = {}
        self._series: frozenset[tuple[Severity, bool]] = frozenset()
        self._gzip_asked = False
        self._swept_at = monotonic()
        self.registry.register(Guarded(_Participants(self._everyone), "participants", self.collector_errors))

    def show(self, view: View) -> None:
        """Shows what is known of a participant after a poll."""
        poll = view.poll
        shown = self._of(poll.participant)
        now = shown.touched_at = self._monotonic()
        shown.view = view
        shown.shown_until = now + poll.staleness_seconds + MISSED_POLLS * poll.interval_seconds
        if not view.buckets.keys() <= shown.policies.keys():
            shown.outdated = True
        shown.policies |= dict.fromkeys(view.buckets, now)
        if len(shown.policies) > len(view.buckets) and shown.forget_policies(now - FORGET_SECONDS):
            shown.outdated = True
        buckets = shown.buckets()
        shown.gauge_parts = [
            self._part(family, shown, buckets, before)
            for family, before in zip(GAUGE_FAMILIES, shown.gauge_parts, strict=True)
        ]
        self._update_counters(shown)
        if now - self._swept_at >= SWEEP_SECONDS:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        """Drops what is left of participants that are gone."""
        self._swept_at = now
        for shown in list(self._shown.values()):
            if shown.touched_at < now - FORGET_SECONDS and shown.shown_until < now - FORGET_SECONDS:
                self.drop(shown.participant)

    def drop(self, participant: str) -> None:
        """Shows nothing of a participant any more, its counters included: it is not watched any more."""
        self._shown.pop(participant, None)
        for metric in self.by_participant:
            metric.remove_by_labels({"participant": participant})

    def forget(self, participant: Ispb) -> None:
        """Shows no gauges of a participant any more; its counters stay."""
        shown = self._shown.get(participant)
        if shown is not None:
            shown.view = None
            shown.gauge_parts = [_NO_LINES] * len(GAUGE_FAMILIES)

    def count_transition(self, participant: str, policy: str | None, severity: Severity, state: AlertState) -> None:
        """Counts an alert that began firing, or resolved."""
        if state is AlertState.PENDING:
            return
        shown = self._of(participant)
        shown.touched_at = self._monotonic()
        if policy is not None:
            shown.policies[policy] = shown.touched_at
        key = (state, policy or "", severity)
        shown.counts[key] = shown.counts.get(key, 0) + 1
        shown.outdated = True

    def announce(self, series: Collection[tuple[Severity, bool]]) -> None:
        """Makes the alert counters exist for what loaded rules can produce: (severity, whether per policy).

        What was announced before stays: a counter that vanishes loses its count.
        """
        self._series |= frozenset(series)
        for shown in self._shown.values():
            shown.series = self._series
            shown.outdated = True

    def show_outbox(self, pending: int, oldest_age_seconds: float | None) -> None:
        """Shows how many events wait for the broker, and the age of the oldest (None: none waits)."""
        self.outbox_pending.set(pending)
        self.outbox_oldest_age_seconds.set(oldest_age_seconds or 0.0)

    def withdraw_outbox(self) -> None:
        """Shows nothing of the outbox any more: another process looks at it now."""
        self.outbox_pending.withdraw()
        self.outbox_oldest_age_seconds.withdraw()

    def exposition(self, *, openmetrics: bool = False, gzip: bool = False) -> bytes:
        """Returns the whole page."""
        return b"".join(self.page(openmetrics=openmetrics, gzip=gzip))

    def page(self, *, openmetrics: bool = False, gzip: bool = False) -> Iterator[bytes]:
        """Yields the page in slices of about a millisecond's work: whoever asks lets others work in between.

        Gauges are those of one instant, however long the page takes to be sent.
        """
        self._gzip_asked = self._gzip_asked or gzip
        parts = self._parts(openmetrics=openmetrics)
        return gzip_page(parts) if gzip else text_page(parts)

    def _of(self, participant: str) -> _Shown:
        shown = self._shown.get(participant)
        if shown is None:
            shown = self._shown[participant] = _Shown(participant)  # type: ignore[arg-type]
            shown.series = self._series
        return shown

    def _everyone(self) -> list[tuple[_Shown, bool]]:
        """Returns every participant, and whether its polls keep coming."""
        now = self._monotonic()
        return [(shown, now < shown.shown_until) for _, shown in sorted(self._shown.items())]

    def _part(self, family: Family, shown: _Shown, buckets: Buckets, before: Part) -> Part:
        name = family.name
        try:
            lines = [f"{name}{labels.text} {_written(value)}\n" for labels, value in family.samples(shown, buckets)]
        except Exception:
            self.collector_errors.labels(name).inc()
            log.exception("a family could not be rendered", extra={"family": name, "participant": shown.participant})
            return _NO_LINES
        text = "".join(lines).encode()
        # Most buckets are idle: what is the same as before need not be deflated again.
        part = before if before.text == text else Part(text)
        if self._gzip_asked and part.deflated is None:
            part.deflate()
        return part

    def _update_counters(self, shown: _Shown) -> None:
        if shown.outdated:
            shown.counter_parts = [
                self._part(family, shown, [], before)
                for family, before in zip(COUNTER_FAMILIES, shown.counter_parts, strict=True)
            ]
            shown.outdated = False

    def _parts(self, *, openmetrics: bool) -> Iterator[Part]:
        everyone = self._everyone()
        gauges = [(shown.gauge_parts, polled) for shown, polled in everyone]
        for index, family in enumerate(GAUGE_FAMILIES):
            yield _header(family, openmetrics=openmetrics)
            for parts, polled in gauges:
                if polled or family.outlives_polling:
                    yield parts[index]
        for index, family in enumerate(COUNTER_FAMILIES):
            yield _header(family, openmetrics=openmetrics)
            for shown, _ in everyone:
                self._update_counters(shown)
                yield shown.counter_parts[index]
        for collector in self.collectors:
            yield Part(_rendered(collector, openmetrics=openmetrics))
        if openmetrics:
            yield Part(_EOF)


class _Participants:
    """The same families for prometheus_client's registry."""

    def __init__(self, everyone: Callable[[], list[tuple[_Shown, bool]]]) -> None:
        self._everyone = everyone

    def describe(self) -> Iterable[Metric]:
        return [_metric(family) for family in (*GAUGE_FAMILIES, *COUNTER_FAMILIES)]

    def collect(self) -> Iterable[Metric]:
        everyone = [(shown, shown.buckets(), polled) for shown, polled in self._everyone()]
        for family in (*GAUGE_FAMILIES, *COUNTER_FAMILIES):
            metric = _metric(family)
            for shown, buckets, polled in everyone:
                if polled or family.outlives_polling:
                    for labels, value in family.samples(shown, buckets):
                        pairs = dict(zip(family.label_names, labels.values, strict=True))
                        metric.add_sample(family.name, pairs, value)
            yield metric


class _One:
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self._metric]


def _metric(family: Family) -> Metric:
    return Metric(family.name.removesuffix("_total"), family.help, family.kind)


def _header(family: Family, *, openmetrics: bool) -> Part:
    return Part(_rendered(_One(_metric(family)), openmetrics=openmetrics))


def _rendered(collector: _One | Guarded, *, openmetrics: bool) -> bytes:
    if openmetrics:
        return _in_openmetrics(collector).removesuffix(_EOF)
    return _in_text(collector)
