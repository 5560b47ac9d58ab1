"""Connections to PostgreSQL, and its errors in this program's words.

Nothing is kept in a session (no prepared statements, no SET outside a
transaction), so a transaction pooler may stand between. Whatever the defaults of
server, database, role and environment are, each transaction begins with the
settings that this program's SQL is written for.
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
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format, PGconn
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
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

    from psycopg.abc import Buffer

    from exporter.config import DatabaseSettings

PATIENCE_SECONDS: Final = 30.0
"""How long one use of a connection may take before the server counts as gone."""

SESSION_OPTIONS: Final[dict[str, Any]] = {"autocommit": True, "prepare_threshold": None, "client_encoding": "UTF8"}
"""What each connection of this program is made with."""

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
TAKES_NO_WRITES: Final = "the server takes no writes"

LIFE_SECONDS: Final = 300.0
"""How long a connection is used before another takes its place: the name may stand for another server by then."""

_SETTINGS: Final = {
    "search_path": "public, pg_temp",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "transform_null_equals": "off",
}
_SET_LOCAL: Final = "; ".join(
    f"SET LOCAL {name} = {value if name == 'search_path' else repr(value)}" for name, value in _SETTINGS.items()
)

# Whether a server takes writes. A default of the role, the database or the session is overruled;
# a default of the whole server is how an old primary is fenced. In a transaction of its own: a standby
# refuses one that is serializable by default.
_LOOK: Final = b"""
BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY;
SELECT pg_catalog.pg_is_in_recovery(),
       CASE WHEN pg_catalog.current_setting('default_transaction_read_only') = 'on'
            THEN (SELECT source
                    FROM pg_catalog.pg_settings
                   WHERE name = 'default_transaction_read_only'
                     AND source IN ('default', 'environment variable', 'configuration file', 'command line')) END;
COMMIT
"""
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECONDS: Final = Struct("!q")


class Database:
    """A pool of connections, which opens as they are asked for. ``async with`` closes it.

    Where it ``writes``, servers that take no writes are none: connections to them
    are given up, and made anew until they lead to another. Raises
    ConfigurationError where no DSN is set, or one that is none.
    """

    def __init__(self, settings: DatabaseSettings, *, writes: bool = True) -> None:
        self._settings = settings
        self._dsn = configured_dsn(settings)
        self._writes = writes
        self._options: dict[str, Any] = {
            **SESSION_OPTIONS,
            "application_name": "dict-rate-limit",
            "connect_timeout": max(2, round(settings.connect_timeout)),
            **_TCP,
        }
        self._connect_timeout = float(settings.connect_timeout)
        self._refusal: str | None = None
        self._pool: AsyncConnectionPool[_Connection] = AsyncConnectionPool(
            self._current_dsn,
            kwargs=self._options,
            connection_class=self._recording(),
            configure=_configure,
            check=self._check,
            min_size=settings.min_size,
            max_size=max(settings.min_size, settings.max_size),
            timeout=self._connect_timeout,
            # Attempts in the background back off ever further; this gives them up early, and the
            # next one who asks for a connection begins anew.
            reconnect_timeout=self._connect_timeout,
            max_lifetime=LIFE_SECONDS,
            open=False,
            name="dict-rate-limit",
        )

    async def _current_dsn(self) -> str:
        """Returns the DSN as its file has it now."""
        try:
            self._dsn = configured_dsn(self._settings)
        except ConfigurationError as error:
            self._refusal = str(error)
        return self._dsn

    async def _check(self, connection: _Connection) -> None:
        """Closes a connection that is of no use, and raises psycopg.OperationalError: the pool makes another."""
        try:
            why = self._refusal = await self._useless(connection)
        except psycopg.Error as error:
            self._refusal = _said(error)
            raise
        if why is not None:
            await connection.close()
            raise psycopg.OperationalError(why)

    async def _useless(self, connection: _Connection) -> str | None:
        if connection.dsn != await self._current_dsn():
            return "the DSN has changed"
        why = await refuses_writes(connection)
        connection.takes_writes = why is None
        return why if self._writes or _demands_writes(self._dsn) else None

    def _recording(self) -> type[_Connection]:
        """Returns a kind of connection that leaves here why the last one did not come about."""
        database = self

        class Recorded(_Connection):
            @classmethod
            async def connect(cls, conninfo: str = "", **options: Any) -> Self:
                try:
                    connection = await super().connect(conninfo, **options)
                except psycopg.Error as error:
                    database._refusal = _said(error)
                    raise
                connection.dsn = conninfo
                return connection

        return Recorded

    async def reach(self) -> None:
        """Connects once; the pool would try again and again. Raises DatabaseUnavailable in the server's own words."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._dsn, **self._options)
        except psycopg.Error as error:
            raise no_connection(_said(error)) from error
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
    async def transaction(
        self, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lends a connection inside a transaction, which is committed at the end; times it loads are UTC.

        Raises DatabaseUnusable (DatabaseUnavailable also where its use takes
        longer than ``patience_seconds``), ReconciliationRefused, StoreError as
        `translated` says.
        """
        task = asyncio.current_task()
        cancelled = 0 if task is None else task.cancelling()
        lent = False
        try:
            async with asyncio.timeout(patience_seconds), self._pool.connection() as connection:
                if task is not None and task.cancelling() > cancelled:
                    # The pool waits with wait_for, which Python 3.11 lets forget that the task is to end.
                    raise asyncio.CancelledError
                lent = True
                await begin(connection, writes=connection.takes_writes)
                yield connection
        except TimeoutError as error:
            if not lent and self._refusal is not None:
                raise no_connection(self._refusal) from error
            raise DatabaseUnavailable(f"PostgreSQL did not answer within {patience_seconds:g}s") from error
        except PoolTimeout as error:
            # The pool says how long it waited; why no connection came about is known to who tried.
            raise no_connection(self._refusal or _said(error)) from error
        except psycopg.Error as error:
            raise translated(error) from error


async def begin(connection: psycopg.AsyncConnection[Any], *, writes: bool) -> None:
    """Begins a transaction whose settings are this program's; one that ``writes`` whatever the session's default is."""
    access = ", READ WRITE" if writes else ""
    await connection.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE{access}; {_SET_LOCAL}".encode())


async def refuses_writes(connection: psycopg.AsyncConnection[Any]) -> str | None:
    """Returns why the server takes no writes; None: it does."""
    cursor = await connection.execute(_LOOK)
    cursor.nextset()
    row = await cursor.fetchone()
    in_recovery, fence = row or (False, None)
    if in_recovery:
        return f"{TAKES_NO_WRITES}: it is a standby"
    if fence is not None:
        return f"{TAKES_NO_WRITES}: its default_transaction_read_only is on (set by {fence})"
    return None


@asynccontextmanager
async def reached(settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Yields the database to a command that reads, and can do nothing without it: why it is away is said at once.

    Raises DatabaseUnavailable; ConfigurationError as `Database` does.
    """
    database = Database(settings, writes=False)
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
    scheme = re.match(r"\s*((?:jdbc:)?[A-Za-z][A-Za-z0-9+.-]*://)", dsn)
    if scheme is not None and not dsn.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError(
            f"database.dsn: begins with {scheme[1]}; write postgresql://user:password@host:5432/database"
        )
    try:
        parts = conninfo_to_dict(dsn)
    except (psycopg.ProgrammingError, UnicodeEncodeError):
        parts = {"port": "unknown"}
    host, port, database = (str(parts.get(name) or "") for name in ("host", "port", "dbname"))
    if "@" in host + database or "://" in host or not re.fullmatch(r"[0-9,]*", port):
        raise ConfigurationError(
            "database.dsn: is neither a postgresql:// URL nor key=value pairs; "
            "in a URL, write special characters of the password as %40 (@), %2F (/), %25 (%)"
        )
    ports, hosts = port.split(","), str(parts.get("hostaddr") or host).split(",")
    if not all(re.fullmatch("0*[1-9][0-9]{0,4}", one) and int(one) <= 65535 for one in ports if one):
        raise ConfigurationError("database.dsn: has no port from 1 to 65535")
    if len(ports) not in (1, len(hosts)):
        raise ConfigurationError(f"database.dsn: has {len(ports)} ports for {len(hosts)} hosts; write one for each")
    return dsn


def check_dsn(dsn: str) -> None:
    """Raises ConfigurationError, in libpq's words, for a parameter that no server could be reached with.

    libpq looks at them as it begins to connect: here to a folder that holds no socket.
    """
    nowhere = {"host": "/nonexistent", "port": "5432"}
    parts = {name: value for name, value in conninfo_to_dict(dsn).items() if name != "hostaddr"} | nowhere
    said = _said_at_once(parts)
    if said != _said_at_once(nowhere):
        raise ConfigurationError(f"database.dsn: {' '.join(said.split())}")


def _said_at_once(parts: Mapping[str, Any]) -> str:
    begun = PGconn.connect_start(make_conninfo(**parts).encode())
    try:
        return begun.error_message.decode("utf-8", "replace")
    finally:
        begun.finish()


def no_connection(why: str) -> DatabaseUnavailable:
    """Returns the error for a connection that did not come about, and ``why``.

    A server that refuses one (password, database, pg_hba.conf, too many) does answer, and its words are what helps.
    """
    why = why.removeprefix("connection failed: ")
    if why.startswith(TAKES_NO_WRITES):
        return DatabaseUnavailable(why)
    what = "PostgreSQL refused the connection" if "FATAL:" in why else "no connection to PostgreSQL"
    return DatabaseUnavailable(f"{what}: {why}")


def translated(error: psycopg.Error) -> StoreError:
    """Returns the driver's error in this program's words.

    What may go well another time is DatabaseUnusable; rows that PostgreSQL will
    never take are ReconciliationRefused.
    """
    said = _said(error)
    if isinstance(error, (PoolTimeout, PoolClosed, TooManyRequests)):
        return no_connection(said)
    return _translated(error, said)


def _translated(error: psycopg.Error, said: str) -> StoreError:
    if error.sqlstate is not None and isinstance(error, (psycopg.ProgrammingError, psycopg.NotSupportedError)):
        return _not_as_it_should_be(error, said)
    if isinstance(error, pg.CheckViolation) and error.diag.constraint_name is None:
        return PartitionMissing(f"a partition is missing: {said}")
    if isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
        return ReconciliationRefused(f"PostgreSQL refused the rows: {said}")
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)):
        return _unavailable(error, said)
    return StoreError(f"PostgreSQL: {said}")


def _unavailable(error: psycopg.Error, said: str) -> DatabaseUnavailable:
    if isinstance(error, pg.ReadOnlySqlTransaction):
        return DatabaseUnavailable(f"{TAKES_NO_WRITES}: {said}")
    if error.sqlstate is None or isinstance(error, (pg.AdminShutdown, pg.CrashShutdown, pg.CannotConnectNow)):
        return DatabaseUnavailable(f"PostgreSQL does not answer: {said}")
    return DatabaseUnavailable(f"PostgreSQL answers: {said}", is_away=False)


def _not_as_it_should_be(error: psycopg.Error, said: str) -> StoreError:
    if isinstance(error, pg.InsufficientPrivilege):
        return AccessDenied(
            f"the database user may not do this ({said}); "
            f"run `dict-rate-limit migrate up` as the migrator, which grants it (migrations/grants.sql)"
        )
    return SchemaMismatch(f"the database's schema is not this version's ({said}); run `dict-rate-limit migrate up`")


def _demands_writes(dsn: str) -> bool:
    return conninfo_to_dict(dsn).get("target_session_attrs") in ("read-write", "primary")


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split())


class _Connection(psycopg.AsyncConnection[Any]):
    """Hangs up on a server that does not even take note of a cancellation.

    The driver would wait for ten seconds, and whoever ends this process may not.
    """

    dsn = ""
    takes_writes = True

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
