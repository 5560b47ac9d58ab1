"""The lease: one reconciler leads, others wait. It also detects a database restored from an older copy.

A row says who holds it, until when (by the database's clock), and in which epoch. Every transaction of a reconciler
locks that row and compares the epoch with its own (`Fence`), and acquiring the lease begins a new one: a holder that
was thought dead can commit nothing, and no process takes over in the middle of a commit.

`exporter.reconciler.leadership` renews it. Each renewal and each commit increments a counter. A counter that is not
above its last committed value is that of an older copy of the database: restored files, a snapshot, a standby that
lagged.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias

from psycopg import AsyncConnection
from psycopg import errors as pg

from exporter.errors import DatabaseReverted, LeaseLost
from exporter.store.database import Database, queries

Component: TypeAlias = Literal["reconciler", "relay", "compaction"]
"""What commits under the lease; each has a counter of its own, so that none waits for another."""

_SQL: Final = queries("lease")
PATIENCE_SECONDS: Final = 4.0
"""How long the leader, or a candidate, waits for an answer before the database counts as away."""


class Lease:
    """The right to reconcile, for ``ttl_seconds`` at a time. ``holder`` names this process, and no other."""

    def __init__(self, database: Database, holder: str, ttl_seconds: float = 8.0) -> None:
        self.holder = holder
        self.epoch: int | None = None
        self.leader: str | None = None
        """Who held the lease when it was last read: this process or another. None: no process, or unknown."""
        self._database = database
        self.ttl_seconds = ttl_seconds
        self.held_until = float("-inf")
        """Until when (monotonic seconds) it is certainly this holder's, whatever has happened to the database since."""
        self._renewals = 0

    async def acquire(self) -> Fence | None:
        """Returns what the holder may do in its new epoch; None while another holds the lease.

        Raises DatabaseUnavailable.
        """
        requested_at = time.monotonic()
        row = await self._execute("acquire", lock="1s")
        self.epoch = None
        if row is None:  # locked
            return None
        epoch, renewals, commits, at, self.leader = row
        if epoch is None:
            return None
        self.epoch, self._renewals, self.leader = epoch, renewals, self.holder
        self.held_until = requested_at + self.ttl_seconds
        return Fence(self._database, holder=self.holder, epoch=epoch, commits=commits, at=at)

    async def renew(self) -> None:
        """Keeps the lease. Raises LeaseLost where another has taken it, DatabaseReverted; DatabaseUnavailable."""
        if self.epoch is None:
            raise LeaseLost(f"{self.holder} does not hold the lease")
        requested_at = time.monotonic()
        epoch, holder, renewals = await self._execute("renew") or (0, None, None)
        ours, self.epoch, held_until = self.epoch, None, self.held_until
        self.held_until = float("-inf")
        _check_owner(epoch, holder, ours=ours, me=self.holder)
        if renewals is None:  # the row was read before the other acquired it
            raise LeaseLost(f"{self.holder} no longer holds the lease (epoch {ours}); another is taking it")
        if renewals <= self._renewals:
            raise _older_copy(f"the lease was renewed {self._renewals} times, and says {renewals}")
        self.epoch, self._renewals = ours, renewals
        self.held_until = max(held_until, requested_at + self.ttl_seconds)

    async def release(self) -> None:
        """Releases the lease, if it is held: another may acquire it at once. Raises DatabaseUnavailable."""
        if self.epoch is not None:
            self.held_until = float("-inf")
            await self._execute("release")
            self.epoch = None

    async def _execute(self, name: str, *, lock: str = "3s") -> tuple[Any, ...] | None:
        parameters = {"holder": self.holder, "epoch": self.epoch, "ttl_seconds": self.ttl_seconds}
        async with self._database.transaction(patience_seconds=PATIENCE_SECONDS) as connection:
            try:
                async with connection.transaction():
                    await connection.execute(_SQL["settings"], {"lock": lock})
                    cursor = await connection.execute(_SQL[name], parameters)
                    return await cursor.fetchone() if cursor.description else None
            except pg.LockNotAvailable:
                if name != "acquire":
                    raise
                # The holder is committing, or was when it froze.
                await connection.execute(_SQL["end_frozen"])
        return None


class Fence:
    """Transactions that only the ``holder`` of the lease can commit, in its ``epoch``.

    ``commits`` says how often each component had committed when the epoch began at ``at``, by the database's clock.
    """

    def __init__(
        self, database: Database, *, holder: str, epoch: int, commits: Mapping[Component, int], at: datetime
    ) -> None:
        self.holder = holder
        self.epoch = epoch
        self._database = database
        self._commits = dict(commits)
        self._read_at, self._read_at_monotonic = at, time.monotonic()

    def now(self) -> datetime:
        """Returns the time by the database's clock, which all processes share: last read, plus the time since."""
        return self._read_at + timedelta(seconds=time.monotonic() - self._read_at_monotonic)

    @asynccontextmanager
    async def transaction(self, component: Component) -> AsyncIterator[AsyncConnection[Any]]:
        """Lends a connection inside a transaction. Raises as `Database.transaction` does.

        Also LeaseLost where another has taken the lease, and DatabaseReverted: nothing is committed.
        """
        async with self._database.transaction() as connection:
            commits = await self._lock(connection, component)
            yield connection
        self._commits[component] = max(self._commits[component], commits)

    @asynccontextmanager
    async def long_transaction(self, component: Component) -> AsyncIterator[AsyncConnection[Any]]:
        """As `transaction`, for what takes seconds: the lease is locked at the end, and can be renewed meanwhile."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["bound_long"])
            yield connection
            commits = await self._lock(connection, component)
        self._commits[component] = max(self._commits[component], commits)

    async def _lock(self, connection: AsyncConnection[Any], component: Component) -> int:
        """Locks the lease until the transaction ends, and returns how often the component will have committed then."""
        # Not in a pipeline: PostgreSQL would forget the idle timeout where the driver asks it to flush.
        row = await (await connection.execute(_SQL["fence"], {"part": component})).fetchone()
        epoch, holder, commits, at = row or (0, None, 0, self.now())
        _check_owner(epoch, holder, ours=self.epoch, me=self.holder)
        if commits <= self._commits[component]:
            committed = self._commits[component]
            raise _older_copy(f"the {component} has committed {committed} times, and it says {commits - 1}")
        self._read_at, self._read_at_monotonic = at, time.monotonic()
        return int(commits)


def _check_owner(epoch: int, holder: str | None, *, ours: int, me: str) -> None:
    """Raises LeaseLost; DatabaseReverted where the lease is as it was before it was ours."""
    if epoch < ours or (epoch == ours and holder not in (me, None)):
        raise _older_copy(f"the lease is in epoch {epoch}, and was in epoch {ours}")
    if epoch > ours or holder is None:
        raise LeaseLost(
            f"{me} no longer holds the lease (epoch {ours}); "
            f"{f'{holder} took it' if holder else 'it was released'}; nothing was committed"
        )


def _older_copy(why: str) -> DatabaseReverted:
    return DatabaseReverted(f"the database has become an older copy of itself: {why}; everything is read again from it")
