"""The systemd unit: what systemd itself says of it, and what the program makes of its commands."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.deployed import UNIT, settings_of, understood, unit_commands, unit_lines


@pytest.fixture
def analyze():
    """Runs systemd-analyze, which must be there in CI; returns whether it is content, and its words."""
    binary = shutil.which("systemd-analyze")
    if binary is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")

    def run(*arguments: str | Path) -> tuple[bool, str]:
        done = subprocess.run(
            [binary, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60
        )
        return done.returncode == 0, done.stdout

    return run


@pytest.fixture
def installed(tmp_path) -> Path:
    """The unit, with the program where it is here."""
    unit = tmp_path / UNIT.name
    folder = Path(sys.executable).parent
    unit.write_text(UNIT.read_text().replace("/opt/dict-rate-limit/bin", str(folder)))
    return unit


def test_systemd_finds_no_fault_with_the_unit(analyze, installed) -> None:
    right, told = analyze("verify", "--man=no", installed)

    assert (right, told) == (True, "")


def test_systemd_finds_faults_where_there_are_some(analyze, installed) -> None:
    installed.write_text(installed.read_text().replace("PrivateTmp=yes", "PrivateTmpp=yes"))

    _, told = analyze("verify", "--man=no", installed)

    assert "PrivateTmpp" in told


def test_systemd_rates_the_units_exposure_as_low(analyze) -> None:
    # In tenths: 2.0 of 10; what is left is the network, which it needs.
    right, told = analyze("security", "--offline=true", "--threshold=20", UNIT)

    assert right, told


def test_the_program_can_see_its_own_memory_and_cpu() -> None:
    # process_* are served only where /proc/stat can be read, which ProcSubset=pid hides.
    assert ("ProcSubset", "pid") not in unit_lines()


def test_the_program_understands_the_units_commands() -> None:
    assert [understood(arguments) for arguments in unit_commands()] == ["config check", "run"]
    assert {
        arguments[-2:] == ["--config.file", "/etc/dict-rate-limit/config.yml"] for arguments in unit_commands()
    } == {True}


def test_the_program_takes_the_units_environment(tmp_path) -> None:
    environment = dict(value.split("=", 1) for key, value in unit_lines() if key == "Environment")

    settings = settings_of(environment, tmp_path)

    assert settings.database.dsn is not None
    assert settings.pulsar.token is not None


def test_every_secret_of_the_environment_is_a_credential() -> None:
    credentials = {value.split(":")[0] for key, value in unit_lines() if key == "LoadCredential"}
    files = {value.split("=", 1)[1] for key, value in unit_lines() if key == "Environment"}

    assert files == {f"%d/{name}" for name in credentials}
