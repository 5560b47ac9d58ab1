"""What a person does wrong ends, or goes on, with one clear line."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from psycopg.conninfo import make_conninfo

from exporter.store import migrations
from tests.support import truth
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.postgres import dsn_as
from tests.support.program import RULES, Bridge, Program, json_lines, wait_until


@pytest.fixture
def settings() -> dict[str, str]:
    """Enough to start an exporter, of a Bridge that is not there."""
    return {
        "PARTICIPANTS": "12345678",
        "BRIDGE__TARGET": f"127.0.0.1:{free_port()}",
        "BRIDGE__INSECURE": "true",
        "BRIDGE__TIMEOUT": "1s",
        "POLL__INTERVAL": "1s",
        "POLL__STALENESS": "10s",
    }


def last_words(program: Program) -> tuple[int, str]:
    """The exit code, and what was said that is no log line."""
    code = program.wait(60)
    lines = [line for line in program.output().splitlines() if line and not line.startswith("{")]
    return code, "\n".join(lines)


def ends(start, command: str, *arguments: str, **settings: object) -> tuple[int, str]:
    return last_words(start(Program(command, *arguments, **settings)))


def test_an_unreachable_bridge_is_a_failed_poll_and_the_exporter_goes_on(start, settings) -> None:
    program = start(Program("exporter", **settings)).ready()

    wait_until(lambda: program.metric("dict_rate_limit_poll_errors_total", code="UNAVAILABLE"))

    wait_until(lambda: program.metric("dict_rate_limit_up") == 0)
    wait_until(lambda: any("did not answer" in line.get("error", "") for line in json_lines(program.output())))
    assert program.stop() == 0


def test_a_wrong_certificate_is_named_as_the_reason(start, settings, tmp_path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    ours, theirs = Authority(tmp_path / "a"), Authority(tmp_path / "b", "Other CA")
    tls = ours.tls("server")
    flags = {"tls.cert_file": tls.cert_file, "tls.key_file": tls.key_file}
    bridge = Bridge(tmp_path, **{name.replace("_", "-"): str(file) for name, file in flags.items()})
    start(bridge)
    settings |= {"BRIDGE__TARGET": bridge.target, "BRIDGE__INSECURE": "false", "BRIDGE__TLS__CA_FILE": theirs.ca_file}

    program = start(Program("exporter", **settings)).ready()
    wait_until(lambda: program.metric("dict_rate_limit_poll_errors_total"))

    said = wait_until(
        lambda: [line["error"] for line in json_lines(program.output()) if "poll failed" in line.get("msg", "")]
    )
    assert "certificate" in said[0].lower()
    assert program.stop() == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"BRIDGE__TLS__CA_FILE": "/nowhere.pem", "BRIDGE__INSECURE": "false"}, "/nowhere.pem"),
        ({"POLL__INTERVALL": "1s"}, "DICT_RATE_LIMIT_POLL__INTERVALL: no such setting"),
        ({"POLL__INTERVAL": "1"}, "DICT_RATE_LIMIT_POLL__INTERVAL"),
        ({"PARTICIPANTS": "123"}, "DICT_RATE_LIMIT_PARTICIPANTS"),
        ({"PARTICIPANTS": ""}, "participants: not set"),
        ({"WEB__LISTEN_ADDRESS": "nonsense"}, "web.listen_address"),
        ({"FEED__LISTEN_ADDRESS": "127.0.0.1:1", "FEED__INSECURE": "false"}, "feed"),
    ],
)
def test_a_wrong_setting_ends_the_exporter_with_one_line(start, settings, wrong, said) -> None:
    code, words = ends(start, "exporter", **(settings | wrong))

    assert code == 2
    assert said in words
    assert len(words.splitlines()) == 1


def test_an_unknown_key_of_the_file_is_named_with_the_file(start, settings, tmp_path) -> None:
    file = tmp_path / "config.yml"
    file.write_text("poll:\n  intervall: 15s\n")

    code, words = ends(start, "exporter", "--config.file", str(file), **settings)

    assert code == 2
    assert words == f"dict-rate-limit: {file}:2: poll.intervall: no such key; did you mean poll.interval?"


def test_a_port_in_use_ends_the_exporter_with_one_line(start, settings) -> None:
    first = start(Program("exporter", **settings)).ready()

    code, words = ends(start, "exporter", **(settings | {"WEB__LISTEN_ADDRESS": f"127.0.0.1:{first.port}"}))

    assert code == 2
    assert str(first.port) in words
    assert "in use" in words


def test_a_port_of_the_feed_that_is_in_use_is_told_with_its_key(start, settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, words = ends(start, "exporter", **settings, FEED__LISTEN_ADDRESS=address, FEED__INSECURE="true")

    assert code == 2
    assert words == f"dict-rate-limit: feed.listen_address: cannot listen on {address}: address already in use"


@pytest.mark.postgres
def test_a_wrong_dsn_is_reported_and_polling_goes_on(start, settings) -> None:
    dsn = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    program = start(Program("run", **settings, DATABASE__DSN=dsn)).ready()

    wait_until(lambda: program.metric("dict_rate_limit_up") == 0)
    wait_until(
        lambda: any(
            line["level"] == "ERROR" and "PostgreSQL" in line.get("error", "") for line in json_lines(program.output())
        )
    )
    assert program.stop() == 0


def database(program: Program) -> dict[str, object]:
    return next(needed for needed in program.get("/-/ready")["dependencies"] if needed["name"] == "database")


@pytest.mark.postgres
def test_a_connection_that_postgresql_refuses_is_told_in_its_words_in_log_and_readiness(
    start, settings, outage_postgres
) -> None:
    outage_postgres.require_passwords("superuser's")
    dsn = make_conninfo(outage_postgres.database_dsn, password="wrong")

    program = start(Program("run", **settings, DATABASE__DSN=dsn)).ready()

    wait_until(lambda: "refused" in str(database(program)["message"]))
    message = str(database(program)["message"])
    said = [line for line in json_lines(program.output()) if "PostgreSQL" in line.get("error", "")]
    assert message.startswith("database unusable: PostgreSQL refused the connection: ")
    assert 'FATAL: password authentication failed for user "dict_rate_limit_writer"' in message
    assert [(line["level"], f"{line['msg']}: {line['error']}") for line in said] == [("ERROR", message)]
    assert program.stop() == 0


@pytest.mark.postgres
def test_a_server_that_takes_no_writes_is_told_as_such_in_log_and_readiness(start, settings, outage_postgres) -> None:
    outage_postgres.become_standby()

    program = start(Program("run", **settings, DATABASE__DSN=outage_postgres.database_dsn)).ready()

    wait_until(lambda: "takes no writes" in str(database(program)["message"]))
    said = "database unusable: the server takes no writes: it is a standby"
    assert database(program) == {"name": "database", "ok": False, "message": said}
    assert said.removeprefix("database unusable: ") in program.output()
    assert program.stop() == 0


@pytest.mark.postgres
def test_an_outage_of_the_database_is_a_line_when_it_begins_and_one_when_it_is_over(
    start, tmp_path, outage_postgres
) -> None:
    bridge = start(Bridge(tmp_path))
    program = start(Program("run", **bridge.settings, DATABASE__DSN=outage_postgres.database_dsn)).ready()
    wait_until(lambda: program.metric("dict_rate_limit_lease_held"))
    wait_until(lambda: program.metric("dict_rate_limit_partitions_ready_months"))

    outage_postgres.stop("fast")
    wait_until(lambda: "database unusable" in program.output(0))
    wait_until(lambda: (program.metric("dict_rate_limit_lease_held") or 0) == 0)
    outage_postgres.start()
    wait_until(lambda: "database usable again" in program.output(0))
    wait_until(lambda: program.metric("dict_rate_limit_lease_held"))

    lines = [line for line in json_lines(program.output(0)) if line["logger"] != "exporter.alerts"]
    events = [line["msg"] for line in lines]
    outage = [event for event in events[events.index("database unusable") :] if event != "database still unusable"]
    assert outage == ["database unusable", "database usable again"]
    assert program.stop() == 0


@pytest.mark.postgres
def test_a_missing_migration_says_what_to_do_and_polling_goes_on_until_it_is_there(
    start, settings, empty_database
) -> None:
    program = start(Program("run", **settings, DATABASE__DSN=empty_database))
    wait_until(lambda: program.answers("/-/healthy"))

    wait_until(lambda: "run `dict-rate-limit migrate up`" in program.output())
    wait_until(lambda: program.metric("dict_rate_limit_up") == 0)
    assert not program.answers(), "who never saw the right schema is not ready"

    asyncio.run(migrations.up(empty_database))
    program.ready()
    assert program.stop() == 0


@pytest.mark.postgres
def test_a_role_without_rights_is_told_so(start, settings, reader_dsn) -> None:
    program = start(Program("run", **settings, DATABASE__DSN=reader_dsn))

    wait_until(lambda: "may not do this" in program.output(), what=program.output())


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [", "rules.yml"),
        (
            "groups:\n- name: a\n  rules:\n  - alert: X\n    expr: rate(up[5m]) > 0\n    labels: {severity: info}\n",
            "rate",
        ),
        ("groups:\n- name: a\n  rules:\n  - alert: X\n    expr: dict_rate_limit_up == 0\n", "severity"),
    ],
)
def test_a_bad_rule_file_ends_the_start_naming_file_and_line(
    start, settings, database_dsn, tmp_path, text, said
) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(text)

    code, words = ends(start, "run", **settings, DATABASE__DSN=database_dsn, RULES__FILES=file)

    assert code == 2
    assert f"{file}:" in words
    assert said in words


@pytest.mark.postgres
@pytest.mark.broker
def test_a_wrong_topic_is_told_and_events_wait(start, tmp_path, database_dsn, pulsar_server) -> None:
    bridge = start(Bridge(tmp_path))
    program = start(
        Program(
            "run",
            **bridge.settings,
            DATABASE__DSN=database_dsn,
            PULSAR__SERVICE_URL=pulsar_server.url,
            PULSAR__TOPIC="persistent://nobody/nowhere/nothing",
        )
    ).ready()

    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_outbox", "state = 'pending'") > 0)

    def broker() -> dict[str, object]:
        return next(d for d in program.get("/-/ready")["dependencies"] if d["name"] == "broker")

    wait_until(lambda: "persistent://nobody/nowhere/nothing" in broker()["message"])
    assert not broker()["ok"]
    assert program.stop() == 0
    assert truth.count(database_dsn, "dict_rate_limit_outbox", "state <> 'pending'") == 0


@pytest.mark.postgres
@pytest.mark.parametrize(("text", "why"), [("groups: nonsense", "expected a list"), ("", "there is no rule at all")])
def test_reload_keeps_the_running_rules_when_the_file_is_bad(
    start, tmp_path, postgres_admin_dsn, postgres_database, text, why
) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(RULES.read_text())
    bridge = start(Bridge(tmp_path))
    dsn = dsn_as("writer", postgres_admin_dsn, postgres_database)
    settings = {"DATABASE__DSN": dsn, "RULES__FILES": file, "WEB__ENABLE_LIFECYCLE": "true"}
    program = start(Program("run", **bridge.settings, **settings)).ready()
    before = program.get("/api/v1/rules")

    file.write_text(text)
    refused = httpx.post(program.url + "/-/reload", timeout=30)
    failed = program.metric("dict_rate_limit_config_last_reload_successful")
    kept = program.get("/api/v1/rules")
    file.write_text(RULES.read_text())
    accepted = httpx.post(program.url + "/-/reload", timeout=30)

    names = [rule["name"] for group in before["data"]["groups"] for rule in group["rules"]]
    assert refused.status_code >= 400
    assert str(file) in refused.text
    assert why in refused.text
    assert failed == 0
    assert [rule["name"] for group in kept["data"]["groups"] for rule in group["rules"]] == names
    assert accepted.status_code == 200
    assert program.metric("dict_rate_limit_config_last_reload_successful") == 1
    assert program.stop() == 0
