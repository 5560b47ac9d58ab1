"""The schema: numbered plain SQL files, each with its way back, and which of them have been applied.

Each migration is one transaction that holds an advisory lock, so several
processes may migrate at once, and a migration that fails leaves nothing behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from psycopg import sql

from exporter.errors import MigrationFailed, SchemaMismatch
from exporter.store.database import PATIENCE_SECONDS, Database
from exporter.store.migration_session import Connection, connect, locked, run, transaction

_APPLIED: Final = "SELECT number, name, checksum, applied_at FROM public.dict_rate_limit_migrations ORDER BY number"
_OWN: Final = frozenset(
    {"dict_rate_limit_lease", "dict_rate_limit_commits", "dict_rate_limit_installation", "dict_rate_limit_audit_head"}
)
"""Tables with rows in every database, which record nothing that happened."""
_UNQUALIFIED: Final = {
    1: "cfc5910a6efbd205ff3b254e3fdc8fc3bb969cfd441c7a70211726795dacd53b",
    2: "41fe665e415b0810b82f6510b8273e1ec45cc4fb3a037dd2602de94a3750f902",
    3: "0f6d675aae1a9961098309d30ae153375d611d45227799b3b5a30b6d5872207c",
    4: "3dc9c88e822c3023cdd259bda8c32f7701ed8f388dcc68a810a0cf7d40904ded",
    5: "2fa5ddf7caf9484c5f0c080ea59c79a34459be4d7c4b9d401793cd6dff3eecdd",
    6: "b5bd00027fc8f1be8f7176b2330ebcb2ae34542668a495ba98f7c232d81abf13",
    7: "6b45c7db612810936b38866cb7049965780a305ff1a25d49203bbf74a3e46e2b",
    8: "03cee132d62076c2675b3797285fb43d522434cb2399ef3a0b50ce5cae8ad576",
    9: "35dbe7c1e8251657dfd94f90ebd72504dbbea1942f80057e2d335f066a905a21",
    10: "ddf268100bcee5c30ddeeb747579f2d14bca9f44af3598d53431ee85b8313a3b",
    11: "465ffecde268e32e34b7d219661cdc8077952545dcca90ea6eef260212ae5eb7",
}
"""Checksums by number of migrations as they were before their names were qualified with the schema."""
_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """A step of the schema; ``checksum`` is the SHA-256 of ``up_sql``."""

    number: int
    name: str
    up_sql: str
    down_sql: str

    @property
    def checksum(self) -> str:
        return sha256(self.up_sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class Status:
    """A step (``name`` as in its file), and when it was applied (UTC); None: not yet."""

    number: int
    name: str
    applied_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Applied:
    number: int
    name: str
    checksum: str
    applied_at: datetime


def directory() -> Path:
    """Returns where the SQL files are: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def migrations() -> tuple[Migration, ...]:
    """Returns every step, in order. Raises MigrationFailed where a number or a way back is missing."""
    steps = []
    for file in sorted(directory().glob("[0-9]*.sql")):
        if (match := _FILE.fullmatch(file.name)) is None:
            continue
        back = file.with_suffix(".down.sql")
        if not back.exists():
            raise MigrationFailed(f"{file.name} has no way back; write {back.name}")
        steps.append(Migration(int(match[1]), match[2], file.read_text("utf-8"), back.read_text("utf-8")))
    if [step.number for step in steps] != list(range(1, len(steps) + 1)):
        names = [str(step) for step in steps]
        raise MigrationFailed(f"{directory()} should hold migrations 0001, 0002, …; it holds {names}")
    return tuple(steps)


async def status(dsn: str) -> list[Status]:
    """Returns every step with when it was applied. Raises MigrationFailed, DatabaseUnavailable."""
    async with connect(dsn) as connection, transaction(connection, writes=False):
        applied = {a.number: a for a in await _applied(connection)}
    steps = [
        Status(m.number, str(m), applied[m.number].applied_at if m.number in applied else None) for m in migrations()
    ]
    newer = [Status(a.number, f"{a.number:04}_{a.name}", a.applied_at) for a in applied.values()]
    return steps + newer[len(steps) :]


async def up(
    dsn: str, *, to: int | None = None, progress: Callable[[Migration], object] = lambda _: None
) -> list[Migration]:
    """Applies what is missing (up to step ``to``), grants the roles their rights, and returns what was applied.

    ``progress`` is called after each step. Raises MigrationFailed, DatabaseUnavailable.
    """
    steps = migrations()
    target = len(steps) if to is None else to
    done = []
    async with connect(dsn) as connection:
        for step in steps[:target]:
            async with locked(connection):
                if step.number <= await _last_applied(connection, steps):
                    continue
                await run(connection, step.up_sql, f"{step}.sql")
                await connection.execute(
                    "INSERT INTO public.dict_rate_limit_migrations (number, name, checksum) VALUES (%s, %s, %s)",
                    (step.number, step.name, step.checksum),
                )
            done.append(step)
            progress(step)
        if target == len(steps):
            async with locked(connection):
                await _last_applied(connection, steps)
                await run(connection, (directory() / "grants.sql").read_text("utf-8"), "grants.sql")
    return done


async def would_lose(dsn: str, *, steps: int = 1) -> list[str]:
    """Returns the data that `down` with these ``steps`` would drop. Raises as `down`."""
    all_steps = migrations()
    lost: list[str] = []
    async with connect(dsn) as connection, locked(connection):
        last = await _last_applied(connection, all_steps)
        for step in reversed(all_steps[max(0, last - steps) : last]):
            for table in await _dropped(connection, step.down_sql):
                cursor = await connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(table)))
                if await cursor.fetchone() is not None:
                    lost.append(f"{step} drops from {table}")
    return lost


async def _dropped(connection: Connection, statements: str) -> list[str]:
    """Returns the existing tables that ``statements`` drop, or drop a column of."""
    tables = re.findall(r"DROP TABLE public\.(\w+)", statements)
    for table, changes in re.findall(r"ALTER TABLE public\.(\w+)([^;]*)", statements):
        # A column that is dropped and added again is computed from others.
        if set(re.findall(r"DROP COLUMN (\w+)", changes)) - set(re.findall(r"ADD COLUMN (\w+)", changes)):
            tables.append(table)
    kept = _OWN | set(re.findall(r"^-- Keeps the data of (\w+)", statements, re.MULTILINE))
    tables = [table for table in tables if table not in kept]
    cursor = await connection.execute(
        "SELECT t FROM unnest(%s::text[]) AS t WHERE to_regclass('public.' || t) IS NOT NULL", [tables]
    )
    return [table for (table,) in await cursor.fetchall()]


async def down(dsn: str, *, steps: int = 1) -> list[Migration]:
    """Reverts the last ``steps`` migrations, and returns them, the last first.

    The data of their tables is lost. Raises MigrationFailed, DatabaseUnavailable.
    """
    all_steps = migrations()
    done: list[Migration] = []
    async with connect(dsn) as connection:
        while len(done) < steps:
            async with locked(connection):
                last = await _last_applied(connection, all_steps)
                if last == 0:
                    break
                step = all_steps[last - 1]
                await run(connection, step.down_sql, f"{step}.down.sql")
                await connection.execute("DELETE FROM public.dict_rate_limit_migrations WHERE number = %s", (last,))
            done.append(step)
    return done


async def create_roles(dsn: str) -> None:
    """Creates the roles migrator, writer and reader (roles.sql). Needs a superuser. Raises MigrationFailed."""
    async with connect(dsn) as connection, locked(connection, table=False):
        await run(connection, (directory() / "roles.sql").read_text("utf-8"), "roles.sql")


async def check(database: Database, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Raises SchemaMismatch, saying what to do, unless the schema is the one this version needs; DatabaseUnusable."""
    steps = migrations()
    async with database.transaction(patience_seconds=patience_seconds) as connection:
        applied = await _applied(connection)
    if len(applied) < len(steps):
        raise SchemaMismatch(
            f"the database's schema is at {len(applied):04} and this version needs {len(steps):04}; "
            f"run `dict-rate-limit migrate up`"
        )
    if len(applied) > len(steps):
        raise SchemaMismatch(
            f"the database's schema is at {len(applied):04} and this version knows {len(steps):04}; "
            f"run the version that migrated it, or a later one"
        )
    _refuse_changed(applied, steps)


async def _applied(connection: Connection) -> list[_Applied]:
    cursor = await connection.execute("SELECT to_regclass('public.dict_rate_limit_migrations') IS NOT NULL")
    if await cursor.fetchone() != (True,):
        return []
    return [_Applied(*row) async for row in await connection.execute(_APPLIED)]


async def _last_applied(connection: Connection, steps: tuple[Migration, ...]) -> int:
    """Returns the last step applied (0: none)."""
    applied = await _applied(connection)
    if len(applied) > len(steps):
        raise MigrationFailed(
            f"the database's schema is at {len(applied):04}, which this version does not know (it knows "
            f"{len(steps):04}); use the version that migrated it"
        )
    try:
        _refuse_changed(applied, steps)
    except SchemaMismatch as error:
        raise MigrationFailed(str(error)) from error
    return len(applied)


def _refuse_changed(applied: list[_Applied], steps: tuple[Migration, ...]) -> None:
    for was, step in zip(applied, steps, strict=False):
        if was.number != step.number or was.checksum not in (step.checksum, _UNQUALIFIED.get(was.number)):
            raise SchemaMismatch(
                f"migration {was.number:04}_{was.name} was applied on {was.applied_at:%Y-%m-%d} with other contents "
                f"than {step}.sql has now; restore that file, and write a new migration for the change"
            )
