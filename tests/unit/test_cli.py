"""Commands and flags, as a person types them."""

from __future__ import annotations

import json
import logging
import sys

import pytest
import yaml

from exporter import __version__, cli
from tests.support.program import RULES


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command line; returns exit code, what it printed, and what it said on stderr."""
    for name in ("DICT_RATE_LIMIT_DATABASE__DSN",):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(f"DICT_RATE_LIMIT_{name}", value)
        monkeypatch.setattr(sys, "argv", ["dict-rate-limit", *arguments])
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        else:
            code = 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield run
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_version_names_program_version_and_python(command) -> None:
    code, out, _ = command("--version")

    assert code == 0
    assert out.startswith(f"dict-rate-limit {__version__} (Python 3")


def test_help_lists_every_command(command) -> None:
    _, out, _ = command("--help")

    commands = {line.split()[0] for line in out.split("Commands:")[1].splitlines() if line.strip()}
    assert commands >= {
        *("run", "exporter", "reconciler", "demo", "bridge-simulator", "migrate", "alerts", "config", "rules"),
    }


@pytest.mark.parametrize("arguments", [["nonsense"], ["run", "--nonsense"], ["demo", "--duration", "soon"]])
def test_wrong_usage_ends_with_2(command, arguments) -> None:
    code, _, err = command(*arguments)

    assert code == 2
    assert "Error" in err


def test_config_check_prints_what_is_in_force_with_secrets_masked(command) -> None:
    code, out, _ = command("config", "check", POLL__INTERVAL="20s", DATABASE__DSN="postgresql://u:hush@h/d")

    shown = yaml.safe_load(out)
    assert code == 0
    assert shown["poll"]["interval"] == "20s"
    assert "hush" not in out


def test_config_check_prints_json_on_demand(command) -> None:
    _, out, _ = command("config", "check", "--output", "json")

    assert json.loads(out)["web"]["listen_address"] == "0.0.0.0:9862"


def test_flags_win_over_the_environment(command) -> None:
    _, out, _ = command("config", "check", "--web.listen-address", ":1", WEB__LISTEN_ADDRESS=":2")

    assert yaml.safe_load(out)["web"]["listen_address"] == ":1"


def test_config_check_refuses_a_wrong_configuration_with_2(command) -> None:
    code, out, err = command("config", "check", POLL__INTERVAL="never")

    assert (code, out) == (2, "")
    assert err.startswith("dict-rate-limit: DICT_RATE_LIMIT_POLL__INTERVAL: ")


def test_config_schema_is_a_json_schema(command) -> None:
    _, out, _ = command("config", "schema")

    assert json.loads(out)["additionalProperties"] is False


@pytest.mark.parametrize(
    "line", ["migrate status", "alerts", f"explain DictRateLimitTokensLow --rules {RULES}", f"rules backtest {RULES}"]
)
def test_a_command_that_needs_the_database_says_how_to_name_it(command, line) -> None:
    code, _, err = command(*line.split())

    assert code == 2
    assert "DICT_RATE_LIMIT_DATABASE__DSN" in err


@pytest.mark.postgres
def test_migrate_goes_up_and_down_and_tells_each_step(command, empty_database) -> None:
    _, pending, _ = command("migrate", "status", DATABASE__DSN=empty_database)
    _, up, _ = command("migrate", "up")
    _, again, _ = command("migrate", "up")
    _, down, _ = command("migrate", "down", "--steps", "2")
    _, after, _ = command("migrate")

    assert {line.split()[1] for line in pending.splitlines()} == {"pending"}
    assert up.splitlines()[0] == "applied 0001_create_dict_rate_limit_policies"
    assert up.splitlines()[-1].endswith("migrations applied")
    assert again == "nothing to apply: the schema is current\n"
    assert len(down.splitlines()) == 2
    assert [line.split()[1] for line in after.splitlines()][-2:] == ["pending", "pending"]


@pytest.mark.postgres
def test_alerts_lists_nothing_where_there_is_nothing(command, database_dsn) -> None:
    code, out, _ = command("alerts", DATABASE__DSN=database_dsn)

    assert (code, out) == (0, "no alerts\n")


ASKS_THE_DATABASE = pytest.mark.parametrize(
    "asked",
    [["alerts"], ["explain", "DictRateLimitTokensLow", f"--rules={RULES}"], ["rules", "backtest", str(RULES)]],
    ids=lambda asked: asked[0],
)


@ASKS_THE_DATABASE
def test_a_database_that_is_away_ends_with_1_and_one_line_that_says_why(command, asked) -> None:
    code, _, err = command(*asked, DATABASE__DSN="postgresql://u:hush@127.0.0.1:1/d", DATABASE__CONNECT_TIMEOUT="1s")

    assert code == 1
    assert err.startswith("dict-rate-limit: PostgreSQL does not answer: ")
    assert "Connection refused" in err
    assert err.count("\n") == 1
    assert "hush" not in err


@ASKS_THE_DATABASE
def test_a_database_that_is_not_configured_ends_with_2_and_what_to_do(command, asked) -> None:
    code, _, err = command(*asked)

    assert code == 2
    assert "set it as DICT_RATE_LIMIT_DATABASE__DSN" in err
