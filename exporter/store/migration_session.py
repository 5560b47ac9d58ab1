"""The session that migrates: its connection, the lock that excludes others, and its errors in words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import errors as pg

from exporter.errors import DatabaseUnavailable, MigrationFailed
from exporter.store.connections import SESSION_OPTIONS, begin, refuses_writes
from exporter.store.driver_errors import no_connection

Connection: TypeAlias = "psycopg.AsyncConnection[Any]"

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('dict_rate_limit_migrations'))"
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS public.dict_rate_limit_migrations (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
-- Every role must be able to see that a step is missing, before grants.sql has ever run.
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT rolname FROM pg_roles WHERE rolname IN ('dict_rate_limit_writer', 'dict_rate_limit_reader') LOOP
        EXECUTE format('GRANT SELECT ON public.dict_rate_limit_migrations TO %I', name);
    END LOOP;
END
$$
"""


@asynccontextmanager
async def connect(dsn: str) -> AsyncIterator[Connection]:
    try:
        session = await psycopg.AsyncConnection.connect(
            dsn, **SESSION_OPTIONS, connect_timeout=10, application_name="dict-rate-limit migrate"
        )
    except psycopg.OperationalError as error:
        raise no_connection(_text_of(error)) from error
    async with session:
        try:
            yield session
        except pg.LockNotAvailable as error:
            raise DatabaseUnavailable(f"another session is in the way, try again later: {_text_of(error)}") from error
        except psycopg.OperationalError as error:
            raise DatabaseUnavailable(f"PostgreSQL went away while migrating: {_text_of(error)}") from error
        except pg.InsufficientPrivilege as error:
            raise MigrationFailed(
                f"the database user may not do this ({_text_of(error)}); "
                f"migrate as the schema's owner, see migrations/roles.sql"
            ) from error
        except psycopg.Error as error:
            raise MigrationFailed(f"PostgreSQL refused: {_text_of(error)}") from error


def _text_of(error: psycopg.Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())


@asynccontextmanager
async def transaction(connection: Connection, *, writes: bool = True) -> AsyncIterator[None]:
    if writes and (why := await refuses_writes(connection)) is not None:
        raise DatabaseUnavailable(why)
    await begin(connection, writes=writes)
    try:
        yield
    except BaseException:
        await connection.rollback()
        raise
    await connection.commit()


@asynccontextmanager
async def locked(connection: Connection, *, table: bool = True) -> AsyncIterator[None]:
    async with transaction(connection):
        await connection.execute(_LOCK)
        # A migration that waits for a lock blocks everything that queues behind it.
        await connection.execute("SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = 0")
        if table:
            await connection.execute("SET LOCAL client_min_messages = 'warning'")
            await connection.execute(_TABLE)
        yield


async def run(connection: Connection, statements: str, file: str) -> None:
    try:
        await connection.execute(statements.encode())
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        position = error.diag.statement_position
        line = f":{statements.count(chr(10), 0, int(position)) + 1}" if position else ""
        hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
        message = error.diag.message_primary or error
        raise MigrationFailed(f"{file}{line}: {message}{hint}; nothing of this file was applied") from error
