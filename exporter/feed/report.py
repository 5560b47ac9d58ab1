"""What a reconciler reports to the exporters that it follows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from exporter.alerts.alert import Severity, Transition
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category


@dataclass(frozen=True, slots=True)
class Report:
    """What was committed, for the exporter's counters.

    ``sequence`` is the last poll's (0: none of this stream). ``series`` are the
    (severity, per policy) that loaded rules can produce; None: as reported before.
    ``outbox_oldest_age_seconds`` is None where no event waits. ``categories`` are those of which the database
    knows more than the exporter, which has started since.
    """

    sequence: int = 0
    transitions: tuple[Transition, ...] = ()
    series: Collection[tuple[Severity, bool]] | None = None
    outbox_pending: int | None = None
    outbox_oldest_age_seconds: float | None = None
    categories: Mapping[Ispb, Category] = field(default_factory=dict)


class ReportQueue:
    """Reports that wait to be sent to one exporter. ``latest`` is the last state of all that is no transition."""

    def __init__(self) -> None:
        self.latest = Report()
        self._reports: deque[Report] = deque()
        self._changed = asyncio.Event()

    def put(self, report: Report, *, connected: bool) -> None:
        """Queues a report. While the exporter is away only transitions are: of the rest the latest state is enough."""
        if report.series is not None:
            self.latest = replace(self.latest, series=report.series)
        if report.outbox_pending is not None:
            pending, age_seconds = report.outbox_pending, report.outbox_oldest_age_seconds
            self.latest = replace(self.latest, outbox_pending=pending, outbox_oldest_age_seconds=age_seconds)
        if report.transitions or connected:
            self._reports.append(report)
            self.wake()

    async def first(self) -> Report:
        """Returns the oldest report, which stays until `sent`; waits for one."""
        while not self._reports:
            await self.changed()
        return self._reports[0]

    def sent(self) -> None:
        self._reports.popleft()

    def reset(self) -> None:
        """Drops everything but the rules' series: another reconciler has led meanwhile."""
        self._reports.clear()
        self.latest = Report(series=self.latest.series)

    def reset_sequences(self) -> None:
        """Drops the sequences: those of a stream that has ended would hide those of the new one."""
        self._reports = deque(replace(report, sequence=0) for report in self._reports)

    def wake(self) -> None:
        """Lets `changed` return."""
        self._changed.set()

    async def changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()
