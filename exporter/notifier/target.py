"""What one Alertmanager has been told, and what it is to be told next."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from exporter.backoff import Backoff
from exporter.errors import AlertmanagerUnavailable, AlertsRefused
from exporter.notifier.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from exporter.alerts.alert import Fingerprint
    from exporter.config import AlertmanagerSettings
    from exporter.metrics import Metrics
    from exporter.notifier.notice import Instance, Notice

log = logging.getLogger(__name__)

BATCH_ALERTS: Final = 64
"""Alerts in one request at most, as Prometheus has them."""

VALID_INTERVALS: Final = 4
"""For so many intervals an alert fires without being told again, as with Prometheus: three may fail."""

HELD_SECONDS: Final = 86_400.0
"""For so long an alert fires, without being told again, that was told last while the database was away."""

BACKOFF: Final = Backoff(first_seconds=0.25, longest_seconds=5.0)

NO_LEASE_SECONDS: Final = 0.2
"""How often who may not send looks whether it may."""


@dataclass(frozen=True, slots=True)
class Told:
    """What an Alertmanager was last told of an alert, when (monotonic), and whether to hold on to it."""

    instance: Instance
    at: float
    held: bool


class Right:
    """Until when this process may send: as long as its lease is its own, by its own clock.

    ``until`` returns that (monotonic seconds), ``now`` the time by the clock that all processes share.
    """

    def __init__(self, until: Callable[[], float], now: Callable[[], datetime]) -> None:
        self._until = until
        self.now = now

    @property
    def left_seconds(self) -> float:
        return self._until() - time.monotonic()


def due(
    notices: Iterable[Notice], told: dict[Fingerprint, Told], *, at: float, resend_seconds: float, hold: bool
) -> list[Notice]:
    """Returns what is to be told, in order: what is new, the most severe first; then what was told longest ago.

    With ``hold`` everything that fires is, once.
    """
    new: list[Notice] = []
    again: list[Notice] = []
    for notice in notices:
        before = told.get(notice.fingerprint)
        if before is None or before.instance != notice.instance:
            new.append(notice)
        elif at - before.at >= resend_seconds or (hold and notice.fires and not before.held):
            again.append(notice)
    new.sort(key=lambda notice: (notice.urgency, notice.starts_at))
    again.sort(key=lambda notice: told[notice.fingerprint].at)
    return new + again


class Target:
    """The Alertmanager at ``url``. ``message`` says why it takes nothing right now; None: it does.

    An alert that it refuses is left alone until it would be told again; the others go on.
    """

    def __init__(
        self,
        url: str,
        settings: AlertmanagerSettings,
        *,
        metrics: Metrics,
        right: Right,
        interval_seconds: float,
    ) -> None:
        self.url = url
        self.message: str | None = "not asked yet"
        self._client = Client(url, settings)
        self._timeout_seconds = float(settings.timeout)
        self._resend_seconds = float(settings.resend_interval)
        self._valid_seconds = VALID_INTERVALS * max(self._resend_seconds, interval_seconds)
        self._metrics = metrics
        self._right = right
        self._notices: Sequence[Notice] = ()
        self._told: dict[Fingerprint, Told] = {}
        self._refused: dict[Fingerprint, Instance] = {}
        self._hold = False
        self._changed = asyncio.Event()
        self._asked_at = -self._resend_seconds
        self._failures = 0
        metrics.notifications.labels(url)
        metrics.notification_errors.labels(url)

    def offer(self, notices: Sequence[Notice]) -> None:
        """Hears what is to be told from now on, in place of what was."""
        self._notices = notices
        known = {notice.fingerprint for notice in notices}
        self._told = {fingerprint: told for fingerprint, told in self._told.items() if fingerprint in known}
        self._refused = {fingerprint: seen for fingerprint, seen in self._refused.items() if fingerprint in known}
        self._changed.set()

    def hold(self, hold: bool) -> None:  # noqa: FBT001 - on or off
        """Hears whether what fires is to go on firing though nothing more may be said."""
        if hold and not self._hold:
            self._changed.set()
        self._hold = hold

    async def run(self) -> None:
        """Tells until cancelled."""
        try:
            while True:
                self._changed.clear()
                if self._right.left_seconds <= 0:
                    self._pause()
                    await asyncio.sleep(NO_LEASE_SECONDS)
                    continue
                now = time.monotonic()
                batch = self._due(now)[:BATCH_ALERTS]
                if batch or now - self._asked_at >= self._resend_seconds:
                    await self._turn(batch)
                else:
                    await self._idle(now)
        finally:
            self._withdraw()
            await asyncio.shield(self._client.close())

    def _due(self, now: float) -> list[Notice]:
        return due(self._notices, self._told, at=now, resend_seconds=self._resend_seconds, hold=self._hold)

    async def _turn(self, batch: Sequence[Notice]) -> None:
        """Tells ``batch``; nothing, where there is nothing to tell: whether it would be taken is worth knowing."""
        try:
            taken = await self._tell(batch)
        except AlertmanagerUnavailable as error:
            self._in_trouble(str(error))
            self._failures += 1
        else:
            self._out_of_trouble()
            # One that refuses everything is not asked without a pause.
            self._failures = 0 if taken or not batch else self._failures + 1
        if self._failures:
            wait_seconds = BACKOFF.seconds(self._failures)
            await asyncio.sleep(min(wait_seconds, self._resend_seconds))

    async def _tell(self, batch: Sequence[Notice]) -> int:
        """Returns how many were taken; those that it refuses are found by halves. Raises AlertmanagerUnavailable."""
        left_seconds = self._right.left_seconds
        if left_seconds <= 0:
            raise AlertmanagerUnavailable("the lease ended meanwhile")
        held, now, at = self._hold, self._right.now(), time.monotonic()
        self._asked_at = at
        valid_until = now + timedelta(seconds=HELD_SECONDS if held else self._valid_seconds)
        try:
            with self._metrics.notification_duration.labels(self.url).time():
                await self._client.post(
                    [notice.body(valid_until) for notice in batch], min(self._timeout_seconds, left_seconds)
                )
        except AlertsRefused as error:
            if len(batch) > 1:
                half = len(batch) // 2
                return await self._tell(batch[:half]) + await self._tell(batch[half:])
            if not batch:
                raise AlertmanagerUnavailable(str(error)) from error
            self._refuse(batch[0], str(error), Told(batch[0].instance, at, held))
            return 0
        except AlertmanagerUnavailable:
            self._metrics.notification_errors.labels(self.url).inc(len(batch))
            raise
        self._metrics.notifications.labels(self.url).inc(len(batch))
        for notice in batch:
            self._told[notice.fingerprint] = Told(notice.instance, at, held)
            self._refused.pop(notice.fingerprint, None)
        return len(batch)

    def _refuse(self, notice: Notice, why: str, told: Told) -> None:
        self._metrics.notification_errors.labels(self.url).inc()
        self._told[notice.fingerprint] = told
        if self._refused.get(notice.fingerprint) != notice.instance:
            log.error(
                "an Alertmanager refuses an alert: %s",
                why,
                extra={"target": self.url, "alertname": notice.name, "fingerprint": notice.fingerprint},
            )
        self._refused[notice.fingerprint] = notice.instance

    async def _idle(self, now: float) -> None:
        last = min((told.at for told in self._told.values()), default=now)
        next_at = min(last, self._asked_at) + self._resend_seconds
        # The lease may end before.
        wait_seconds = min(max(next_at - now, 0.0), max(self._right.left_seconds, 0.0)) + 0.01
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await self._changed.wait()

    def _pause(self) -> None:
        if self.message != _WITHOUT_LEASE:
            log.warning(
                "nothing is sent to an Alertmanager: the database is away, and the lease has ended",
                extra={"target": self.url},
            )
        self.message = _WITHOUT_LEASE
        self._withdraw()

    def _withdraw(self) -> None:
        self._metrics.alertmanager_up.remove_by_labels({"target": self.url})

    def _in_trouble(self, message: str) -> None:
        if message != self.message:
            log.error("alerts wait for an Alertmanager: %s", message, extra={"target": self.url})
        self.message = message
        self._metrics.alertmanager_up.labels(self.url).set(0)

    def _out_of_trouble(self) -> None:
        if self.message is not None:
            log.info("an Alertmanager takes alerts", extra={"target": self.url})
        self.message = None
        self._metrics.alertmanager_up.labels(self.url).set(1)


_WITHOUT_LEASE: Final = "nothing is sent: the database is away, and the lease has ended"
