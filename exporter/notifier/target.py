"""What one Alertmanager has been sent, and what it is to be sent next."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from exporter.alerts.alert import Fingerprint
from exporter.config.settings import AlertmanagerSettings
from exporter.durations import Backoff
from exporter.errors import AlertmanagerUnavailable, AlertsRefused
from exporter.metrics.own_metrics import NotifierMetrics
from exporter.notifier.client import Client
from exporter.notifier.notice import Instance, Notice
from exporter.store.lease import Fence, Lease

log = logging.getLogger(__name__)

BATCH_ALERTS: Final = 64
"""Alerts in one request at most, as Prometheus has them."""
VALID_INTERVALS: Final = 4
"""For this many intervals an alert fires without being sent again, as with Prometheus: three may fail."""
EXTENDED_SECONDS: Final = 86_400.0
"""How long an alert fires, without being sent again, that was last sent while the database was away."""
BACKOFF: Final = Backoff(first_seconds=0.25, longest_seconds=5.0)
NO_LEASE_SECONDS: Final = 0.2
"""How often a process that may not send checks whether it may."""
_WITHOUT_LEASE: Final = "nothing is sent: the database is away, and the lease has ended"


@dataclass(frozen=True, slots=True)
class Sent:
    """What an Alertmanager was last sent of an alert, when (monotonic seconds), and whether for an extended time.

    ``refused``: it did not take it.
    """

    instance: Instance
    at: float
    extended: bool
    refused: bool = False


@dataclass(frozen=True, slots=True)
class SendPermission:
    """How long this process may send: as long as the lease is surely its own, by its own clock."""

    lease: Lease
    fence: Fence

    @property
    def left_seconds(self) -> float:
        return self.lease.held_until - time.monotonic()


def due(
    notices: Iterable[Notice], sent: dict[Fingerprint, Sent], *, at: float, resend_seconds: float, extend: bool
) -> list[Notice]:
    """Returns what is to be sent, in order: what is new, the most severe first; then what was sent longest ago.

    With ``extend`` everything that fires is, once.
    """
    new: list[Notice] = []
    again: list[Notice] = []
    for notice in notices:
        before = sent.get(notice.fingerprint)
        if before is None or before.instance != notice.instance:
            new.append(notice)
        elif at - before.at >= resend_seconds or (extend and notice.fires and not before.extended):
            again.append(notice)
    new.sort(key=lambda notice: (notice.urgency, notice.starts_at))
    again.sort(key=lambda notice: sent[notice.fingerprint].at)
    return new + again


class Target:
    """The Alertmanager at ``url``. ``message`` says why it takes nothing right now; None: it does.

    An alert that it refuses is left alone until it would be sent again; the others go on.
    """

    def __init__(
        self,
        url: str,
        settings: AlertmanagerSettings,
        *,
        metrics: NotifierMetrics,
        permission: SendPermission,
        interval_seconds: float,
    ) -> None:
        self.url = url
        self.message: str | None = "not asked yet"
        self._client = Client(url, settings)
        self._timeout_seconds = float(settings.timeout)
        self._resend_seconds = float(settings.resend_interval)
        self._valid_seconds = VALID_INTERVALS * max(self._resend_seconds, interval_seconds)
        self._metrics = metrics
        self._permission = permission
        self._notices: Sequence[Notice] = ()
        self._sent: dict[Fingerprint, Sent] = {}
        self._extend = False
        self._changed = asyncio.Event()
        self._sent_at = -self._resend_seconds
        self._failures = 0
        metrics.notifications.labels(url)
        metrics.errors.labels(url)

    def offer(self, notices: Sequence[Notice]) -> None:
        """Takes the notices that are to be sent from now on, in place of those before."""
        self._notices = notices
        fingerprints = {notice.fingerprint for notice in notices}
        self._sent = {key: sent for key, sent in self._sent.items() if key in fingerprints}
        self._changed.set()

    def extend(self, *, extend: bool) -> None:
        """Sets whether what fires is to go on firing for long, because soon nothing more may be sent."""
        if extend and not self._extend:
            self._changed.set()
        self._extend = extend

    async def run(self) -> None:
        """Sends until cancelled."""
        try:
            while True:
                self._changed.clear()
                if self._permission.left_seconds <= 0:
                    self._pause()
                    await asyncio.sleep(NO_LEASE_SECONDS)
                    continue
                now = time.monotonic()
                resend_seconds = self._resend_seconds
                batch = due(self._notices, self._sent, at=now, resend_seconds=resend_seconds, extend=self._extend)
                if batch or now - self._sent_at >= resend_seconds:
                    await self._try(batch[:BATCH_ALERTS])
                else:
                    await self._idle(now)
        finally:
            self._withdraw()
            await asyncio.shield(self._client.close())

    async def _try(self, batch: Sequence[Notice]) -> None:
        """Sends ``batch``, which may be empty: whether it would be taken is worth knowing."""
        try:
            taken = await self._send(batch)
        except AlertmanagerUnavailable as error:
            if str(error) != self.message:
                log.error("Alertmanager unusable, alerts wait", extra={"target": self.url, "error": str(error)})  # noqa: TRY400
            self.message = str(error)
            self._failures += 1
        else:
            if self.message is not None:
                log.info("Alertmanager usable", extra={"target": self.url})
            self.message = None
            # One that refuses everything is not asked without a pause.
            self._failures = 0 if taken or not batch else self._failures + 1
        self._metrics.alertmanager_up.labels(self.url).set(self.message is None)
        if self._failures:
            await asyncio.sleep(min(BACKOFF.seconds(self._failures), self._resend_seconds))

    async def _send(self, batch: Sequence[Notice]) -> int:
        """Returns how many were taken; those that it refuses are found by halves. Raises AlertmanagerUnavailable."""
        left_seconds = self._permission.left_seconds
        if left_seconds <= 0:
            raise AlertmanagerUnavailable("the lease ended meanwhile")
        extended, now, at = self._extend, self._permission.fence.now(), time.monotonic()
        self._sent_at = at
        valid_until = now + timedelta(seconds=EXTENDED_SECONDS if extended else self._valid_seconds)
        try:
            with self._metrics.duration.labels(self.url).time():
                await self._client.post(
                    [notice.body(valid_until) for notice in batch], min(self._timeout_seconds, left_seconds)
                )
        except AlertsRefused as error:
            if len(batch) > 1:
                half = len(batch) // 2
                return await self._send(batch[:half]) + await self._send(batch[half:])
            if not batch:
                raise AlertmanagerUnavailable(str(error)) from error
            self._refuse(batch[0], str(error), Sent(batch[0].instance, at, extended, refused=True))
            return 0
        except AlertmanagerUnavailable:
            self._metrics.errors.labels(self.url).inc(len(batch))
            raise
        self._metrics.notifications.labels(self.url).inc(len(batch))
        for notice in batch:
            self._sent[notice.fingerprint] = Sent(notice.instance, at, extended)
        return len(batch)

    def _refuse(self, notice: Notice, why: str, sent: Sent) -> None:
        self._metrics.errors.labels(self.url).inc()
        before = self._sent.get(notice.fingerprint)
        if before is None or not before.refused or before.instance != notice.instance:
            log.error(
                "Alertmanager refused an alert",
                extra={"target": self.url, "alertname": notice.name, "fingerprint": notice.fingerprint, "error": why},
            )
        self._sent[notice.fingerprint] = sent

    async def _idle(self, now: float) -> None:
        last = min((sent.at for sent in self._sent.values()), default=now)
        next_at = min(last, self._sent_at) + self._resend_seconds
        # The lease may end before.
        wait_seconds = min(max(next_at - now, 0.0), max(self._permission.left_seconds, 0.0)) + 0.01
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await self._changed.wait()

    def _pause(self) -> None:
        if self.message != _WITHOUT_LEASE:
            log.warning(
                "sending to Alertmanager paused: the database is away, and the lease has ended",
                extra={"target": self.url},
            )
        self.message = _WITHOUT_LEASE
        self._withdraw()

    def _withdraw(self) -> None:
        self._metrics.alertmanager_up.remove_by_labels({"target": self.url})
