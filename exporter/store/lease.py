"""The lease: one reconciler works, others wait; and the database that it is of has not gone back.

A row says who holds it, until when (by the database's clock), and in which
epoch. Every transaction of a reconciler locks that row and finds its own epoch
in it (`Fence`), and taking the lease begins a new one: a holder that was thought
dead can commit nothing, and nobody takes over in the middle of a commit.

Each renewal and each commit counts a number up. A number that is not above the
last one that was committed is that of an older copy of the database: files that
were put back, a snapshot, a standby that lagged.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from psycopg import errors as pg

from exporter.errors import DatabaseWentBack, LeaseLost
from exporter.store import queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from psycopg import AsyncConnection

    from exporter.store.database import Database

Part: TypeAlias = Literal["reconciler", "relay"]
"""What commits under the lease; each counts for itself, so that none waits for another."""

_SQL: Final = queries.load("lease")
PATIENCE_SECONDS: Final = 4.0
"""How long who leads, or wants to, waits for an answer before the database counts as away."""


class Lease:
    """The right to reconcile, for ``ttl_seconds`` at a time. ``holder`` names this process, and no other."""

    def __init__(self, database: Database, holder: str, ttl_seconds: float = 8.0) -> None:
        self.holder = holder
        self.epoch: int | None = None
        self.leader: str | None = None
        """Who held the lease when it was last looked at; this one or another. None: nobody, or not known."""
        self._database = database
        self.ttl_seconds = ttl_seconds
        self.held_until = float("-inf")
        """Until when (monotonic seconds) it is surely this holder's, whatever became of the database since."""
        self._renewals = 0

    async def acquire(self) -> Fence | None:
        """Returns what the holder may do in its new epoch; None while another holds the lease.

        Raises DatabaseUnavailable.
        """
        asked_at = time.monotonic()
        row = await self._execute("acquire", lock="1s")
        self.epoch = None
        if row is None:  # it is locked
            return None
        epoch, renewals, commits, at, self.leader = row
        if epoch is None:
            return None
        self.epoch, self._renewals, self.leader = epoch, renewals, self.holder
        self.held_until = asked_at + self.ttl_seconds
        return Fence(self._database, holder=self.holder, epoch=epoch, commits=commits, at=at)

    async def renew(self) -> None:
        """Keeps the lease.

        Raises LeaseLost where another has taken it, DatabaseWentBack;
        DatabaseUnavailable.
        """
        if self.epoch is None:
            raise LeaseLost(f"{self.holder} does not hold the lease")
        asked_at = time.monotonic()
        epoch, holder, renewals = await self._execute("renew") or (0, None, None)
        ours, self.epoch, held_until = self.epoch, None, self.held_until
        self.held_until = float("-inf")
        _check_owner(epoch, holder, ours=ours, me=self.holder)
        if renewals is None:  # what was read is from before the other took it
            raise LeaseLost(f"{self.holder} no longer holds the lease (epoch {ours}); another is taking it")
        if renewals <= self._renewals:
            raise _went_back(f"the lease was renewed {self._renewals} times, and says {renewals}")
        self.epoch, self._renewals = ours, renewals
        self.held_until = max(held_until, asked_at + self.ttl_seconds)

    async def release(self) -> None:
        """Gives the lease back, if it is held: another may take it at once. Raises DatabaseUnavailable."""
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

    ``commits`` says how often each part had committed when the epoch began, ``at`` when that was, by the database's
    clock.
    """

    def __init__(
        self, database: Database, *, holder: str, epoch: int, commits: Mapping[Part, int], at: datetime
    ) -> None:
        self.holder = holder
        self.epoch = epoch
        self._database = database
        self._commits = dict(commits)
        self._looked_at, self._looked_monotonic = at, time.monotonic()

    def now(self) -> datetime:
        """Returns the time by the database's clock, the one that all processes share, as it went on since last seen."""
        return self._looked_at + timedelta(seconds=time.monotonic() - self._looked_monotonic)

    @asynccontextmanager
    async def transaction(self, part: Part) -> AsyncIterator[AsyncConnection[Any]]:
        """Lends a connection inside a transaction.

        Raises LeaseLost where another has taken the lease, DatabaseWentBack
        (nothing is committed); and as `Database.connection` does.
        """
        async with self._database.transaction() as connection:
            # Not in a pipeline: PostgreSQL would forget the idle timeout where the driver asks it to flush.
            row = await (await connection.execute(_SQL["fence"], {"part": part})).fetchone()
            epoch, holder, commits, at = row or (0, None, 0, self.now())
            _check_owner(epoch, holder, ours=self.epoch, me=self.holder)
            if commits <= self._commits[part]:
                raise _went_back(f"the {part} has committed {self._commits[part]} times, and it says {commits - 1}")
            self._looked_at, self._looked_monotonic = at, time.monotonic()
            yield connection
        self._commits[part] = max(self._commits[part], commits)


def _check_owner(epoch: int, holder: str | None, *, ours: int, me: str) -> None:
    """Raises LeaseLost; DatabaseWentBack where the lease is as it was before it was ours."""
    if epoch < ours or (epoch == ours and holder not in (me, None)):
        raise _went_back(f"the lease is in epoch {epoch}, and was in epoch {ours}")
    if epoch > ours or holder is None:
        raise LeaseLost(
            f"{me} no longer holds the lease (epoch {ours}); "
            f"{f'{holder} took it' if holder else 'it was given back'}; nothing was committed"
        )


def _went_back(why: str) -> DatabaseWentBack:
    return DatabaseWentBack(f"the database has become an older copy of itself: {why}; everything is read again from it")
