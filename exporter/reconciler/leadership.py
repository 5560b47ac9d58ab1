"""One reconciler works, others wait.

A waiting process neither reconciles nor polls (two pollers would drain
POLICIES_LIST). One that cannot reach the database polls: nobody can tell it
that another does, and blindness is worse.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from exporter.errors import AccessDenied, DatabaseUnusable, LeaseLost, SchemaMismatch, first_of
from exporter.telemetry import Outage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from exporter.metrics import Metrics
    from exporter.store.lease import Fence, Lease

log = logging.getLogger(__name__)

RENEW_SECONDS: Final = 2.0
RETRY_SECONDS: Final = 1.0
RELEASE_SECONDS: Final = 1.0


class Standing(StrEnum):
    """What this process is among its peers."""

    STARTING = "starting"
    WAITING = "waiting"
    LEADING = "leading"
    UNREACHABLE = "database unusable"
    MISMATCH = "schema mismatch"
    DENIED = "access denied"


class Polling(Protocol):
    """Polling that can be started and stopped; both may be called again."""

    def start(self) -> None: ...
    async def stop(self) -> None: ...


class Leadership:
    """Takes the lease, works while it holds, and gives it back.

    ``check`` is called before the lease is taken and raises DatabaseUnusable;
    ``work`` does everything a leader does, until cancelled or LeaseLost;
    ``reset`` is called when it lost the lease: nothing that it knew counts any more;
    ``waiting`` is called again and again while another leads. It may raise DatabaseUnusable.
    """

    def __init__(
        self,
        lease: Lease,
        *,
        check: Callable[[], Awaitable[None]],
        work: Callable[[Fence], Awaitable[None]],
        polling: Polling | None,
        reset: Callable[[], None],
        waiting: Callable[[], Awaitable[None]],
        metrics: Metrics,
        outage: Outage | None = None,
    ) -> None:
        self.standing = Standing.STARTING
        self.trouble: str | None = None
        """Why the database cannot be used; None: it can, or that is not known yet."""
        self.checked = False
        """Whether the schema was ever found to be the one that this version needs."""
        self._lease = lease
        self._check = check
        self._work = work
        self._polling = polling
        self._reset = reset
        self._waiting = waiting
        self._metrics = metrics
        self._outage = outage or Outage("database")
        self._told = ""
        metrics.lease_held.set(0)

    @property
    def leader(self) -> str | None:
        """Who leads, as far as is known."""
        return self._lease.leader

    async def run(self) -> None:
        """Leads or waits until cancelled, then gives the lease back."""
        try:
            while True:
                fence = await self._acquire()
                if fence is not None:
                    await self._lead(fence)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            # Whoever cannot give it back lets it expire.
            with suppress(DatabaseUnusable, LeaseLost, TimeoutError):
                await asyncio.shield(self._release())

    async def _release(self) -> None:
        async with asyncio.timeout(RELEASE_SECONDS):
            await self._lease.release()

    async def _acquire(self) -> Fence | None:
        try:
            await self._check()
            self.checked = True
            fence = await self._lease.acquire()
            if fence is None:
                self._stand(Standing.WAITING, f"{self._lease.leader or 'another process'} leads")
                if self._polling is not None:
                    await self._polling.stop()
                await self._waiting()
        except DatabaseUnusable as error:
            self._metrics.database_up.set(0)
            self._stand_without(error)
            self._poll()
            return None
        self._metrics.database_up.set(1)
        return fence

    async def _lead(self, fence: Fence) -> None:
        self._stand(Standing.LEADING, f"epoch {fence.epoch}")
        self._metrics.lease_held.set(1)
        self._poll()
        try:
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self._do(fence))
                group.create_task(self._renew(work, fence.epoch))
        except* LeaseLost as lost:
            log.error("%s", first_of(lost))  # noqa: TRY400 - the sentence is enough
            self._reset()
        finally:
            self._metrics.lease_held.set(0)

    async def _do(self, fence: Fence) -> None:
        await self._work(fence)

    async def _renew(self, work: asyncio.Task[None], epoch: int) -> None:
        loop = asyncio.get_running_loop()
        held_until = loop.time() + self._lease.ttl_seconds
        while not work.done():
            await asyncio.sleep(RENEW_SECONDS)
            asked_at = loop.time()
            try:
                await self._lease.renew()
            except DatabaseUnusable as error:
                # Nobody else can lead either; the epoch fences what was missed.
                self._metrics.database_up.set(0)
                self._stand_without(error)
                if loop.time() >= held_until:
                    self._metrics.lease_held.set(0)
            else:
                held_until = asked_at + self._lease.ttl_seconds
                self._metrics.database_up.set(1)
                self._metrics.lease_held.set(1)
                self._stand(Standing.LEADING, f"epoch {epoch}")

    def _poll(self) -> None:
        if self._polling is not None:
            self._polling.start()

    def _stand(self, standing: Standing, why: str) -> None:
        """The database can be used."""
        self.trouble = None
        was_away = self._outage.over()
        if standing is not self.standing and not (was_away and why == self._told):
            log.info("%s: %s", standing, why)
        self.standing, self._told = standing, why

    def _stand_without(self, error: DatabaseUnusable) -> None:
        """It cannot: who still leads by the lease, and who does not, says so alike."""
        self.trouble = str(error)
        if isinstance(error, (SchemaMismatch, AccessDenied)):
            standing = Standing.MISMATCH if isinstance(error, SchemaMismatch) else Standing.DENIED
            if standing is not self.standing:
                log.error("%s: %s", standing, error)
        else:
            standing = Standing.UNREACHABLE
            self._outage.noticed(error)
        self.standing = standing
