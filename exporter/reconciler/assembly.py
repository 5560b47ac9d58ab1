"""The reconciler's parts, put together: rules, store, lease, relay, notifier, partitions."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec.structs import replace

from exporter import telemetry
from exporter.buckets.bucket import Ispb
from exporter.clock import Clock
from exporter.config import without_secrets
from exporter.errors import DatabaseUnavailable, DatabaseUnusable, RuleFileInvalid
from exporter.explain.current import standing
from exporter.explain.render import state
from exporter.explain.sentences import sentences
from exporter.feed.inbox import Inbox, Report
from exporter.feed.local import LocalFeed
from exporter.health import Dependency
from exporter.reconciler.leadership import Leadership, Standing
from exporter.reconciler.loop import Reconciler, series_of
from exporter.reconciler.rules_in_force import RulesInForce
from exporter.relay import Relay
from exporter.store.database import Database
from exporter.store.lease import PATIENCE_SECONDS, Lease
from exporter.store.migrations import check
from exporter.store.outbox import Outbox
from exporter.store.partitions import maintain, readiness
from exporter.store.reader import Reader
from exporter.store.timeline import Record
from exporter.store.writer import Writer
from exporter.web.server.config_reload import own_url
from exporter.web.sources import Explained, RuleGroupStatus, RuleStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from contextlib import AsyncExitStack
    from datetime import datetime

    from exporter.alerts.alert import Alert, Severity
    from exporter.buckets.bucket import PolicyName
    from exporter.buckets.observation import View
    from exporter.config import Settings
    from exporter.feed.client import FeedClient
    from exporter.metrics import Metrics
    from exporter.notifier import Notifier
    from exporter.reconciler.leadership import Polling
    from exporter.rules.rule import CompiledRule
    from exporter.store.lease import Fence

log = logging.getLogger(__name__)

MAINTENANCE_SECONDS = 600.0
"""How often partitions are made ahead and old ones dropped."""

RETRY_SECONDS = 30.0
"""How soon that is tried again where something was in the way."""

OUTBOX_SECONDS = 5.0
"""How often the outbox is counted for the metrics."""


PAGE_CONNECTIONS = 1
"""Of the database, for the pages about the past; made when somebody looks."""

DROPPED = ("queue_full", "refused", "unreadable")
"""Why polls may be lost for good: counted from 0 on, so that the first is seen to come."""


class Reconciling:
    """A reconciler with all that it needs. ``build`` makes one; ``run`` works until cancelled."""

    def __init__(self, settings: Settings, metrics: Metrics, database: Database, pages: Database, holder: str) -> None:
        self.metrics = metrics
        for reason in DROPPED:
            metrics.snapshots_dropped.labels(reason)
        self.clock = Clock()
        self.inbox = Inbox(settings.database.queue, self._dropped)
        self.local: LocalFeed | None = None
        self.clients: list[FeedClient] = []
        self._listeners: list[FeedClient | LocalFeed] = []
        self.rules = RulesInForce(settings.rules, metrics, self._announce)
        self._reloads: set[asyncio.Task[None]] = set()
        self._settings = settings
        self._database = database
        self._holder = holder
        self._reader = Reader(database)
        self.record = Record(pages, settings.database.heartbeat)
        self._outbox = Outbox(database)
        self._work = asyncio.Event()
        self._to_notify = asyncio.Event()
        self._partition_missing = asyncio.Event()
        self._reminder = telemetry.Reminder()
        self._outage = telemetry.Outage("database", fields=lambda: {"polls_waiting": len(self.inbox)})
        self._writer = Writer(database, settings.database.heartbeat)
        self.reconciler = Reconciler(
            writer=self._writer,
            inbox=self.inbox,
            metrics=metrics,
            rules=lambda: self.rules.rules,
            participants=[Ispb(participant) for participant in settings.participants],
            max_clock_skew_seconds=settings.poll.max_clock_skew,
            go_on_from=self.clock.go_on_from,
            carried=self._carried,
            partition_missing=self._partition_missing.set,
            wake=self._wake,
            listeners=self._listeners,
            outage=self._outage,
        )
        self.leadership: Leadership | None = None
        self._lease = Lease(database, holder)
        self._relay: Relay | None = None
        self._notifier: Notifier | None = None

    @classmethod
    async def build(cls, settings: Settings, metrics: Metrics, holder: str, stack: AsyncExitStack) -> Reconciling:
        """Raises RuleFileInvalid, ConfigurationError."""
        database = Database(settings.database)
        # Pages wait for each other, and never take a connection that a commit needs.
        pages = Database(replace(settings.database, min_size=0, max_size=PAGE_CONNECTIONS), writes=False)
        built = cls(settings, metrics, database, pages, holder)
        for opened in (database, pages):
            await opened.open()
            stack.push_async_callback(opened.close)
        return built

    def follow_own(self) -> LocalFeed:
        """Returns the feed of this process's own exporter."""
        self.local = LocalFeed(
            self.inbox,
            capacity=self._settings.database.queue,
            last_polls=self.reconciler.last_polls,
            dropped=self._dropped,
        )
        self._listeners.append(self.local)
        return self.local

    def follow(self, client: FeedClient) -> None:
        self.clients.append(client)
        self._listeners.append(client)
        client.report(Report(series=series_of(self.rules.rules)))

    async def run(self, polling: Polling | None) -> None:
        """Leads or waits until cancelled."""
        self.leadership = Leadership(
            self._lease,
            check=lambda: check(self._database, patience_seconds=PATIENCE_SECONDS),
            work=self._lead,
            polling=polling,
            reset=self._reset,
            waiting=self._waiting,
            metrics=self.metrics,
            outage=self._outage,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self.leadership.run())
            group.create_task(self.rules.watch())

    def dependencies(self) -> list[Dependency]:
        """Returns how the exporters that are followed and all that the reconciler uses are, for people and probes."""
        reached = self._standing in (Standing.LEADING, Standing.WAITING)
        message = self._standing.value
        if self._standing is Standing.WAITING and self.leadership is not None and self.leadership.leader:
            message += f": {self.leadership.leader} leads"
        if self.leadership is not None and self.leadership.trouble is not None:
            message += f": {self.leadership.trouble}"
        database = Dependency("database", ok=reached, message=message)
        feeds = [self._followed()] if self.clients else []
        alertmanagers = [self._alertmanagers()] if self._settings.alertmanager.targets else []
        return [*feeds, database, self._broker(), *alertmanagers]

    def _followed(self) -> Dependency:
        if self._standing not in (Standing.LEADING, Standing.UNREACHABLE):
            return Dependency("feed", ok=True, message="another process follows, or none does yet")
        away = [client.target for client in self.clients if not client.connected]
        message = f"{len(self.clients) - len(away)} of {len(self.clients)} exporters followed"
        if away:
            message += f"; not followed: {', '.join(away)}"
        return Dependency("feed", ok=not away, message=message)

    def _broker(self) -> Dependency:
        if self._settings.pulsar.service_url is None:
            return Dependency("broker", ok=True, message="none configured: events stay in the outbox")
        if self._relay is None:
            return Dependency("broker", ok=True, message="another process relays, or none does yet")
        trouble = self._relay.message
        return Dependency("broker", ok=trouble is None, message=trouble or "ok")

    def _alertmanagers(self) -> Dependency:
        if self._notifier is None:
            return Dependency("alertmanager", ok=True, message="another process sends, or none does yet")
        targets = self._notifier.targets
        away = [f"{without_secrets(target.url)}: {target.message}" for target in targets if target.message is not None]
        if not away:
            return Dependency("alertmanager", ok=True, message="ok")
        message = f"{len(targets) - len(away)} of {len(targets)} take alerts; {'; '.join(away)}"
        return Dependency("alertmanager", ok=False, message=message)

    async def past(
        self, participant: Ispb, since: datetime, step: timedelta
    ) -> dict[PolicyName, dict[datetime, float]]:
        """Returns the highest utilization of each bucket in each step of time. Raises StoreError."""
        heartbeat = timedelta(seconds=self._settings.database.heartbeat)
        return await self._reader.utilization(participant, since, step, heartbeat)

    def why(
        self,
        view: View,
        alerts: Sequence[Alert],
        policy: PolicyName,
        failing: Mapping[tuple[str, str], str],
        now: datetime,
    ) -> list[Explained]:
        """Explains each rule that looks at a bucket."""
        rules = [rule for group in self.rules.rule_set.groups for rule in group.rules]
        return [
            Explained(found.rule.name, found.rule.severity, state(found), list(sentences(found, now)))
            for found in standing(rules, view, alerts, policy, failing)
        ]

    def rule_groups(self) -> list[RuleGroupStatus]:
        """Returns the rules in force with how each last went."""
        return [
            RuleGroupStatus(
                group.name, group.file, group.interval_seconds or 0.0, [self._status(rule) for rule in group.rules]
            )
            for group in self.rules.rule_set.groups
        ]

    async def reload(self) -> None:
        """Loads the rule files again. Raises RuleFileInvalid, and changes nothing then."""
        await self.rules.reload()

    def on_hangup(self) -> None:
        """Begins to do so; what is wrong is logged."""
        task = asyncio.create_task(self._reload_as_told())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_as_told(self) -> None:
        with suppress(RuleFileInvalid):
            await self.rules.reload()

    @property
    def ready(self) -> bool:
        """Whether the schema was once the right one, or the database is away.

        What is amiss with a database is named among the dependencies and hides nobody.
        """
        checked = self.leadership is not None and self.leadership.checked
        return checked or self._standing is Standing.UNREACHABLE

    @property
    def _standing(self) -> Standing:
        return self.leadership.standing if self.leadership is not None else Standing.STARTING

    def _status(self, rule: CompiledRule) -> RuleStatus:
        health = self.reconciler.health(rule.group, rule.name)
        return RuleStatus(
            name=rule.name,
            expr=rule.expr,
            for_seconds=rule.for_seconds,
            keep_firing_for_seconds=rule.keep_firing_for_seconds,
            labels={name: template.text for name, template in rule.labels.items()},
            annotations={name: template.text for name, template in rule.annotations.items()},
            health="unknown" if health is None else "ok" if health.error is None else "err",
            last_error=(health.error if health else None) or "",
            evaluated_at=health.evaluated_at if health else None,
            duration_seconds=health.duration_seconds if health else 0.0,
            had_series=self.reconciler.had_series(rule) if health and not rule.looks_at_an_event else None,
        )

    async def _lead(self, fence: Fence) -> None:
        relay = Relay(
            self._settings.pulsar,
            self._outbox,
            metrics=self.metrics,
            wake=self._work,
            fence=fence,
            outage=self._outage,
        )
        async with asyncio.TaskGroup() as group:
            if self._settings.alertmanager.targets:
                self._notifier = self._new_notifier(fence)
                group.create_task(self._notifier.run())
            group.create_task(self.reconciler.run(fence))
            group.create_task(self._maintain())
            group.create_task(self._count_outbox())
            if self._settings.pulsar.service_url is not None:
                self._relay = relay
                group.create_task(relay.run())
            for feed in self._feeds:
                group.create_task(feed.run())

    def _new_notifier(self, fence: Fence) -> Notifier:
        from exporter.notifier import Notifier
        from exporter.notifier.target import Right
        from exporter.store.notifications import Notifications

        return Notifier(
            self._settings,
            Notifications(self._database),
            metrics=self.metrics,
            wake=self._to_notify,
            right=Right(until=lambda: self._lease.held_until, now=fence.now),
            external_url=self._settings.alertmanager.external_url or own_url(self._settings.web),
        )

    def _wake(self) -> None:
        """Says to whoever hands on what was committed that there is something."""
        self._work.set()
        self._to_notify.set()

    def _carried(self) -> Collection[str]:
        """Returns whom the exporters poll; nobody while one of them is away, who may poll others."""
        if not all(client.connected for client in self.clients):
            return ()
        return {participant for client in self.clients for participant in client.participants}

    @property
    def _feeds(self) -> list[FeedClient | LocalFeed]:
        return [*self.clients, *([] if self.local is None else [self.local])]

    def _reset(self) -> None:
        """Knows nothing any more: the database tells where to go on, and the exporters have the polls."""
        self._relay = None
        self._notifier = None
        self.inbox.clear()
        self.reconciler.forget()
        self.metrics.withdraw_outbox()
        self.metrics.partitions_ready_months.withdraw()
        self.metrics.feed_connected.clear()
        for client in self.clients:
            client.forget()

    async def _waiting(self) -> None:
        """Forgets polls that another reconciler has gone past."""
        if self.local is not None and len(self.local):
            self.local.forget(await self._writer.last_polls(patience_seconds=PATIENCE_SECONDS))

    async def _maintain(self) -> None:
        """Keeps partitions ahead of the clock, and drops those past their retention."""
        while True:
            self._partition_missing.clear()
            complete = await self._maintain_once()
            with suppress(TimeoutError):
                async with asyncio.timeout(MAINTENANCE_SECONDS if complete else RETRY_SECONDS):
                    await self._partition_missing.wait()

    async def _maintain_once(self) -> bool:
        """Returns whether nothing is left for the next time."""
        complete = False
        try:
            done = await maintain(self._database, self._settings.database.retention_months)
        except DatabaseUnusable as error:
            if isinstance(error, DatabaseUnavailable) and error.is_away:
                self._outage.noticed(error)
            elif self._reminder.is_due(str(error)):
                log.warning("partitions wait for the database: %s", error)
        else:
            complete = done.complete
            if done.created or done.dropped:
                log.info("partitions made and dropped", extra={"made": len(done.created), "dropped": len(done.dropped)})
        try:
            ready = await readiness(self._database)
        except DatabaseUnusable:
            self.metrics.partitions_ready_months.withdraw()
            return False
        self.metrics.partitions_ready_months.set(ready.months)
        for table in ready.detached:
            log.error(
                "a table with a partition's name is no partition: attach it, or rename it and another one is made",
                extra={"table": table},
            )
        return complete and not ready.detached

    async def _count_outbox(self) -> None:
        while True:
            try:
                stats = await self._reader.outbox_stats()
            except DatabaseUnusable:
                self.metrics.withdraw_outbox()
            else:
                self.metrics.show_outbox(stats.pending, stats.oldest_age_seconds)
                for client in self.clients:
                    client.report(
                        Report(outbox_pending=stats.pending, outbox_oldest_age_seconds=stats.oldest_age_seconds)
                    )
            await asyncio.sleep(OUTBOX_SECONDS)

    def _dropped(self, polls: int) -> None:
        self.metrics.snapshots_dropped.labels("queue_full").inc(polls)

    def _announce(self, series: Collection[tuple[Severity, bool]]) -> None:
        for client in self.clients:
            client.report(Report(series=series))
