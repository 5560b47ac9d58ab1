"""Compacts history in the background, an hour of a participant at a time, and as slowly as leaves room for polls."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from exporter.buckets.bucket import Ispb
from exporter.errors import DatabaseUnusable, PartitionMissing, ReconciliationRefused
from exporter.metrics.own_metrics import ReconcilerMetrics
from exporter.store.chunks import DueHour, compact, due_hours
from exporter.store.database import Database, DatabaseOutage
from exporter.store.lease import Fence
from exporter.telemetry import Reminder

log = logging.getLogger(__name__)


@dataclass(slots=True)
class CompactionJob:
    """Compacts what is older than ``compact_after_seconds``. An hour that is refused stays as it is, and is logged.

    Between two hours it rests as long as the last one took: PostgreSQL is busy with this half of the time at most.
    """

    database: Database
    compact_after_seconds: float
    metrics: ReconcilerMetrics
    outage: DatabaseOutage
    interval_seconds: float = 60.0
    _refused_until: dict[Ispb, datetime] = field(default_factory=dict)
    _progress: Reminder = field(default_factory=lambda: Reminder(every_seconds=600.0))
    _hours: int = 0
    _states: int = 0

    async def run(self, fence: Fence) -> None:
        """Runs until cancelled. Raises LeaseLost."""
        while True:
            try:
                due = await due_hours(self.database, self.compact_after_seconds, self._refused_until)
                self.metrics.compaction_oldest_age_seconds.set(due[0].age_seconds if due else 0.0)
                for hour in due:
                    await self._compact(hour, fence)
            except DatabaseUnusable as error:
                due = []
                self.metrics.compaction_oldest_age_seconds.withdraw()
                self.outage.report(error, waiting="compaction")
            if not due:
                await asyncio.sleep(self.interval_seconds)

    async def _compact(self, due: DueHour, fence: Fence) -> None:
        began = time.monotonic()
        try:
            compacted = await compact(fence, due)
        except (ReconciliationRefused, PartitionMissing) as error:
            self._pass_over(due, error)
        else:
            self._hours += 1
            self._states += compacted.states
            self.metrics.compacted_states.inc(compacted.states)
            if self._progress.is_due("history compacted"):
                fields = {"hours": self._hours, "states": self._states, "up_to_hour": due.hour.isoformat()}
                log.info("history compacted", extra=fields)
        await asyncio.sleep(time.monotonic() - began)

    def _pass_over(self, due: DueHour, error: Exception) -> None:
        self._refused_until[due.participant] = due.hour + timedelta(hours=1)
        self.metrics.compaction_refused.inc()
        fields = {"participant": due.participant, "hour": due.hour.isoformat(), "error": str(error)}
        log.error("history not compacted: it stays as rows", extra=fields)
