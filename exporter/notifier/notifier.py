"""Reads committed alerts and passes them to one sender task per Alertmanager."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from exporter import telemetry
from exporter.alerts.alert import Alert, AlertState, Fingerprint
from exporter.config.settings import Settings
from exporter.errors import DatabaseUnusable
from exporter.metrics.own_metrics import NotifierMetrics
from exporter.notifier.notice import Notice, figures, notice_of
from exporter.notifier.target import SendPermission, Target
from exporter.store.alerts_to_notify import AlertsToNotify, Bucket, BucketState, Span, SpanSummary

log = logging.getLogger(__name__)

RESOLVED_SECONDS: Final = 900.0
"""How long a resolved alert is sent again and again, as by Prometheus."""
RETRY_SECONDS: Final = 1.0
"""How soon a database that did not answer is asked again."""
LEASE_ENDING_SECONDS: Final = 3.0
"""Where the lease expires sooner than this, its renewal has failed: the `endsAt` of firing alerts is pushed out."""
LEASE_CHECK_SECONDS: Final = 0.25
SUMMARIZING_SECONDS: Final = 1.0
"""Time per refresh for what happened to the buckets since; the rest wait for the next one."""
SPANS_AT_ONCE: Final = 32
BEFORE_ALERT: Final = timedelta(minutes=1)
"""What raised an alert happened before it fired: counts of 429s look back for a minute."""


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
        self._summaries: dict[tuple[Fingerprint, datetime], SpanSummary] = {}
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
        await self._summarize(alerts)
        notices = [self._notice(alert, levels) for alert in alerts]
        for target in self.targets:
            target.offer(notices)

    def _notice(self, alert: Alert, levels: dict[Bucket, BucketState]) -> Notice:
        annotations: dict[str, str] = {}
        if alert.policy is not None:
            level, summary = levels.get((alert.participant, alert.policy)), self._summaries.get(_instance(alert))
            annotations = figures(alert, level, summary, self._zone)
        return notice_of(alert, annotations, external_labels=self._external_labels, external_url=self._external_url)

    async def _levels(self, alerts: Sequence[Alert]) -> dict[Bucket, BucketState]:
        """Returns nothing where the database is too slow to answer: an alert waits for no figure."""
        buckets = {(alert.participant, alert.policy) for alert in alerts if alert.policy is not None}
        if not buckets:
            return {}
        with suppress(DatabaseUnusable):
            return await self._notifications.levels(sorted(buckets))
        return {}

    async def _summarize(self, alerts: Sequence[Alert]) -> None:
        """Notes what happened to the bucket of each alert since it fired, from the states since the last refresh."""
        keys = set(map(_instance, alerts))
        self._summaries = {key: summary for key, summary in self._summaries.items() if key in keys}
        self._resolved &= keys
        left = [a for a in alerts if a.policy is not None and _instance(a) not in self._resolved]
        # Short ones first: an alert that has fired for weeks takes longer to look through, once.
        left.sort(key=lambda alert: alert.active_since, reverse=True)
        until = time.monotonic() + SUMMARIZING_SECONDS
        while left and time.monotonic() < until:
            some, left = left[:SPANS_AT_ONCE], left[SPANS_AT_ONCE:]
            with suppress(DatabaseUnusable):
                self._note(some, await self._notifications.summaries([self._span(alert) for alert in some]))

    def _span(self, alert: Alert) -> Span:
        summary = self._summaries.get(_instance(alert))
        since = (alert.firing_since or alert.active_since) - BEFORE_ALERT if summary is None else summary.last_polled_at
        return Span(alert.participant, alert.policy or "", since, alert.resolved_at)

    def _note(self, alerts: Sequence[Alert], summaries: Sequence[SpanSummary | None]) -> None:
        for alert, summary in zip(alerts, summaries, strict=True):
            if summary is not None:
                before = self._summaries.get(_instance(alert))
                self._summaries[_instance(alert)] = summary if before is None else before.with_later(summary)
            if alert.state is AlertState.RESOLVED:
                self._resolved.add(_instance(alert))


def _instance(alert: Alert) -> tuple[Fingerprint, datetime]:
    return alert.fingerprint, alert.active_since
