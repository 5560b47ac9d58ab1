"""Commands and flags, as a person types them."""

from __future__ import annotations

import json

import pytest
import yaml

from exporter import __version__
from exporter.cli import main as cli
from tests.support.commands import commands
from tests.support.program import RULES


@pytest.fixture
def command(monkeypatch, capsys):
    with commands(monkeypatch, capsys) as run:
        yield run


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


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nonsense", "No such command 'nonsense'. Try 'dict-rate-limit --help'."),
        ("alert", "No such command 'alert'. Did you mean 'alerts'? Try 'dict-rate-limit --help'."),
        ("run --nonsense", "run: No such option '--nonsense'. Try 'dict-rate-limit run --help'."),
        ("alerts x y", "alerts: Got unexpected extra arguments (x y). Try 'dict-rate-limit alerts --help'."),
        ("rules check", "rules check: Missing argument 'FILE...'. Try 'dict-rate-limit rules check --help'."),
        (
            "demo --duration soon",
            (
                "demo: Invalid value for '--duration': 'soon' is not a duration; write it as 15s, 5m or 1h30m. "
                "Try 'dict-rate-limit demo --help'."
            ),
        ),
        (
            "bridge-simulator --tls.ca-file ca.pem",
            (
                "bridge-simulator: --tls.ca-file needs --tls.cert-file and --tls.key-file: "
                "without them it is plaintext. Try 'dict-rate-limit bridge-simulator --help'."
            ),
        ),
        (
            "bridge-simulator --tls.cert-file cert.pem",
            "bridge-simulator: --tls.cert-file needs --tls.key-file. Try 'dict-rate-limit bridge-simulator --help'.",
        ),
    ],
)
def test_wrong_usage_ends_with_2_and_one_line(command, line, said) -> None:
    assert command(*line.split()) == (2, "", f"dict-rate-limit: {said}\n")


@pytest.mark.parametrize("line", ["", "rules", "config"])
def test_without_a_command_there_is_help(command, line) -> None:
    code, out, err = command(*line.split())

    assert (code, out) == (2, "")
    assert "Commands:" in err


def test_a_defect_of_the_program_is_one_line_and_at_debug_a_traceback(command, monkeypatch) -> None:
    def broken(_: object) -> dict[str, object]:
        raise KeyError("gone")

    monkeypatch.setattr(cli, "masked", broken)

    code, _, plain = command("config", "check")
    _, _, debugged = command("config", "check", "--log.level", "debug")

    assert code == 1
    assert plain.startswith("dict-rate-limit: this should not have happened: KeyError: 'gone'; ")
    assert plain.count("\n") == 1
    assert "Traceback" in debugged


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


def test_config_check_says_everything_that_is_wrong_a_line_each(command) -> None:
    code, out, err = command("config", "check", POLL__INTERVAL="never", LOG__LEVEL="loud", NOPE="1")

    assert (code, out) == (2, "")
    assert [line.split(": ")[:2] for line in err.splitlines()] == [
        ["dict-rate-limit", "DICT_RATE_LIMIT_NOPE"],
        ["dict-rate-limit", "DICT_RATE_LIMIT_POLL__INTERVAL"],
        ["dict-rate-limit", "DICT_RATE_LIMIT_LOG__LEVEL"],
    ]


def test_config_check_ends_with_2_where_only_a_rule_file_is_wrong_as_the_start_does(command, tmp_path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text("groups:\n- name: g\n  rules:\n  - {alert: A, expr: dict_rate_limit_up == 0}\n  - {alert: B}\n")

    code, out, err = command("config", "check", RULES__FILES=str(rules))
    both, _, more = command("config", "check", RULES__FILES=str(rules), POLL__INTERVAL="never")

    assert (code, out, both) == (2, "", 2)
    assert [line.split(": ")[1] for line in err.splitlines()] == [f"{rules}:4", f"{rules}:5"]
    assert len(more.splitlines()) == 3


def test_config_check_asks_opentelemetry_as_the_start_does(command, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-5")

    code, _, err = command("config", "check", TRACING__OTLP_ENDPOINT="http://127.0.0.1:1")

    assert code == 2
    assert err.startswith("dict-rate-limit: tracing: OpenTelemetry cannot start: ")


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


ASKS_THE_DATABASE = pytest.mark.parametrize(
    "arguments",
    [["alerts"], ["explain", "DictRateLimitTokensLow", f"--rules={RULES}"], ["rules", "backtest", str(RULES)]],
    ids=lambda arguments: arguments[0],
)


@ASKS_THE_DATABASE
def test_a_database_that_is_away_ends_with_1_and_one_line_that_says_why(command, arguments) -> None:
    code, _, err = command(
        *arguments, DATABASE__DSN="postgresql://u:hush@127.0.0.1:1/d", DATABASE__CONNECT_TIMEOUT="10s"
    )

    assert code == 1
    assert err.startswith("dict-rate-limit: no connection to PostgreSQL: ")
    assert "Connection refused" in err
    assert err.count("\n") == 1
    assert "hush" not in err


@ASKS_THE_DATABASE
def test_a_database_that_is_not_configured_ends_with_2_and_what_to_do(command, arguments) -> None:
    code, _, err = command(*arguments)

    assert code == 2
    assert "set it as DICT_RATE_LIMIT_DATABASE__DSN" in err
