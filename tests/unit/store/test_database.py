"""What the program makes of the driver's errors, and of the pool's habits."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg import errors as pg
from psycopg_pool import PoolTimeout

from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings
from exporter.errors import (
    AccessDenied,
    ConfigurationError,
    DatabaseUnavailable,
    PartitionMissing,
    ReconciliationRefused,
    SchemaMismatch,
    StoreError,
)
from exporter.store.connections import check_dsn, configured_dsn
from exporter.store.database import Database, DatabaseOutage
from exporter.store.driver_errors import translated
from tests.support.clocks import Clock
from tests.support.logs import logged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (PoolTimeout("couldn't get a connection after 5.00 sec"), DatabaseUnavailable),
        (psycopg.OperationalError("server closed the connection unexpectedly"), DatabaseUnavailable),
        (psycopg.InterfaceError("the connection is closed"), DatabaseUnavailable),
        (pg.ReadOnlySqlTransaction("cannot execute UPDATE in a read-only transaction"), DatabaseUnavailable),
        (pg.InsufficientPrivilege("permission denied for table a"), AccessDenied),
        (pg.UndefinedTable('relation "a" does not exist'), SchemaMismatch),
        (pg.UndefinedColumn('column "a" does not exist'), SchemaMismatch),
        (pg.DatatypeMismatch('column "a" is of type integer'), SchemaMismatch),
        (pg.InvalidColumnReference("there is no unique constraint"), SchemaMismatch),
        (pg.WrongObjectType('"a" is not a table'), SchemaMismatch),
        (pg.NumericValueOutOfRange("bigint out of range"), ReconciliationRefused),
        (pg.NotNullViolation('null value in column "a"'), ReconciliationRefused),
        (pg.CheckViolation('no partition of relation "a" found for row'), PartitionMissing),
        # A defect of this program's own: waiting would not mend it.
        (psycopg.ProgrammingError("the query has 2 placeholders but 1 parameters were passed"), StoreError),
    ],
)
def test_an_error_says_whether_it_may_go_well_another_time(error: psycopg.Error, kind: type[StoreError]) -> None:
    assert type(translated(error)) is kind


def test_who_lacks_a_right_is_told_who_grants_it() -> None:
    said = str(translated(pg.InsufficientPrivilege("permission denied for table dict_rate_limit_lease")))

    assert said == (
        "the database user may not do this (permission denied for table dict_rate_limit_lease); "
        "run `dict-rate-limit migrate up` as the migrator, which grants it (migrations/grants.sql)"
    )


class Lent:
    """A connection that takes whatever it is told."""

    takes_writes = True

    async def execute(self, _query: bytes) -> None:
        pass


class LosesACancellation:
    """A pool that hands a connection out though its caller is to end, as one that waits with wait_for may."""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield Lent()


async def use(database: Database, used: list[Any], patience_seconds: float = 60) -> None:
    async with database.transaction(patience_seconds=patience_seconds) as connection:
        used.append(connection)


@pytest.fixture
def database() -> Database:
    made = Database(DatabaseSettings(dsn=Secret("host=127.0.0.1")))
    made._pool = LosesACancellation()  # type: ignore[assignment]
    return made


async def test_who_is_to_end_ends_though_the_pool_forgot_it(database: Database) -> None:
    used: list[Any] = []
    task = asyncio.create_task(use(database, used))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert not used


async def test_a_connection_that_comes_too_late_is_no_connection(database: Database) -> None:
    used: list[Any] = []

    with pytest.raises(DatabaseUnavailable, match=r"did not answer within 0\.01s"):
        await use(database, used, patience_seconds=0.01)

    assert not used


async def test_what_a_task_that_is_ending_has_still_to_write_gets_its_connection() -> None:
    class Pool:
        @asynccontextmanager
        async def connection(self) -> AsyncIterator[Any]:
            yield Lent()

    database = Database(DatabaseSettings(dsn=Secret("host=127.0.0.1")))
    database._pool = Pool()  # type: ignore[assignment]
    used: list[Any] = []

    async def ends() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await use(database, used)

    task = asyncio.create_task(ends())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert used


def configured(dsn: str) -> str:
    return configured_dsn(DatabaseSettings(dsn=Secret(dsn)))


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://user:p%40ss@host:5432/database",
        "postgres://host/database?sslmode=verify-full",
        "postgresql://one:5432,two:5433/database",
        "postgresql://one,two:5433/database",
        "postgresql://[::1]:5432/database",
        "postgresql:///database?host=/run/postgresql",
        "host=one,two port=5432 dbname=database",
        "host=one hostaddr=10.0.0.1 port=5432",
        "service=dict-rate-limit",
        "dbname=database",
    ],
)
def test_what_libpq_takes_is_let_through(dsn: str) -> None:
    assert configured(dsn) == dsn


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("mysql://user:hush@host/database", "begins with mysql://; write postgresql://user:password@host:5432/"),
        ("postgresql+psycopg://user:hush@host/d", "begins with postgresql+psycopg://; write postgresql://"),
        ("jdbc:postgresql://host/d?password=hush", "begins with jdbc:postgresql://; write postgresql://"),
        ("POSTGRESQL://user:hush@host/d", "begins with POSTGRESQL://; write postgresql://"),
        (" postgresql://user:hush@host/d", "begins with postgresql://; write postgresql://"),
        ("postgresql://user:hu/sh@host/d", "is neither a postgresql:// URL nor key=value pairs"),
        ("host=\udcff password=hush", "is neither a postgresql:// URL nor key=value pairs"),
        ("hush", "is neither a postgresql:// URL nor key=value pairs"),
        ("host=https://host password=hush", "is neither a postgresql:// URL nor key=value pairs"),
        ("host=host port=५ password=hush", "is neither a postgresql:// URL nor key=value pairs"),
        ("postgresql://user:hush@host:0/d", "has no port from 1 to 65535"),
        ("postgresql://user:hush@host:65536/d", "has no port from 1 to 65535"),
        (f"host=host port={'9' * 5000}", "has no port from 1 to 65535"),
        ("host=one,two port=1,2,3 password=hush", "has 3 ports for 2 hosts; write one for each"),
    ],
)
def test_what_is_no_dsn_is_refused_and_its_password_not_shown(dsn: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^database\.dsn: ") as refused:
        configured(dsn)

    assert said in str(refused.value)
    assert "hush" not in str(refused.value)


@example("postgresql://%80")
@given(st.text() | st.from_regex(r"(postgresql|postgres|mysql)://[a-z:@,/\[\]0-9?=%]*"))
def test_any_text_is_let_through_or_refused(dsn: str) -> None:
    with suppress(ConfigurationError):
        assert configured(dsn) == dsn


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("sslmode=nonsense", 'invalid sslmode value: "nonsense"'),
        ("target_session_attrs=foo", 'invalid target_session_attrs value: "foo"'),
        ("require_auth=foo", 'invalid require_auth value: "foo"'),
        ("service=nope", 'definition of service "nope" not found'),
    ],
)
def test_a_parameter_that_libpq_never_takes_is_refused_in_its_words(parameter: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        check_dsn(f"host=h password=hush {parameter}")

    assert str(refused.value) == f"database.dsn: {said}"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:p%40@h1:5432,h2:5433/d?target_session_attrs=read-write&sslmode=verify-full&sslrootcert=/nope",
        "host=h hostaddr=10.0.0.1 port=1 options='-c search_path=x'",
        "dbname=x",
    ],
)
def test_a_dsn_that_may_work_is_not_refused(dsn: str) -> None:
    check_dsn(dsn)


async def test_who_waited_in_vain_for_a_connection_is_told_why_none_came(database: Database) -> None:
    database._refusal = "password authentication failed"

    with pytest.raises(DatabaseUnavailable, match="no connection to PostgreSQL: password authentication failed"):
        await use(database, [], patience_seconds=0.01)


def test_an_outage_is_told_when_it_begins_once_a_minute_and_when_it_is_over(caplog) -> None:
    caplog.set_level("INFO", "exporter.store.database")
    clock = Clock()
    outage = DatabaseOutage(fields=lambda: {"polls_waiting": 7}, monotonic=clock)

    for clock.seconds in range(0, 180, 2):
        for reason in ("connection refused", "it does not answer"):  # of parts that notice it each for itself
            outage.noticed(DatabaseUnavailable(reason))
    clock.seconds = 185
    over = [outage.over(), outage.over()]

    assert over == [True, False]
    assert logged(caplog, "levelname", "error", "for_seconds", "after_seconds") == [
        ("database unusable", "ERROR", "connection refused", "", ""),
        ("database still unusable", "ERROR", "connection refused", 60, ""),
        ("database still unusable", "ERROR", "connection refused", 120, ""),
        ("database usable again", "INFO", "", "", 185),
    ]
    assert {record.polls_waiting for record in caplog.records} == {7}


def test_a_database_that_was_never_away_is_not_said_to_be_back(caplog) -> None:
    caplog.set_level("INFO", "exporter.store.database")

    assert not DatabaseOutage().over()
    assert not caplog.records
