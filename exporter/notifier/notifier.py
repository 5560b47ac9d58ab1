"""Reads committed alerts and passes them to one sender task per Alertmanager."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from exporter import telemetry
from exporter.alerts.alert import Alert, AlertState, Fingerprint
from exporter.config.settings import Settings
from exporter.errors import DatabaseUnusable
from exporter.metrics.own_metrics import NotifierMetrics
from exporter.notifier.notice import Notice, figures, notice_of
from exporter.notifier.target import SendPermission, Target
from exporter.store.alerts_to_notify import AlertsToNotify, Bucket, BucketState, Span

log = logging.getLogger(__name__)

RESOLVED_SECONDS: Final = 900.0
"""How long a resolved alert is sent again and again, as by Prometheus."""
RETRY_SECONDS: Final = 1.0
"""How soon a database that did not answer is asked again."""
LEASE_ENDING_SECONDS: Final = 3.0
"""Where the lease expires sooner than this, its renewal has failed: the `endsAt` of firing alerts is pushed out."""
LEASE_CHECK_SECONDS: Final = 0.25
LOWEST_SECONDS: Final = 1.0
"""Time per refresh for finding lowest levels; the rest wait for the next one."""
LOWEST_SPANS: Final = 32


class Notifier:
    """Sends every configured Alertmanager what fires, for the lease's holder. ``wake`` is set after each commit.

    ``external_url`` is what an alert's link begins with; None: it has none.
    """

    def __init__(
        self,
        settings: Settings,
        notifications: AlertsToNotify,
        *,
        metrics: NotifierMetrics,
        wake: asyncio.Event,
        permission: SendPermission,
        external_url: str | None,
    ) -> None:
        interval = float(settings.poll.interval)
        self.targets = [
            Target(url, settings.alertmanager, metrics=metrics, permission=permission, interval_seconds=interval)
            for url in settings.alertmanager.targets
        ]
        self._refresh_seconds = float(settings.alertmanager.resend_interval)
        self._zone = ZoneInfo(settings.alertmanager.timezone)
        self._external_labels = settings.external_labels
        self._external_url = external_url
        self._notifications = notifications
        self._wake = wake
        self._permission = permission
        self._lowest: dict[tuple[Fingerprint, datetime], tuple[int, datetime]] = {}
        self._resolved: set[tuple[Fingerprint, datetime]] = set()
        self._reminder = telemetry.Reminder()

    async def run(self) -> None:
        """Sends until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._watch_lease())
            for target in self.targets:
                group.create_task(target.run())

    async def _watch(self) -> None:
        while True:
            self._wake.clear()
            wait_seconds = self._refresh_seconds
            try:
                await self._refresh()
            except DatabaseUnusable as error:
                # What was read last is sent again: nothing else is known to have happened.
                wait_seconds = RETRY_SECONDS
                if self._reminder.is_due(str(error)):
                    log.warning(
                        "database unusable, sending Alertmanager what was last read", extra={"error": str(error)}
                    )
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._wake.wait()

    async def _watch_lease(self) -> None:
        while True:
            ending = 0 < self._permission.left_seconds < LEASE_ENDING_SECONDS
            for target in self.targets:
                target.extend(extend=ending)
            await asyncio.sleep(LEASE_CHECK_SECONDS)

    async def _refresh(self) -> None:
        """Hands on what the database holds. Raises DatabaseUnusable."""
        alerts = await self._notifications.alerts(RESOLVED_SECONDS)
        levels = await self._levels(alerts)
        await self._find_lowest(alerts)
        notices = [self._notice(alert, levels) for alert in alerts]
        for target in self.targets:
            target.offer(notices)

    def _notice(self, alert: Alert, levels: dict[Bucket, BucketState]) -> Notice:
        annotations: dict[str, str] = {}
        if alert.policy is not None:
            lowest, _ = self._lowest.get(_instance(alert), (None, None))
            annotations = figures(alert, levels.get((alert.participant, alert.policy)), lowest, self._zone)
        return notice_of(alert, annotations, external_labels=self._external_labels, external_url=self._external_url)

    async def _levels(self, alerts: Sequence[Alert]) -> dict[Bucket, BucketState]:
        """Returns nothing where the database is too slow to answer: an alert waits for no figure."""
        buckets = {(alert.participant, alert.policy) for alert in alerts if alert.policy is not None}
        if not buckets:
            return {}
        with suppress(DatabaseUnusable):
            return await self._notifications.levels(sorted(buckets))
        return {}

    async def _find_lowest(self, alerts: Sequence[Alert]) -> None:
        """Notes the lowest level since each alert began to fire, from the states since the last refresh."""
        keys = set(map(_instance, alerts))
        self._lowest = {key: lowest for key, lowest in self._lowest.items() if key in keys}
        self._resolved &= keys
        left = [a for a in alerts if a.policy is not None and _instance(a) not in self._resolved]
        # Short ones first: an alert that has fired for weeks takes longer to look through, once.
        left.sort(key=lambda alert: alert.active_since, reverse=True)
        until = time.monotonic() + LOWEST_SECONDS
        while left and time.monotonic() < until:
            some, left = left[:LOWEST_SPANS], left[LOWEST_SPANS:]
            with suppress(DatabaseUnusable):
                self._note_lowest(some, await self._notifications.lowest([self._span(alert) for alert in some]))

    def _span(self, alert: Alert) -> Span:
        _, since = self._lowest.get(_instance(alert), (None, alert.firing_since or alert.active_since))
        return Span(alert.participant, alert.policy or "", since, alert.resolved_at)

    def _note_lowest(self, alerts: Sequence[Alert], lowest_levels: Sequence[tuple[int, datetime] | None]) -> None:
        for alert, lowest in zip(alerts, lowest_levels, strict=True):
            if lowest is not None:
                tokens, at = lowest
                before, _ = self._lowest.get(_instance(alert), lowest)
                self._lowest[_instance(alert)] = min(tokens, before), at
            if alert.state is AlertState.RESOLVED:
                self._resolved.add(_instance(alert))


def _instance(alert: Alert) -> tuple[Fingerprint, datetime]:
    return alert.fingerprint, alert.active_since
