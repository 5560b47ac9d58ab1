"""The DSN of the database: checked before anything connects, and never quoted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn

from exporter.config import DatabaseSettings
from exporter.errors import ConfigurationError


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
        parameters = conninfo_to_dict(dsn)
    except (psycopg.ProgrammingError, UnicodeEncodeError):
        parameters = {"port": "unknown"}
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


def check_dsn(dsn: str) -> None:
    """Raises ConfigurationError, in libpq's words, for a parameter that no server could be reached with.

    libpq checks them as it begins to connect: here to a folder without a socket.
    """
    nowhere = {"host": "/nonexistent", "port": "5432"}
    parameters = {name: value for name, value in conninfo_to_dict(dsn).items() if name != "hostaddr"} | nowhere
    message = _first_error(parameters)
    if message != _first_error(nowhere):
        raise ConfigurationError(f"database.dsn: {' '.join(message.split())}")


def _first_error(parameters: Mapping[str, Any]) -> str:
    connection = PGconn.connect_start(make_conninfo(**parameters).encode())
    try:
        return connection.error_message.decode("utf-8", "replace")
    finally:
        connection.finish()
