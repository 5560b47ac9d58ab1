"""One reconciler leads, others wait.

::

    STARTING ──► WAITING ◄──► LEADING
        │           │            │
        └───────────┴─────┬──────┘
                          ▼
        DATABASE_UNUSABLE, SCHEMA_MISMATCH, ACCESS_DENIED: the database cannot be used

A waiting process neither reconciles nor polls (two pollers would drain
POLICIES_LIST). One that cannot use the database polls: it cannot learn
whether another does, and blindness is worse.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

from exporter.errors import AccessDenied, DatabaseUnusable, LeaseLost, SchemaMismatch, first_of
from exporter.metrics.own_metrics import ReconcilerMetrics
from exporter.poller.polling import Polling
from exporter.store.database import DatabaseOutage
from exporter.store.lease import Fence, Lease

log = logging.getLogger(__name__)

RENEW_SECONDS: Final = 2.0
"""How often the lease is renewed; it expires after `Lease.ttl_seconds`."""

RELEASE_SECONDS: Final = 1.0
"""How long a process that ends tries to release the lease; after that it expires."""


class LeadershipState(StrEnum):
    """What this process is among its peers."""

    STARTING = "starting"
    WAITING = "waiting"
    LEADING = "leading"
    DATABASE_UNUSABLE = "database unusable"
    SCHEMA_MISMATCH = "schema mismatch"
    ACCESS_DENIED = "access denied"


class Candidate(Protocol):
    """The reconciler that wants to lead.

    ``check_schema`` is called before the lease is taken, ``stand_by`` again and again while another leads; both raise
    DatabaseUnusable. ``lead`` does everything that a leader does, until cancelled, and raises LeaseLost. ``reset`` is
    called when the lease was lost: nothing that the leader knew counts any more.
    """

    async def check_schema(self) -> None: ...
    async def lead(self, fence: Fence) -> None: ...
    async def stand_by(self) -> None: ...
    def reset(self) -> None: ...


@dataclass(slots=True)
class Leadership:
    """Takes the lease, leads while it holds, and releases it."""

    lease: Lease
    candidate: Candidate
    metrics: ReconcilerMetrics
    outage: DatabaseOutage = field(default_factory=DatabaseOutage)
    renew_seconds: float = RENEW_SECONDS
    retry_seconds: float = 1.0
    state: LeadershipState = LeadershipState.STARTING
    error: str | None = None
    """Why the database cannot be used; None: it can, or that is not known yet."""
    schema_checked: bool = False
    """Whether the schema was ever found to be the one that this version needs."""
    _polling: Polling | None = None
    _logged: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.metrics.lease_held.set(0)

    async def run(self, polling: Polling | None = None) -> None:
        """Leads or waits until cancelled, then releases the lease. ``polling`` is that of this process, if it polls."""
        self._polling = polling
        try:
            while True:
                fence = await self._acquire()
                if fence is not None:
                    await self._lead(fence)
                await asyncio.sleep(self.retry_seconds)
        finally:
            # Where it cannot be released it expires.
            with suppress(DatabaseUnusable, LeaseLost, TimeoutError):
                await asyncio.shield(asyncio.wait_for(self.lease.release(), RELEASE_SECONDS))

    async def _acquire(self) -> Fence | None:
        try:
            await self.candidate.check_schema()
            self.schema_checked = True
            fence = await self.lease.acquire()
            if fence is None:
                self._set_state(LeadershipState.WAITING, leader=self.lease.leader or "another process")
                if self._polling is not None:
                    await self._polling.stop()
                await self.candidate.stand_by()
        except DatabaseUnusable as error:
            self.metrics.database_up.set(0)
            self._set_unusable(error)
            self._poll()
            return None
        self.metrics.database_up.set(1)
        return fence

    async def _lead(self, fence: Fence) -> None:
        self._set_state(LeadershipState.LEADING, epoch=fence.epoch)
        self.metrics.lease_held.set(1)
        self._poll()
        try:
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self.candidate.lead(fence))
                group.create_task(self._renew(work, fence.epoch))
        except* LeaseLost as lost:
            log.error("lease lost", extra={"error": str(first_of(lost))})  # noqa: TRY400 - the sentence is enough
            self.candidate.reset()
        finally:
            self.metrics.lease_held.set(0)

    async def _renew(self, work: asyncio.Task[None], epoch: int) -> None:
        loop = asyncio.get_running_loop()
        held_until = loop.time() + self.lease.ttl_seconds
        while not work.done():
            await asyncio.sleep(self.renew_seconds)
            began_at = loop.time()
            try:
                await self.lease.renew()
            except DatabaseUnusable as error:
                # No other can lead either; the epoch fences what was missed.
                self.metrics.database_up.set(0)
                self._set_unusable(error)
                if loop.time() >= held_until:
                    self.metrics.lease_held.set(0)
            else:
                held_until = began_at + self.lease.ttl_seconds
                self.metrics.database_up.set(1)
                self.metrics.lease_held.set(1)
                self._set_state(LeadershipState.LEADING, epoch=epoch)

    def _poll(self) -> None:
        if self._polling is not None:
            self._polling.start()

    def _set_state(self, state: LeadershipState, **fields: object) -> None:
        """The database can be used."""
        self.error = None
        was_away = self.outage.over()
        if state is not self.state and not (was_away and fields == self._logged):
            log.info(state.value, extra=fields)
        self.state, self._logged = state, fields

    def _set_unusable(self, error: DatabaseUnusable) -> None:
        """The database cannot be used. The holder of the lease logs this as any other process does."""
        self.error = str(error)
        if isinstance(error, (SchemaMismatch, AccessDenied)):
            denied = isinstance(error, AccessDenied)
            state = LeadershipState.ACCESS_DENIED if denied else LeadershipState.SCHEMA_MISMATCH
            if state is not self.state:
                log.error(state.value, extra={"error": str(error)})
        else:
            state = LeadershipState.DATABASE_UNUSABLE
            self.outage.noticed(error)
        self.state = state
