"""PostgreSQL for this program: a pool of connections, the transactions that it lends, and queries by name."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from exporter.config.settings import DatabaseSettings
from exporter.errors import ConfigurationError, DatabaseUnavailable, DatabaseUnusable
from exporter.store.connections import (
    SESSION_OPTIONS,
    Connection,
    UtcLoader,
    begin,
    configured_dsn,
    parameters_of,
    refuses_writes,
)
from exporter.store.driver_errors import no_connection, text_of, translated
from exporter.telemetry import REMIND_SECONDS, Reminder

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 30.0
"""How long one use of a connection may take before the server counts as gone."""

LIFE_SECONDS: Final = 300.0
"""How long a connection is used before it is replaced: by then the host name may lead to another server."""

DIRECTORY: Final = Path(__file__).resolve().parent
_HEADING: Final = re.compile(r"^-- (\w+) --\n(?=-- .+\n)", re.MULTILINE)

# A server that vanished without a word is noticed within 10 s: unacknowledged data by tcp_user_timeout, an idle wait by
# keepalives.
_TCP_OPTIONS: Final = {
    "keepalives": 1,
    "keepalives_idle": 4,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 8000,
}


class Database:
    """A pool of connections, opened as they are needed. ``async with`` closes it.

    Where it ``writes``, connections to servers that take no writes are closed and made again until they lead to another
    server. Raises ConfigurationError as `configured_dsn` does.
    """

    def __init__(self, settings: DatabaseSettings, *, writes: bool = True) -> None:
        self._settings = settings
        self._dsn = configured_dsn(settings)
        self._writes = writes
        self._options: dict[str, Any] = {
            **SESSION_OPTIONS,
            "application_name": "dict-rate-limit",
            "connect_timeout": max(2, round(settings.connect_timeout)),
            **_TCP_OPTIONS,
        }
        self._connect_timeout = float(settings.connect_timeout)
        self._refusal: str | None = None
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._current_dsn,
            kwargs=self._options,
            connection_class=self._recording(),
            check=self._check,
            min_size=settings.min_size,
            max_size=max(settings.min_size, settings.max_size),
            timeout=self._connect_timeout,
            # Attempts in the background back off ever further; this ends them early, and the next
            # transaction starts again.
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

    async def _check(self, connection: Connection) -> None:
        """Closes a connection that is of no use, and raises psycopg.OperationalError: the pool makes another."""
        try:
            why = self._refusal = await self._why_useless(connection)
        except psycopg.Error as error:
            self._refusal = text_of(error)
            raise
        if why is not None:
            await connection.close()
            raise psycopg.OperationalError(why)

    async def _why_useless(self, connection: Connection) -> str | None:
        if connection.dsn != await self._current_dsn():
            return "the DSN has changed"
        why = await refuses_writes(connection)
        connection.takes_writes = why is None
        demanded = parameters_of(self._dsn).get("target_session_attrs") in ("read-write", "primary")
        return why if self._writes or demanded else None

    def _recording(self) -> type[Connection]:
        """Returns a class of connections that records here why the last attempt failed, and loads times in UTC."""
        database = self

        class RecordingConnection(Connection):
            @classmethod
            async def connect(cls, conninfo: str = "", **options: Any) -> Self:
                try:
                    connection = await super().connect(conninfo, **options)
                except psycopg.Error as error:
                    database._refusal = text_of(error)
                    raise
                connection.dsn = conninfo
                connection.adapters.register_loader("timestamptz", UtcLoader)
                return connection

        return RecordingConnection

    async def reach(self) -> None:
        """Connects once, where the pool would keep trying. Raises DatabaseUnavailable in the server's own words."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._dsn, **self._options)
        except psycopg.Error as error:
            raise no_connection(text_of(error)) from error
        await connection.close()

    async def open(self) -> None:
        """Starts to connect, without waiting."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close(timeout=1)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def fetch(
        self, query: bytes, parameters: Mapping[str, Any], *, patience_seconds: float = PATIENCE_SECONDS
    ) -> list[tuple[Any, ...]]:
        """Returns the rows of a query, in a transaction of its own. Raises as `transaction`."""
        async with self.transaction(patience_seconds=patience_seconds) as connection:
            return await (await connection.execute(query, parameters, binary=True)).fetchall()

    @asynccontextmanager
    async def transaction(
        self, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Lends a connection inside a transaction, which is committed at the end; times it loads are UTC.

        Raises DatabaseUnusable (DatabaseUnavailable also where its use takes longer than ``patience_seconds``),
        ReconciliationRefused, StoreError as `translated` says.
        """
        task = asyncio.current_task()
        cancelled = 0 if task is None else task.cancelling()
        lent = False
        try:
            async with asyncio.timeout(patience_seconds), self._pool.connection() as connection:
                if task is not None and task.cancelling() > cancelled:
                    # The pool waits with wait_for, which loses a cancellation in Python 3.11.
                    raise asyncio.CancelledError
                lent = True
                await begin(connection, writes=connection.takes_writes)
                yield connection
        except TimeoutError as error:
            if not lent and self._refusal is not None:
                raise no_connection(self._refusal) from error
            raise DatabaseUnavailable(f"PostgreSQL did not answer within {patience_seconds:g}s") from error
        except PoolTimeout as error:
            # The pool says how long it waited; the last attempt recorded why there is no connection.
            raise no_connection(self._refusal or text_of(error)) from error
        except psycopg.Error as error:
            raise translated(error) from error


@asynccontextmanager
async def reached(settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Yields the database to a command that reads: where it is away, this fails at once and says why.

    Raises DatabaseUnavailable; ConfigurationError as `Database` does.
    """
    database = Database(settings, writes=False)
    await database.reach()
    async with database:
        yield database


@dataclass(slots=True)
class DatabaseOutage:
    """Logs that the database cannot be used: a line when that begins, one a minute, one when it is over.

    All parts of a process that use it share one, so that each line comes once. ``fields`` returns the lines' fields
    beside the error.
    """

    fields: Callable[[], Mapping[str, object]] = dict
    monotonic: Callable[[], float] = time.monotonic
    _since: float | None = None
    _logged_at: float = 0.0
    _reminders: dict[str, Reminder] = field(default_factory=dict)

    def noticed(self, error: Exception) -> None:
        """Notes that it is away, and why; logs it where that is due."""
        now = self.monotonic()
        if self._since is None:
            self._since = now
            log.error("database unusable", extra={"error": str(error), **self.fields()})
        elif now - self._logged_at >= REMIND_SECONDS:
            fields = {"error": str(error), "for_seconds": round(now - self._since), **self.fields()}
            log.error("database still unusable", extra=fields)
        else:
            return
        self._logged_at = now

    def over(self) -> bool:
        """Notes that it is back, and logs it where it was away; returns whether it was."""
        if self._since is None:
            return False
        away_seconds, self._since = self.monotonic() - self._since, None
        log.info("database usable again", extra={"after_seconds": round(away_seconds), **self.fields()})
        return True

    def report(self, error: DatabaseUnusable, *, waiting: str, **fields: object) -> None:
        """Logs why ``waiting`` (polls, events, ...) cannot go on, where that is due.

        A database that is away is one outage for all; what it refuses to do for one part is that part's own.
        """
        if isinstance(error, DatabaseUnavailable) and error.is_away:
            self.noticed(error)
        elif self._reminders.setdefault(waiting, Reminder()).is_due(str(error)):
            log.warning("waiting for the database", extra={"waiting": waiting, "error": str(error), **fields})


@cache
def queries(name: str) -> Mapping[str, bytes]:
    """Returns the queries of ``name``.sql, beside this module. In it they have this form; parameters are psycopg's::

    -- take_lease --
    -- What it is for, in a sentence.
    UPDATE ...
    """
    _preamble, *parts = _HEADING.split((DIRECTORY / f"{name}.sql").read_text("utf-8"))
    return MappingProxyType({title: text.strip().encode() for title, text in zip(parts[::2], parts[1::2], strict=True)})
