"""Background jobs of the process that leads. Each runs until cancelled; what fails is tried again."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from exporter.errors import DatabaseUnusable
from exporter.metrics.own_metrics import OutboxMetrics, ReconcilerMetrics
from exporter.reconciler.feeds import Feeds
from exporter.store.database import Database, DatabaseOutage
from exporter.store.partitions import maintain, readiness
from exporter.store.reader import Reader

log = logging.getLogger(__name__)

OUTBOX_SECONDS: Final = 5.0
"""How often the outbox is counted."""


@dataclass(slots=True)
class PartitionJob:
    """Creates partitions ahead of the clock, and drops those past their retention."""

    database: Database
    retention_months: int
    metrics: ReconcilerMetrics
    outage: DatabaseOutage
    interval_seconds: float = 600.0
    retry_seconds: float = 30.0
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Lets the job run at once: polls wait for a partition."""
        self._woken.set()

    async def run(self) -> None:
        while True:
            self._woken.clear()
            complete = await self._run_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.interval_seconds if complete else self.retry_seconds):
                    await self._woken.wait()

    async def _run_once(self) -> bool:
        """Returns whether nothing is left for the next time."""
        complete = False
        try:
            done = await maintain(self.database, self.retention_months)
        except DatabaseUnusable as error:
            self.outage.report(error, waiting="partitions")
        else:
            complete = done.complete
            fields = {
                "partitions_created": len(done.created),
                "partitions_dropped": len(done.dropped),
                "partitions_shrunk": len(done.shrunk),
            }
            if any(fields.values()):
                log.info("partitions maintained", extra=fields)
        try:
            ready = await readiness(self.database)
        except DatabaseUnusable:
            self.metrics.partitions_ready_months.withdraw()
            return False
        self.metrics.partitions_ready_months.set(ready.months)
        for table in ready.detached:
            log.error(
                "table with a partition's name is no partition: attach it, or rename it and another one is created",
                extra={"table": table},
            )
        return complete and not ready.detached


async def report_outbox(reader: Reader, metrics: OutboxMetrics, feeds: Feeds) -> None:
    """Shows what waits in the outbox, in this process's metrics and in those of its exporters."""
    while True:
        try:
            stats = await reader.outbox_stats()
        except DatabaseUnusable:
            metrics.withdraw()
        else:
            metrics.set(stats.pending, stats.oldest_age_seconds)
            feeds.report_outbox(stats.pending, stats.oldest_age_seconds)
        await asyncio.sleep(OUTBOX_SECONDS)
