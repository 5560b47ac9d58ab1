"""The schema: there and back, by one or by many; and who may do what with it."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import errors as pg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings
from exporter.errors import DatabaseUnavailable, MigrationFailed, SchemaMismatch
from exporter.store import migrations
from exporter.store.database import DIRECTORY, Database, queries
from tests.support.builders import alert, bucket, poll
from tests.support.postgres import HOSTILE_SETTINGS, OutagePostgres
from tests.support.stored import connected, reconciled, stored

pytestmark = pytest.mark.postgres

ALL = [str(step) for step in migrations.migrations()]
ROOT = Path(__file__).parents[2]

# Everything that a schema is made of, as text; partitions are named by the month they were made in.
SCHEMA = """
SELECT 'column', format('%s.%s %s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
       a.attnotnull, a.attgenerated, pg_get_expr(d.adbin, d.adrelid))
  FROM pg_attribute AS a
  JOIN pg_class AS c ON c.oid = a.attrelid
  LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
 WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
 UNION ALL
SELECT 'constraint', format('%s %s', conrelid::regclass, pg_get_constraintdef(oid))
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
 UNION ALL
SELECT 'index', indexdef FROM pg_indexes WHERE schemaname = 'public'
 UNION ALL
SELECT 'view', format('%s %s', viewname, definition) FROM pg_views WHERE schemaname = 'public'
 UNION ALL
SELECT 'function', pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
 UNION ALL
SELECT 'trigger', pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
 UNION ALL
SELECT 'rights', format('%s %s', relname, relacl) FROM pg_class WHERE relnamespace = 'public'::regnamespace
 ORDER BY 1, 2
"""


def schema(dsn: str) -> list[tuple[str, str]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(SCHEMA).fetchall()


def tables(dsn: str) -> set[str]:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {name for (name,) in found}


@pytest.fixture
def other_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that a test may change."""
    for file in migrations.directory().glob("*.sql"):
        (tmp_path / file.name).write_text(file.read_text("utf-8"), "utf-8")
    monkeypatch.setattr(migrations, "directory", lambda: tmp_path)
    return tmp_path


async def test_up_applies_every_step_once_and_tells_of_each(empty_database: str) -> None:
    seen: list[str] = []

    done = await migrations.up(empty_database, progress=lambda step: seen.append(str(step)))

    assert [str(step) for step in done] == seen == ALL
    assert await migrations.up(empty_database) == []


async def test_status_tells_what_was_applied_and_what_was_not(empty_database: str) -> None:
    await migrations.up(empty_database, to=3)

    found = await migrations.status(empty_database)

    assert [(s.name, s.applied_at is not None) for s in found] == [(name, place < 3) for place, name in enumerate(ALL)]
    assert [s.number for s in found] == list(range(1, len(ALL) + 1))


async def test_status_of_an_untouched_database_changes_nothing(empty_database: str) -> None:
    found = await migrations.status(empty_database)

    assert all(step.applied_at is None for step in found)
    assert tables(empty_database) == set()


async def test_down_leaves_nothing_and_up_again_makes_the_same_schema(empty_database: str) -> None:
    await migrations.up(empty_database)
    from_scratch = schema(empty_database)

    back = await migrations.down(empty_database, steps=len(ALL))

    assert [str(step) for step in back] == ALL[::-1]
    assert tables(empty_database) == {"dict_rate_limit_migrations"}
    assert [kind for kind, _ in schema(empty_database) if kind in ("view", "function", "trigger")] == []
    await migrations.up(empty_database)
    assert schema(empty_database) == from_scratch


async def test_every_step_there_and_back_is_as_if_it_had_not_been(empty_database: str) -> None:
    def own(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Partitions stay: taking a step back drops no table of another's. Rights are given after the last step.

        A column that is made anew is the last one, also where a view selects them all.
        """
        return [
            (kind, text if kind != "view" else " ".join(sorted(re.findall(r"[^\s,;]+", text))))
            for kind, text in lines
            if kind != "rights" and not re.search(r"_\d{4}_\d{2}|dict_rate_limit_migrations", text)
        ]

    for place in range(1, len(ALL) + 1):
        await migrations.up(empty_database, to=place - 1)
        before = schema(empty_database)

        await migrations.up(empty_database, to=place)
        assert [str(step) for step in await migrations.down(empty_database)] == [ALL[place - 1]]

        assert own(schema(empty_database)) == own(before)


async def test_a_step_back_from_chunks_writes_them_as_rows_and_loses_nothing(
    migrator_dsn: str, database_dsn: str
) -> None:
    async with stored(database_dsn) as store:
        await store.commit(*[poll(bucket(n), seconds=15 * n) for n in range(9)])
        before = await store.everything()
        await store.compact()
    steps = len(ALL) - ALL.index("0018_compact_history")
    assert await migrations.would_lose(migrator_dsn, steps=steps) == []

    await migrations.down(migrator_dsn, steps=steps)

    with psycopg.connect(migrator_dsn) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET DateStyle = 'ISO, YMD'")
        for table in ("states", "reconciliations"):
            found = connection.execute(f"SELECT t::text FROM dict_rate_limit_{table} AS t ORDER BY 1".encode())
            assert [row for (row,) in found] == before[table]
    await migrations.up(migrator_dsn)
    async with connected(database_dsn) as database:
        states = await database.fetch(b"SELECT s::text FROM dict_rate_limit_states AS s ORDER BY 1", {})
        assert [row for (row,) in states] == before["states"]


async def test_down_at_the_bottom_does_nothing(empty_database: str) -> None:
    assert await migrations.down(empty_database) == []


async def test_several_processes_may_migrate_at_once(empty_database: str) -> None:
    code = (
        "import asyncio, sys; from exporter.store import migrations; "
        "print(len(asyncio.run(migrations.up(sys.argv[1]))))"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, empty_database, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]

    told = [(await process.communicate())[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sum(int(number) for number in told) == len(ALL)
    assert all(step.applied_at for step in await migrations.status(empty_database))


async def test_roles_are_made_twice_and_at_once_without_harm(empty_database: str, postgres_admin_dsn: str) -> None:
    with psycopg.connect(empty_database) as connection:
        dsn = make_conninfo(postgres_admin_dsn, dbname=connection.info.dbname)

    await asyncio.gather(*(migrations.create_roles(dsn) for _ in range(3)))

    await migrations.up(empty_database)


async def test_who_may_not_make_roles_is_told_so(empty_database: str) -> None:
    with pytest.raises(MigrationFailed, match=r"roles\.sql"):
        await migrations.create_roles(empty_database)


async def test_who_may_not_migrate_is_told_so(empty_database: str, database_dsn: str) -> None:
    for dsn in (make_conninfo(empty_database, user="dict_rate_limit_writer"), database_dsn):
        with pytest.raises(MigrationFailed, match=r"permission denied for schema public.*roles\.sql"):
            await migrations.up(dsn)


async def test_a_server_that_takes_no_changes_says_so(outage_postgres: OutagePostgres) -> None:
    outage_postgres.set("default_transaction_read_only", "on")

    with pytest.raises(DatabaseUnavailable, match="takes no writes: its default_transaction_read_only is on"):
        await migrations.up(outage_postgres.migrator_dsn)
    assert all(step.applied_at for step in await migrations.status(outage_postgres.migrator_dsn))


async def test_everything_comes_into_public_whatever_the_database_and_the_role_are_set_to(
    postgres_admin_dsn: str, empty_database: str
) -> None:
    name = conninfo_to_dict(empty_database)["dbname"]
    with psycopg.connect(postgres_admin_dsn, autocommit=True) as admin:
        for setting, value in HOSTILE_SETTINGS.items():
            admin.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(str(name)), sql.Identifier(setting), sql.Literal(value)
                )
            )
    with psycopg.connect(make_conninfo(postgres_admin_dsn, dbname=name)) as connection:
        connection.read_only = False
        connection.execute("CREATE SCHEMA nowhere")
        connection.execute("GRANT ALL ON SCHEMA nowhere TO PUBLIC")

    await migrations.up(empty_database)

    with psycopg.connect(make_conninfo(postgres_admin_dsn, dbname=name)) as connection:
        schemas = connection.execute(
            "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname ~ '^v?_?dict_rate_limit'"
        ).fetchall()
    assert schemas == [("public",)]


async def test_files_that_are_run_by_hand_name_their_schema(empty_database: str) -> None:
    with psycopg.connect(empty_database, options="-c search_path=pg_temp") as connection:
        for file in sorted(migrations.directory().glob("[0-9]*[a-z].sql")):
            if not file.name.endswith(".down.sql"):
                connection.execute(file.read_text().encode())
        made = connection.execute(
            "SELECT DISTINCT relnamespace::regnamespace::text FROM pg_class WHERE relname ~ '^v?_?dict_rate_limit'"
        ).fetchall()
        assert made == [("public",)]
        for file in sorted(migrations.directory().glob("*.down.sql"), reverse=True):
            connection.execute(file.read_text().encode())


async def test_functions_mean_the_same_in_every_session(migrator_dsn: str) -> None:
    with psycopg.connect(migrator_dsn) as connection:
        functions = connection.execute(
            "SELECT proname, proconfig FROM pg_proc JOIN pg_language AS l ON l.oid = prolang"
            " WHERE pronamespace = 'public'::regnamespace AND lanname = 'plpgsql'"
        ).fetchall()
    assert len(functions) == 9
    for name, settings in functions:
        pinned = {setting.partition("=")[0] for setting in settings}
        assert pinned >= {"search_path", "standard_conforming_strings", "DateStyle", "IntervalStyle", "TimeZone"}, name


async def test_a_database_that_was_migrated_before_names_were_qualified_goes_on(migrator_dsn: str) -> None:
    with psycopg.connect(migrator_dsn) as connection:
        for number, checksum in migrations._UNQUALIFIED.items():
            connection.execute(
                "UPDATE public.dict_rate_limit_migrations SET checksum = %s WHERE number = %s", (checksum, number)
            )

    assert await migrations.up(migrator_dsn) == []


async def test_a_step_that_fails_leaves_nothing_and_names_the_line(empty_database: str, other_steps: Path) -> None:
    file = other_steps / f"{ALL[-1]}.sql"
    file.write_text("CREATE TABLE half_done ();\n\nSELECT nonsense;\n", "utf-8")

    with pytest.raises(MigrationFailed, match=rf'{file.name}:3: column "nonsense" does not exist'):
        await migrations.up(empty_database)

    assert "half_done" not in tables(empty_database)
    assert [s.name for s in await migrations.status(empty_database) if s.applied_at] == ALL[:-1]


async def test_a_step_that_was_changed_after_it_was_applied_is_refused(
    empty_database: str, other_steps: Path, writer_settings: DatabaseSettings
) -> None:
    await migrations.up(empty_database)
    file = other_steps / f"{ALL[0]}.sql"
    file.write_text(file.read_text("utf-8") + "-- touched\n", "utf-8")

    with pytest.raises(MigrationFailed, match="with other contents"):
        await migrations.up(empty_database)
    with pytest.raises(MigrationFailed, match="with other contents"):
        await migrations.down(empty_database)
    async with Database(writer_settings) as database:
        with pytest.raises(SchemaMismatch, match="with other contents"):
            await migrations.check(database)


async def test_a_database_of_a_later_version_is_left_alone(
    empty_database: str, other_steps: Path, writer_settings: DatabaseSettings
) -> None:
    await migrations.up(empty_database)
    remove(other_steps, ALL[-1])

    with pytest.raises(MigrationFailed, match=f"is at {len(ALL):04}, which this version does not know"):
        await migrations.up(empty_database)
    async with Database(writer_settings) as database:
        with pytest.raises(SchemaMismatch, match="run the version that migrated it"):
            await migrations.check(database)
    assert (await migrations.status(empty_database))[-1].name == ALL[-1]


def test_a_step_without_a_way_back_is_refused(other_steps: Path) -> None:
    (other_steps / f"{ALL[2]}.down.sql").unlink()

    with pytest.raises(MigrationFailed, match=f"{ALL[2]}.sql has no way back"):
        migrations.migrations()


def test_a_number_that_is_missing_is_refused(other_steps: Path) -> None:
    remove(other_steps, ALL[2])

    with pytest.raises(MigrationFailed, match="should hold migrations 0001, 0002"):
        migrations.migrations()


async def test_a_missing_migration_is_named_with_what_to_do(
    empty_database: str, writer_settings: DatabaseSettings
) -> None:
    await migrations.up(empty_database, to=len(ALL) - 1)

    async with Database(writer_settings) as database:
        with pytest.raises(SchemaMismatch, match=rf"at {len(ALL) - 1:04} and this version needs {len(ALL):04}; run"):
            await migrations.check(database)
    await migrations.up(empty_database)
    async with Database(writer_settings) as database:
        await migrations.check(database)


async def test_a_server_that_is_not_there_is_reported() -> None:
    with pytest.raises(DatabaseUnavailable, match="no connection to PostgreSQL"):
        await migrations.up("host=127.0.0.1 port=1 dbname=x")


async def test_a_migration_waits_seconds_for_a_lock_and_no_longer(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, other_steps: Path
) -> None:
    await migrations.up(empty_database, to=1)
    file = other_steps / f"{ALL[1]}.sql"
    file.write_text("SET LOCAL lock_timeout = '100ms'; ALTER TABLE dict_rate_limit_policies ADD x int;", "utf-8")
    with psycopg.connect(empty_database) as busy:
        busy.execute("SELECT FROM dict_rate_limit_policies")

        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            await migrations.up(empty_database, to=2)


async def test_one_user_may_own_and_write_everything(empty_database: str) -> None:
    await migrations.up(empty_database)

    async with stored(empty_database) as store:
        assert await store.commit(reconciled(0, after=(alert(),))) == []


def remove(folder: Path, step: str) -> None:
    (folder / f"{step}.sql").unlink()
    (folder / f"{step}.down.sql").unlink()


# Roles


@pytest.fixture
def writer_settings(empty_database: str) -> DatabaseSettings:
    return DatabaseSettings(dsn=Secret(make_conninfo(empty_database, user="dict_rate_limit_writer")))


REFUSED_TO_WRITER = [
    "DROP TABLE dict_rate_limit_outbox",
    "TRUNCATE dict_rate_limit_state_rows",
    "CREATE TABLE mine ()",
    "ALTER TABLE dict_rate_limit_state_rows ADD x int",
    "DELETE FROM dict_rate_limit_state_rows",
    "UPDATE dict_rate_limit_state_rows SET capacity = 1",
    "DELETE FROM dict_rate_limit_reconciliation_rows",
    "DELETE FROM dict_rate_limit_chunks",
    "INSERT INTO dict_rate_limit_chunks SELECT * FROM dict_rate_limit_chunks",
    "DELETE FROM dict_rate_limit_policies",
    "DELETE FROM dict_rate_limit_lease",
    "INSERT INTO dict_rate_limit_lease DEFAULT VALUES",
    "DELETE FROM dict_rate_limit_installation",
    "DELETE FROM dict_rate_limit_outbox",
    "UPDATE dict_rate_limit_outbox SET body = '{}'",
    "UPDATE dict_rate_limit_alerts SET alertname = 'Other'",
    "UPDATE dict_rate_limit_audit_head SET number = 0",
    "UPDATE dict_rate_limit_migrations SET checksum = ''",
    "UPDATE dict_rate_limit_alert_transitions SET state = 'firing'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP FUNCTION dict_rate_limit_maintain_partitions",
    "ALTER TABLE dict_rate_limit_alerts DISABLE TRIGGER ALL",
    "SET ROLE dict_rate_limit_migrator",
]
REFUSED_TO_READER = [
    "INSERT INTO dict_rate_limit_policies SELECT * FROM dict_rate_limit_policies",
    "UPDATE dict_rate_limit_alerts SET value = 0",
    "DELETE FROM dict_rate_limit_outbox",
    "UPDATE dict_rate_limit_lease SET holder = 'me'",
    "SELECT * FROM dict_rate_limit_maintain_partitions(1)",
    "CREATE TABLE mine ()",
    "SELECT FROM dict_rate_limit_lease FOR SHARE",
]


@pytest.mark.parametrize("statement", REFUSED_TO_WRITER)
def test_the_writer_may_not(database_dsn: str, statement: str) -> None:
    with psycopg.connect(database_dsn) as connection, pytest.raises(pg.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.parametrize("statement", REFUSED_TO_READER)
def test_the_reader_may_not(reader_dsn: str, statement: str) -> None:
    with psycopg.connect(reader_dsn) as connection, pytest.raises(pg.InsufficientPrivilege):
        connection.execute(statement.encode())


async def test_the_reader_sees_everything(reader_dsn: str, database_dsn: str) -> None:
    async with stored(database_dsn) as store:
        await store.commit(reconciled(0, poll=poll(), after=(alert(),)))
        await store.compact()
        await store.commit(reconciled(3600, poll=poll(seconds=3600), before=(alert(),), after=(alert(),)))

    with psycopg.connect(reader_dsn) as connection:
        names = connection.execute(
            "SELECT relname FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('p', 'v', 'r') AND NOT relispartition"
        ).fetchall()
        assert len(names) > 8
        for (name,) in names:
            assert connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone() != (0,), name


def test_a_function_in_the_way_is_not_called_by_maintenance(migrator_dsn: str, database_dsn: str) -> None:
    """The maintenance function runs with its owner's rights, and must find only what it means."""
    with psycopg.connect(migrator_dsn) as connection:
        (path,) = connection.execute(
            "SELECT proconfig FROM pg_proc WHERE proname = 'dict_rate_limit_maintain_partitions'"
        ).fetchone() or ([],)
    assert "search_path=pg_catalog, pg_temp" in path

    with psycopg.connect(database_dsn) as connection:
        connection.execute("CREATE TEMP TABLE v_dict_rate_limit_partitions (partition text, month timestamptz)")
        connection.execute("INSERT INTO v_dict_rate_limit_partitions VALUES ('dict_rate_limit_lease', '-infinity')")
        connection.execute("SELECT dict_rate_limit_maintain_partitions(120)")
        assert connection.execute("SELECT count(*) FROM dict_rate_limit_lease").fetchone() == (1,)


# Queries


QUERIES = {
    f"{file.stem}.{name}": text for file in sorted(DIRECTORY.glob("*.sql")) for name, text in queries(file.stem).items()
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_every_query_fits_the_schema(database_dsn: str, query: bytes) -> None:
    names: list[bytes] = []

    def numbered(match: re.Match[bytes]) -> bytes:
        if match[1] not in names:
            names.append(match[1])
        return b"$%d" % (names.index(match[1]) + 1)

    with psycopg.connect(database_dsn) as connection:
        prepared = connection.pgconn.prepare(b"", re.sub(rb"%\((\w+)\)s", numbered, query))

    assert prepared.status == psycopg.pq.ExecStatus.COMMAND_OK, prepared.error_message.decode()


def test_every_query_says_what_it_is_for() -> None:
    for name, text in QUERIES.items():
        assert text.startswith(b"-- "), name
        assert text.endswith(b";"), name
