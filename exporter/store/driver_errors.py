"""The driver's errors in this program's words: translated once, where a connection is lent."""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg import errors as pg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from exporter.errors import (
    AccessDenied,
    DatabaseUnavailable,
    PartitionMissing,
    ReconciliationRefused,
    SchemaMismatch,
    StoreError,
)

TAKES_NO_WRITES: Final = "the server takes no writes"


def no_connection(reason: str) -> DatabaseUnavailable:
    """Returns the error for a connection that could not be made.

    A server that refuses one (password, database, pg_hba.conf, too many) does answer, and its own words help most.
    """
    reason = reason.removeprefix("connection failed: ")
    if reason.startswith(TAKES_NO_WRITES):
        return DatabaseUnavailable(reason)
    what = "PostgreSQL refused the connection" if "FATAL:" in reason else "no connection to PostgreSQL"
    return DatabaseUnavailable(f"{what}: {reason}")


def translated(error: psycopg.Error) -> StoreError:
    """Returns the driver's error in this program's words.

    What may succeed another time is DatabaseUnusable; rows that PostgreSQL will never accept are ReconciliationRefused.
    """
    text = text_of(error)
    if isinstance(error, (PoolTimeout, PoolClosed, TooManyRequests)):
        return no_connection(text)
    if error.sqlstate is not None and isinstance(error, (psycopg.ProgrammingError, psycopg.NotSupportedError)):
        return _schema_error(error, text)
    if isinstance(error, pg.CheckViolation) and error.diag.constraint_name is None:
        return PartitionMissing(f"a partition is missing: {text}")
    if isinstance(error, (psycopg.DataError, psycopg.IntegrityError)):
        return ReconciliationRefused(f"PostgreSQL refused the rows: {text}")
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)):
        return _unavailable(error, text)
    return StoreError(f"PostgreSQL: {text}")


def _unavailable(error: psycopg.Error, text: str) -> DatabaseUnavailable:
    if isinstance(error, pg.ReadOnlySqlTransaction):
        return DatabaseUnavailable(f"{TAKES_NO_WRITES}: {text}")
    if error.sqlstate is None or isinstance(error, (pg.AdminShutdown, pg.CrashShutdown, pg.CannotConnectNow)):
        return DatabaseUnavailable(f"PostgreSQL does not answer: {text}")
    return DatabaseUnavailable(f"PostgreSQL answers: {text}", is_away=False)


def _schema_error(error: psycopg.Error, text: str) -> StoreError:
    if isinstance(error, pg.InsufficientPrivilege):
        return AccessDenied(
            f"the database user may not do this ({text}); "
            f"run `dict-rate-limit migrate up` as the migrator, which grants it (migrations/grants.sql)"
        )
    return SchemaMismatch(f"the database's schema is not this version's ({text}); run `dict-rate-limit migrate up`")


def text_of(error: psycopg.Error) -> str:
    """Returns what an error says, in one line; of one within a function, without the statements of that."""
    diagnosis = error.diag
    in_function = diagnosis.internal_query or "SQL statement" in (diagnosis.context or "")
    parts = [diagnosis.message_primary, diagnosis.message_detail] if in_function else [str(error)]
    return " ".join(" ".join(filter(None, parts)).split())
