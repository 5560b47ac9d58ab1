"""Sessions of PostgreSQL: their settings are ours, and those that are of no use are given up."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from exporter.config.secrets import Secret, SecretFile
from exporter.config.settings import DatabaseSettings
from exporter.durations import Duration
from exporter.errors import DatabaseUnavailable
from exporter.store.database import Database
from exporter.store.reader import Reader
from tests.support.postgres import HOSTILE_SETTINGS
from tests.support.stored import connected, until_available, until_connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import OutagePostgres

pytestmark = [pytest.mark.postgres]

OURS = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "search_path": "public, pg_temp",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "transform_null_equals": "off",
    "transaction_isolation": "read committed",
    "transaction_read_only": "off",
    "transaction_deferrable": "off",
}


async def value(database: Database, query: str) -> object:
    async with database.transaction() as connection:
        row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]


async def database_told(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(statement.encode())


async def refused(database: Database) -> str:
    """Returns what is said once the server refuses: its sessions hear of a new setting in their own time."""
    async with asyncio.timeout(60):
        while True:
            try:
                await value(database, "SELECT 1")
            except DatabaseUnavailable as error:
                return str(error)


@pytest.mark.parametrize("name", OURS)
async def test_a_transaction_has_our_settings(database_dsn: str, name: str) -> None:
    async with connected(database_dsn) as database:
        assert await value(database, f"SELECT current_setting('{name}')") == OURS[name]


@pytest.mark.parametrize("name", HOSTILE_SETTINGS)
async def test_outside_of_transactions_a_session_is_as_others_want_it(database_dsn: str, name: str) -> None:
    """Or the test before this one would prove nothing."""
    async with connected(database_dsn) as database, database._pool.connection() as connection:
        row = await (await connection.execute("SELECT current_setting(%s)", (name,))).fetchone()

    assert row == (HOSTILE_SETTINGS[name] if name != "client_encoding" else "UTF8",)


async def test_what_others_set_in_a_session_does_not_stay(database_dsn: str) -> None:
    async with connected(database_dsn, max_size=1) as database:
        await database_told(database, "SET search_path = pg_temp")
        assert await value(database, "SELECT current_setting('search_path')") == "public, pg_temp"


async def port(database: Database) -> object:
    found: object = None

    async def ask() -> None:
        nonlocal found
        found = await value(database, "SELECT current_setting('port')")

    await until_available(ask)
    return found


@asynccontextmanager
async def writing(dsn: str) -> AsyncIterator[Database]:
    settings = DatabaseSettings(dsn=Secret(dsn), min_size=1, max_size=2, connect_timeout=Duration(1))
    async with Database(settings) as database:
        await until_connected(database)
        yield database


async def test_a_server_that_takes_no_writes_any_more_is_left_and_used_again_when_it_does(
    outage_postgres: OutagePostgres,
) -> None:
    async with writing(outage_postgres.database_dsn) as database:
        outage_postgres.set("default_transaction_read_only", "on")
        said = await refused(database)
        outage_postgres.set("default_transaction_read_only", "off")

        await until_connected(database)

    assert said == ("the server takes no writes: its default_transaction_read_only is on (set by configuration file)")


async def test_an_open_connection_does_not_keep_us_on_a_primary_of_the_past(
    outage_postgres: OutagePostgres, superuser_dsn: str, postgres_database: str
) -> None:
    other = str(psycopg.conninfo.conninfo_to_dict(superuser_dsn)["port"])
    dsn = make_conninfo(
        outage_postgres.database_dsn,
        host="127.0.0.1,127.0.0.1",
        port=f"{outage_postgres.port},{other}",
        dbname="postgres",
        target_session_attrs="read-write",
    )
    async with writing(dsn) as database:
        before = await port(database)
        outage_postgres.set("default_transaction_read_only", "on")

        async with asyncio.timeout(60):
            while (after := await port(database)) == before:
                pass

    assert (before, after) == (str(outage_postgres.port), other)


async def test_who_only_reads_reads_where_nothing_can_be_written(outage_postgres: OutagePostgres) -> None:
    outage_postgres.set("default_transaction_read_only", "on")
    settings = DatabaseSettings(dsn=Secret(outage_postgres.database_dsn))

    async with Database(settings, writes=False) as database:
        assert await Reader(database).participants() == []


async def test_a_renewed_secret_is_used_at_once_and_what_was_made_with_the_old_one_given_up(
    database_dsn: str, superuser_dsn: str, reader_dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "dsn"
    file.write_text(database_dsn)
    secret = SecretFile("DSN_FILE", str(file), stable_seconds=0)
    async with Database(DatabaseSettings(dsn=Secret(secret.text(), secret))) as database:
        await until_connected(database)
        before = await value(database, "SELECT current_user")

        file.write_text(reader_dsn)

        assert (before, await value(database, "SELECT current_user")) == (
            "dict_rate_limit_writer",
            "dict_rate_limit_reader",
        )


async def test_a_secret_that_is_no_dsn_leaves_the_last_one(database_dsn: str, tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text(database_dsn)
    secret = SecretFile("DSN_FILE", str(file), stable_seconds=0)
    async with Database(DatabaseSettings(dsn=Secret(secret.text(), secret))) as database:
        await until_connected(database)

        file.write_text("nonsense")

        assert await value(database, "SELECT current_user") == "dict_rate_limit_writer"
