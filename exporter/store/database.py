"""Connections to PostgreSQL, and its errors in this program's words.

Nothing is kept in a session (no prepared statements, no SET outside a
transaction), so a transaction pooler may stand between.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg import errors as pg
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout, TooManyRequests

from exporter.errors import (
    AccessDenied,
    ConfigurationError,
    DatabaseUnavailable,
    PartitionMissing,
    ReconciliationRefused,
    SchemaMismatch,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from psycopg.abc import Buffer

    from exporter.config import DatabaseSettings

PATIENCE_SECONDS: Final = 30.0
"""How long one use of a connection may take before the server counts as gone."""

CANCEL_SECONDS: Final = 1.0
"""How long a server has to take note that a query is no longer wanted; then the connection is closed."""

# A server that vanished without a word is noticed within 10 s: unacknowledged data by
# tcp_user_timeout, an idle wait by keepalives.
_TCP: Final = {
    "keepalives": 1,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 8000,
}
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECONDS: Final = Struct("!q")


class Database:
    """A pool of connections, which opens as they are asked for. ``async with`` closes it.

    Raises ConfigurationError where no DSN is set, or one that is none.
    """

    def __init__(self, settings: DatabaseSettings) -> None:
        self._dsn = configured_dsn(settings)
        self._options: dict[str, Any] = {
            "autocommit": True,
            "prepare_threshold": None,
            "application_name": "dict-rate-limit",
            "connect_timeout": max(2, round(settings.connect_timeout)),
            **_TCP,
        }
        self._connect_timeout = float(settings.connect_timeout)
        self._refusal: str | None = None
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            self._dsn,
            kwargs=self._options,
            connection_class=self._recording(),
            configure=_configure,
            check=AsyncConnectionPool.check_connection,
            min_size=settings.min_size,
            max_size=max(settings.min_size, settings.max_size),
            timeout=self._connect_timeout,
            # Attempts in the background back off ever further; this gives them up early, and the
            # next one who asks for a connection begins anew.
            reconnect_timeout=self._connect_timeout,
            open=False,
            name="dict-rate-limit",
        )

    def _recording(self) -> type[_Connection]:
        """Returns a kind of connection that leaves here why the last one did not come about."""
        database = self

        class Recorded(_Connection):
            @classmethod
            async def connect(cls, *arguments: Any, **options: Any) -> Self:
                try:
                    connection = await super().connect(*arguments, **options)
                except psycopg.Error as error:
                    database._refusal = _said(error)
                    raise
                database._refusal = None
                return connection

        return Recorded

    async def reach(self) -> None:
        """Connects once; the pool would try again and again. Raises DatabaseUnavailable in the server's own words."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._dsn, **self._options)
        except psycopg.Error as error:
            raise translated(error) from error
        await connection.close()

    async def open(self) -> None:
        """Begins to connect, and does not wait for it."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close(timeout=1)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(
        self, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lends a connection in autocommit mode; times it loads are UTC where results are binary.

        Raises DatabaseUnusable (DatabaseUnavailable also where its use takes
        longer than ``patience_seconds``), ReconciliationRefused, StoreError as
        `translated` says.
        """
        task = asyncio.current_task()
        cancelled = 0 if task is None else task.cancelling()
        try:
            async with asyncio.timeout(patience_seconds), self._pool.connection() as connection:
                if task is not None and task.cancelling() > cancelled:
                    # The pool waits with wait_for, which Python 3.11 lets forget that the task is to end.
                    raise asyncio.CancelledError
                yield connection
        except TimeoutError as error:
            raise DatabaseUnavailable(f"PostgreSQL did not answer within {patience_seconds:g}s") from error
        except PoolTimeout as error:
            # The pool says how long it waited; why no connection came about is known to who tried.
            raise DatabaseUnavailable(f"no connection to PostgreSQL: {self._refusal or _said(error)}") from error
        except psycopg.Error as error:
            raise translated(error) from error

    @asynccontextmanager
    async def transaction(
        self, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lends a connection inside a transaction. Raises as `connection` does."""
        async with self.connection(patience_seconds=patience_seconds) as connection, connection.transaction():
            yield connection


@asynccontextmanager
async def reached(settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Yields the database to a command that can do nothing without it: why it is away is said at once.

    Raises DatabaseUnavailable; ConfigurationError as `Database` does.
    """
    database = Database(settings)
    await database.reach()
    async with database:
        yield database


def configured_dsn(settings: DatabaseSettings) -> str:
    """Raises ConfigurationError where no DSN is set, or one that is none, in words that hold nothing of it.

    libpq's own words hold pieces of a password that a URL cannot hold as it is.
    """
    if settings.dsn is None:
        raise ConfigurationError("database.dsn: not set; set it as DICT_RATE_LIMIT_DATABASE__DSN, or ..._DSN_FILE")
    dsn = settings.dsn.reveal()
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        parts = {"port": "unknown"}
    host, port, database = (str(parts.get(name) or "") for name in ("host", "port", "dbname"))
    if "@" in host + database or not re.fullmatch(r"[\d,]*", port):
        raise ConfigurationError(
            "database.dsn: is neither a postgresql:// URL nor key=value pairs; "
            "in a URL, write special characters of the password as %40 (@), %2F (/), %25 (%)"
        )
    return dsn


def translated(error: psycopg.Error) -> StoreError:
    """Returns the driver's error in this program's words.

    What may go well another time is DatabaseUnusable; rows that PostgreSQL will
    never take are ReconciliationRefused.
    """
    said = _said(error)
    if isinstance(error, (PoolTimeout, PoolClosed, TooManyRequests)):
        return DatabaseUnavailable(f"no connection to PostgreSQL: {said}")
    if error.sqlstate is not None and isinstance(error, (psycopg.ProgrammingError, psycopg.NotSupportedError)):
        return _not_as_it_should_be(error, said)
    if isinstance(error, pg.CheckViolation) and error.diag.constraint_name is None:
        return PartitionMissing(f"a partition is missing: {said}")
    if isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
        return ReconciliationRefused(f"PostgreSQL refused the rows: {said}")
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)):
        return DatabaseUnavailable(f"PostgreSQL does not answer: {said}")
    return StoreError(f"PostgreSQL: {said}")


def _not_as_it_should_be(error: psycopg.Error, said: str) -> StoreError:
    if isinstance(error, pg.InsufficientPrivilege):
        return AccessDenied(
            f"the database user may not do this ({said}); "
            f"run `dict-rate-limit migrate up` as the migrator, which grants it (migrations/grants.sql)"
        )
    return SchemaMismatch(f"the database's schema is not this version's ({said}); run `dict-rate-limit migrate up`")


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split())


class _Connection(psycopg.AsyncConnection[Any]):
    """Hangs up on a server that does not even take note of a cancellation.

    The driver would wait for ten seconds, and whoever ends this process may not.
    """

    async def cancel_safe(self, *, timeout: float = CANCEL_SECONDS) -> None:  # noqa: ASYNC109 - the driver's signature
        try:
            await super().cancel_safe(timeout=min(timeout, CANCEL_SECONDS))
        except psycopg.Error:
            self.pgconn.finish()
            raise


class _UtcLoader(Loader):
    """Loads timestamptz in UTC, whatever the session's time zone."""

    format = Format.BINARY

    def load(self, data: Buffer) -> datetime:
        return _EPOCH + timedelta(microseconds=_MICROSECONDS.unpack(data)[0])


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    connection.adapters.register_loader("timestamptz", _UtcLoader)
