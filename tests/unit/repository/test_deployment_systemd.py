"""The systemd unit: what the program makes of its commands, environment and secrets."""

from __future__ import annotations

from exporter.cli.exit_codes import WRONG
from tests.support.deployed import settings_of, understood, unit_commands, unit_lines


def test_the_program_can_see_its_own_memory_and_cpu() -> None:
    # process_* are served only where /proc/stat can be read, which ProcSubset=pid hides.
    assert ("ProcSubset", "pid") not in unit_lines()


def test_the_program_understands_the_units_commands() -> None:
    assert [understood(arguments) for arguments in unit_commands()] == ["run"]
    assert {
        arguments[-2:] == ["--config.file", "/etc/dict-rate-limit/config.yml"] for arguments in unit_commands()
    } == {True}


def test_what_a_restart_cannot_mend_is_not_started_again_and_the_rest_is_without_end() -> None:
    assert set(unit_lines()) >= {
        ("Restart", "always"),
        ("RestartSec", "10s"),
        ("RestartPreventExitStatus", str(WRONG)),
        ("StartLimitIntervalSec", "0"),
    }
    # systemd does not look at RestartPreventExitStatus where one of these ends with it.
    assert [key for key, _ in unit_lines() if key.startswith("ExecStartP")] == []


def test_the_program_takes_the_units_environment(tmp_path) -> None:
    environment = dict(value.split("=", 1) for key, value in unit_lines() if key == "Environment")

    settings = settings_of(environment, tmp_path)

    assert settings.database.dsn is not None
    assert settings.pulsar.token is not None


def test_every_secret_of_the_environment_is_a_credential() -> None:
    credentials = {value.split(":")[0] for key, value in unit_lines() if key == "LoadCredential"}
    files = {value.split("=", 1)[1] for key, value in unit_lines() if key == "Environment"}

    assert files == {f"%d/{name}" for name in credentials}
