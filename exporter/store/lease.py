"""The lease: one reconciler works, others wait.

A row says who holds it, until when (by the database's clock), and in which
epoch. Every transaction of a reconciler locks that row for its own epoch
(`fenced`), and taking the lease begins a new one: a holder that was thought
dead can commit nothing, and nobody takes over in the middle of a commit.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from psycopg import errors as pg

from exporter.errors import LeaseLost
from exporter.store import queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from psycopg import AsyncConnection

    from exporter.store.database import Database

_SQL: Final = queries.load("lease")
_PATIENCE_SECONDS: Final = 4.0


class Lease:
    """The right to reconcile, for ``ttl_seconds`` at a time. ``holder`` names this process, and no other."""

    def __init__(self, database: Database, holder: str, ttl_seconds: float = 8.0) -> None:
        self.holder = holder
        self.epoch: int | None = None
        self._database = database
        self._ttl_seconds = ttl_seconds

    async def acquire(self) -> int | None:
        """Returns the new epoch; None while another holds the lease. Raises DatabaseUnavailable."""
        self.epoch = await self._execute("acquire", lock="1s")
        return self.epoch

    async def renew(self) -> None:
        """Keeps the lease. Raises LeaseLost where another has taken it; DatabaseUnavailable."""
        if self.epoch is None or await self._execute("renew") is None:
            lost, self.epoch = self.epoch, None
            raise LeaseLost(f"{self.holder} no longer holds the lease (epoch {lost}); another reconciler took it")

    async def release(self) -> None:
        """Gives the lease back, if it is held: another may take it at once. Raises DatabaseUnavailable."""
        if self.epoch is not None:
            await self._execute("release")
            self.epoch = None

    async def _execute(self, name: str, *, lock: str = "3s") -> int | None:
        parameters = {"holder": self.holder, "epoch": self.epoch, "ttl_seconds": self._ttl_seconds}
        async with self._database.connection(patience_seconds=_PATIENCE_SECONDS) as connection:
            try:
                async with connection.transaction():
                    await connection.execute(_SQL["settings"], {"lock": lock})
                    row = await (await connection.execute(_SQL[name], parameters)).fetchone()
            except pg.LockNotAvailable:
                if name != "acquire":
                    raise
                row = None  # the holder is committing, or was when it froze
                await connection.execute(_SQL["end_frozen"])
        return None if row is None else row[0]


@asynccontextmanager
async def fenced(database: Database, *, epoch: int, holder: str) -> AsyncIterator[AsyncConnection[Any]]:
    """Lends a connection inside a transaction that only the lease's holder can commit.

    Raises LeaseLost (nothing is committed), and as `Database.connection` does.
    """
    async with database.transaction() as connection:
        # Not in a pipeline: PostgreSQL would forget the idle timeout where the driver asks it to flush.
        row = await (await connection.execute(_SQL["fence"], {"epoch": epoch, "holder": holder})).fetchone()
        if row is None:
            raise LeaseLost(f"{holder} no longer holds the lease (epoch {epoch}); nothing was committed")
        yield connection
