"""The reconciler: wires its parts together, and passes events between them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from exporter.config.settings import Settings
from exporter.errors import DatabaseUnusable, PartitionMissing
from exporter.feed.client import FeedClient
from exporter.feed.inbox import Inbox, LocalFeed
from exporter.feed.wire import Report
from exporter.health import Dependency
from exporter.metrics import Metrics
from exporter.poller.polling import Polling
from exporter.reconciler import status
from exporter.reconciler.compaction import CompactionJob
from exporter.reconciler.feeds import Feeds
from exporter.reconciler.leadership import RENEW_SECONDS, Leadership, LeadershipState
from exporter.reconciler.loop import ReconcileLoop
from exporter.reconciler.maintenance import PartitionJob, report_outbox
from exporter.reconciler.rule_options import external_url, installation, rule_options
from exporter.reconciler.rules_in_force import RulesInForce, alert_series
from exporter.relay.relay import Relay
from exporter.store.database import Database, DatabaseOutage
from exporter.store.lease import PATIENCE_SECONDS, Fence, Lease
from exporter.store.migrations import check
from exporter.store.outbox import Outbox
from exporter.store.reader import Reader
from exporter.store.timeline import Timeline
from exporter.store.writer import Writer
from exporter.web.sources import RuleGroupStatus

if TYPE_CHECKING:
    from exporter.notifier.notifier import Notifier

log = logging.getLogger(__name__)

PAGE_CONNECTIONS: Final = 1
"""To the database, for the pages about the past; opened when a page is asked for."""

DROPPED: Final = ("queue_full", "refused", "unreadable")
"""Why polls may be lost permanently: initialised to 0, so that `increase()` sees the first one."""


class Reconciler:
    """Reconciles the polls of the feeds that it follows. ``build`` makes one; ``run`` works until cancelled.

    It is what its parts report to: `LoopObserver` of the loop, `Candidate` of leadership.
    """

    def __init__(self, settings: Settings, metrics: Metrics, holder: str, *, renew_seconds: float) -> None:
        self._database = database = Database(settings.database)
        # Pages wait for each other, and never take a connection that a commit needs.
        self._pages = Database(replace(settings.database, min_size=0, max_size=PAGE_CONNECTIONS), writes=False)
        self.metrics = metrics
        for reason in DROPPED:
            metrics.feed.dropped.labels(reason)
        self.inbox = Inbox(settings.database.queue, metrics.feed.dropped)
        self.feeds = Feeds()
        self.rules = RulesInForce(
            settings.rules,
            metrics,
            self.feeds.report_series,
            options=rule_options(settings),
            # The policies that there are come with the answers: `rule_never_had_series` tells of others.
            installation=installation(settings),
        )
        self._settings = settings
        self._reader = Reader(database)
        self._writer = Writer(database, settings.database.heartbeat)
        self._outage = DatabaseOutage(fields=lambda: {"polls_waiting": len(self.inbox)})
        self._lease = Lease(database, holder)
        self.leadership = Leadership(
            self._lease, self, metrics=metrics.reconciler, outage=self._outage, renew_seconds=renew_seconds
        )
        self._relay_wake = asyncio.Event()
        self._notifier_wake = asyncio.Event()
        self._partitions = PartitionJob(database, settings.database.retention_months, metrics.reconciler, self._outage)
        self._compaction = CompactionJob(database, settings.database.compact_after, metrics.reconciler, self._outage)
        self._relay: Relay | None = None
        self._notifier: Notifier | None = None
        self.loop = ReconcileLoop(
            self.inbox,
            self._writer,
            feeds=self.feeds,
            rules=self.rules,
            observer=self,
            settings=settings,
            metrics=metrics,
        )
        self.explain = status.explainer(self.rules, self.loop.histories)
        heartbeat = timedelta(seconds=settings.database.heartbeat)
        self.utilization = partial(self._reader.utilization, heartbeat=heartbeat)
        self.timeline = Timeline(self._pages, settings.database.heartbeat)

    @classmethod
    async def build(
        cls,
        settings: Settings,
        metrics: Metrics,
        holder: str,
        stack: AsyncExitStack,
        *,
        renew_seconds: float = RENEW_SECONDS,
    ) -> Reconciler:
        """Raises RuleFileInvalid, ConfigurationError."""
        built = cls(settings, metrics, holder, renew_seconds=renew_seconds)
        for database in (built._database, built._pages):
            await database.open()
            stack.push_async_callback(database.close)
        return built

    def follow_own(self) -> LocalFeed:
        """Returns the feed of this process's own exporter."""
        capacity, dropped = self._settings.database.queue, self.metrics.feed.dropped
        self.feeds.local = LocalFeed(self.inbox, self.loop.last_polls, capacity=capacity, dropped=dropped)
        return self.feeds.local

    def follow(self, client: FeedClient) -> None:
        self.feeds.clients.append(client)
        client.report(Report(series=alert_series(self.rules.rules)))

    async def run(self, polling: Polling | None) -> None:
        """Leads or waits until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.leadership.run(polling))
            group.create_task(self.rules.watch())

    # For pages and probes.

    @property
    def rule_groups(self) -> list[RuleGroupStatus]:
        return status.rule_groups(self.rules.rule_set, self.loop.health)

    @property
    def ready(self) -> bool:
        """Whether the schema was once the right one, or the database is away.

        What is wrong with a database is named among the dependencies and takes no process out of service.
        """
        return self.leadership.schema_checked or self.leadership.state is LeadershipState.DATABASE_UNUSABLE

    @property
    def dependencies(self) -> list[Dependency]:
        """How the exporters that are followed are, and everything else that the reconciler uses."""
        settings, clients = self._settings, self.feeds.clients
        return [
            *([status.feed(clients, self.leadership)] if clients else []),
            status.database(self.leadership),
            status.broker(self._relay, configured=settings.pulsar.service_url is not None),
            *([status.alertmanagers(self._notifier)] if settings.alertmanager.targets else []),
        ]

    # What the parts report.

    def on_transitions_committed(self) -> None:
        """Wakes what hands on transitions: the relay and the notifier."""
        self._relay_wake.set()
        self._notifier_wake.set()

    def on_database_unusable(self, error: DatabaseUnusable) -> None:
        self._outage.report(error, waiting="polls", polls_waiting=len(self.inbox))
        if isinstance(error, PartitionMissing):
            self._partitions.wake()

    # For leadership.

    async def check_schema(self) -> None:
        await check(self._database, patience_seconds=PATIENCE_SECONDS)

    async def lead(self, fence: Fence) -> None:
        """Runs everything that only the leader does."""
        async with asyncio.TaskGroup() as group:
            if self._settings.alertmanager.targets:
                self._notifier = self._new_notifier(fence)
                group.create_task(self._notifier.run())
            if self._settings.pulsar.service_url is not None:
                self._relay = Relay(
                    self._settings.pulsar,
                    Outbox(self._database),
                    metrics=self.metrics.relay,
                    wake=self._relay_wake,
                    fence=fence,
                    outage=self._outage,
                )
                group.create_task(self._relay.run())
            group.create_task(self.loop.run(fence))
            group.create_task(self._partitions.run())
            group.create_task(self._compaction.run(fence))
            group.create_task(report_outbox(self._reader, self.metrics.outbox, self.feeds))
            for feed in self.feeds.all:
                group.create_task(feed.run())

    async def stand_by(self) -> None:
        """Drops polls that another reconciler has committed."""
        local = self.feeds.local
        if local is not None and len(local):
            local.trim(await self._writer.last_polls(patience_seconds=PATIENCE_SECONDS))

    def reset(self) -> None:
        """Drops all that is known: the database says where to go on, and the exporters have the polls."""
        self._relay = self._notifier = None
        self.inbox.clear()
        self.loop.reset()
        self.feeds.reset()
        self.metrics.outbox.withdraw()
        self.metrics.reconciler.partitions_ready_months.withdraw()
        self.metrics.reconciler.compaction_oldest_age_seconds.withdraw()
        self.metrics.feed.connected.clear()

    def _new_notifier(self, fence: Fence) -> Notifier:
        from exporter.notifier.notifier import Notifier
        from exporter.notifier.target import SendPermission
        from exporter.store.alerts_to_notify import AlertsToNotify

        return Notifier(
            self._settings,
            AlertsToNotify(self._database),
            metrics=self.metrics.notifier,
            wake=self._notifier_wake,
            permission=SendPermission(self._lease, fence),
            external_url=external_url(self._settings),
        )
