"""Connections to PostgreSQL: their DSN, and the settings that each transaction begins with.

Nothing is kept in a session (no prepared statements, no SET outside a transaction), so a transaction pooler may stand
between. Whatever the defaults of server, database, role and environment are, each transaction begins with the settings
that this program's SQL is written for. The DSN is checked before anything connects, and never quoted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from types import MappingProxyType
from typing import Any, Final

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format, PGconn

from exporter.config.settings import DatabaseSettings
from exporter.errors import ConfigurationError
from exporter.store.driver_errors import TAKES_NO_WRITES

SESSION_OPTIONS: Final[dict[str, Any]] = {"autocommit": True, "prepare_threshold": None, "client_encoding": "UTF8"}
"""Of each connection of this program."""

CANCEL_SECONDS: Final = 1.0
"""How long a server has to acknowledge a cancellation; then the connection is closed."""

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
_ACCEPTS_WRITES: Final = b"""
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


async def begin(connection: psycopg.AsyncConnection[Any], *, writes: bool) -> None:
    """Begins a transaction whose settings are this program's; one that ``writes`` whatever the session's default is."""
    access = ", READ WRITE" if writes else ""
    await connection.execute(f"BEGIN ISOLATION LEVEL READ COMMITTED, NOT DEFERRABLE{access}; {_SET_LOCAL}".encode())


async def refuses_writes(connection: psycopg.AsyncConnection[Any]) -> str | None:
    """Returns why the server takes no writes; None where it does."""
    cursor = await connection.execute(_ACCEPTS_WRITES)
    cursor.nextset()
    in_recovery, fence = await cursor.fetchone() or (False, None)
    if in_recovery:
        return f"{TAKES_NO_WRITES}: it is a standby"
    if fence is not None:
        return f"{TAKES_NO_WRITES}: its default_transaction_read_only is on (set by {fence})"
    return None


class Connection(psycopg.AsyncConnection[Any]):
    """Hangs up on a server that does not acknowledge a cancellation.

    The driver would wait for ten seconds, and whatever ends this process may not.
    """

    dsn = ""
    takes_writes = True

    async def cancel_safe(self, *, timeout: float = CANCEL_SECONDS) -> None:  # noqa: ASYNC109 - the driver's signature
        try:
            await super().cancel_safe(timeout=min(timeout, CANCEL_SECONDS))
        except psycopg.Error:
            self.pgconn.finish()
            raise


class UtcLoader(Loader):
    """Loads timestamptz in UTC, whatever the session's time zone."""

    format = Format.BINARY

    def load(self, data: Buffer) -> datetime:
        return _EPOCH + timedelta(microseconds=_MICROSECONDS.unpack(data)[0])


def configured_dsn(settings: DatabaseSettings) -> str:
    """Returns the DSN. Raises ConfigurationError, without quoting it, where none is set or it is not one.

    libpq's own words quote pieces of a password that is not escaped in a URL.
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
        parameters = parameters_of(dsn)
    except (psycopg.ProgrammingError, UnicodeError):
        parameters = MappingProxyType({"port": "unknown"})
    host, port, database = (str(parameters.get(name) or "") for name in ("host", "port", "dbname"))
    if "@" in host + database or "://" in host or not re.fullmatch(r"[0-9,]*", port):
        raise ConfigurationError(
            "database.dsn: is neither a postgresql:// URL nor key=value pairs; "
            "in a URL, write special characters of the password as %40 (@), %2F (/), %25 (%)"
        )
    ports, hosts = port.split(","), str(parameters.get("hostaddr") or host).split(",")
    if not all(re.fullmatch("0*[1-9][0-9]{0,4}", one) and int(one) <= 65535 for one in ports if one):
        raise ConfigurationError("database.dsn: has no port from 1 to 65535")
    if len(ports) not in (1, len(hosts)):
        raise ConfigurationError(f"database.dsn: has {len(ports)} ports for {len(hosts)} hosts; write one for each")
    return dsn


@lru_cache(maxsize=2)
def parameters_of(dsn: str) -> Mapping[str, Any]:
    """Returns what a DSN says: each use of a connection asks. Raises psycopg.ProgrammingError, UnicodeError."""
    return MappingProxyType(conninfo_to_dict(dsn))


def check_dsn(dsn: str) -> None:
    """Raises ConfigurationError, in libpq's words, for a parameter that no server could be reached with.

    libpq checks them as it begins to connect: here to a folder without a socket.
    """
    nowhere = {"host": "/nonexistent", "port": "5432"}
    parameters = {name: value for name, value in parameters_of(dsn).items() if name != "hostaddr"} | nowhere
    message = _first_error(parameters)
    if message != _first_error(nowhere):
        raise ConfigurationError(f"database.dsn: {' '.join(message.split())}")


def _first_error(parameters: Mapping[str, Any]) -> str:
    connection = PGconn.connect_start(make_conninfo(**parameters).encode())
    try:
        return connection.error_message.decode("utf-8", "replace")
    finally:
        connection.finish()
