"""Secrets go where they are needed and nowhere else: canaries are planted, and looked for in all that is shown."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import bcrypt
import httpx
import psycopg
import pytest
from psycopg import sql

from tests.support.alertmanagers import stand_in
from tests.support.collector import Collector
from tests.support.guarded import guarded_pulsar, signed_token
from tests.support.ports import free_port
from tests.support.postgres import ROLES, PostgresServer, bin_directory
from tests.support.program import ROOT, Bridge, Program, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.alertmanagers import StandInAlertmanager
    from tests.support.guarded import Guarded

pytestmark = [pytest.mark.postgres, pytest.mark.broker, pytest.mark.pulsar]

CANARY = "canary-7f3a9c"
PASSWORD = f"{CANARY}-database"
SCRAPE_PASSWORD = f"{CANARY}-scrape"
OTLP_KEY = f"{CANARY}-otlp"
ALERTMANAGER_TOKEN = f"{CANARY}-alertmanager"
PATHS = (
    "/",
    "/metrics",
    "/-/healthy",
    "/-/ready",
    "/api/v1/alerts",
    "/api/v1/rules",
    "/api/v1/buckets",
    "/api/v1/headroom",
    "/-/reload",
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded_pulsar(tmp_path_factory.mktemp("tls")) as lent:
        yield lent


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """Host, port and database of a server that asks for the password; the schema is there."""
    programs = bin_directory()
    assert programs is not None
    server = PostgresServer(programs)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute((ROOT / "migrations/roles.sql").read_text())
        for role in ROLES:
            connection.execute(
                sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(f"dict_rate_limit_{role}"), PASSWORD)
            )
    server.require_passwords("unused")
    migrated = command(
        "migrate", "up", DICT_RATE_LIMIT_DATABASE__DSN=dsn("migrator", f"127.0.0.1:{server.port}/postgres")
    )
    assert migrated.returncode == 0, migrated.stdout
    yield f"127.0.0.1:{server.port}/postgres"
    server.remove()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.stop()


def dsn(role: str, where: str, password: str = PASSWORD) -> str:
    return f"postgresql://dict_rate_limit_{role}:{password}@{where}"


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command line to its end; output and errors are one text."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DICT_RATE_LIMIT_")}
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        env=own | environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )


def web_file(folder: Path) -> tuple[Path, str]:
    """A web configuration file that asks for ``SCRAPE_PASSWORD``, and the hash that it holds."""
    hashed = bcrypt.hashpw(SCRAPE_PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    file = folder / "web.yml"
    file.write_text(f"basic_auth_users: {{prometheus: '{hashed}'}}\n")
    return file, hashed


def planted(folder: Path, secrets: dict[str, str], *, in_files: bool) -> dict[str, str]:
    """Returns the settings that hold the secrets, or name files that do."""
    if not in_files:
        return secrets
    for name, secret in secrets.items():
        (folder / name).write_text(secret + "\n")
    return {f"{name}_FILE": str(folder / name) for name in secrets}


def shown_over_http(program: Program) -> str:
    """All that the program answers: to who may ask, to who may not, and to a wrong password."""
    said = []
    for path in PATHS:
        for auth in (("prometheus", SCRAPE_PASSWORD), ("prometheus", f"{CANARY}-wrong"), None):
            method = "POST" if path == "/-/reload" else "GET"
            answer = httpx.request(method, program.url + path, auth=auth, timeout=30)
            said.append(f"{method} {path} {answer.status_code} {answer.headers} {answer.text}")
    return "\n".join(said)


def found(text: str, *secrets: str) -> list[str]:
    """Returns the secrets that the text holds, as they are or in base64."""
    pair = base64.b64encode(f"prometheus:{SCRAPE_PASSWORD}".encode()).decode()
    alertmanagers = base64.b64encode(f"prometheus:{ALERTMANAGER_TOKEN}".encode()).decode()
    return [secret for secret in (CANARY, pair, alertmanagers, *secrets) if secret in text]


@pytest.fixture
def stands_in() -> Iterator[Callable[[], StandInAlertmanager]]:
    """Starts an Alertmanager, which ends with the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(stand_in())


@pytest.mark.parametrize("in_files", [False, True], ids=["environment", "files"])
def test_no_secret_is_shown_while_all_goes_well(
    in_files, database: str, guarded: Guarded, collector: Collector, tmp_path: Path, monkeypatch, start, stands_in
) -> None:
    topic, token = guarded.server.topic(), guarded.token("relay")
    guarded.permit(topic, "relay")
    file, hashed = web_file(tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={OTLP_KEY}")
    bridge: Bridge = start(Bridge(tmp_path))
    alertmanager: StandInAlertmanager = stands_in()
    secrets = {
        "DATABASE__DSN": dsn("writer", database),
        "PULSAR__TOKEN": token,
        "ALERTMANAGER__BEARER_TOKEN": ALERTMANAGER_TOKEN,
    }
    settings: dict[str, Any] = {
        **bridge.settings,
        **planted(tmp_path, secrets, in_files=in_files),
        "PULSAR__SERVICE_URL": guarded.server.url,
        "PULSAR__TOPIC": topic,
        "ALERTMANAGER__TARGETS": alertmanager.url,
        "TRACING__OTLP_ENDPOINT": collector.endpoint,
        "WEB__CONFIG_FILE": str(file),
        "WEB__ENABLE_LIFECYCLE": "true",
        "LOG__LEVEL": "debug",
        "LOG__FORMAT": "logfmt" if in_files else "json",
    }

    program: Program = start(Program("run", **settings))
    wait_until(lambda: guarded.arrived(topic, "event_id"), what=f"an event\n{program.output()}")
    wait_until(lambda: {"poll", "relay"} <= {span.name for span in collector.spans}, what="spans")
    answers = shown_over_http(program)
    checked = command("config", "check", **{f"DICT_RATE_LIMIT_{name}": str(value) for name, value in settings.items()})
    assert program.stop() == 0

    assert "********" in checked.stdout
    assert "Unauthorized" in answers
    assert dict(collector.metadata)["authorization"] == OTLP_KEY
    assert alertmanager.requests[0]["Authorization"] == f"Bearer {ALERTMANAGER_TOKEN}"
    text = "\n".join((program.output(0), answers, checked.stdout, str(collector.spans), str(collector.resources)))
    assert found(text, token, token.rpartition(".")[2], hashed) == []


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ("DATABASE__DSN", "password authentication failed"),
        ("PULSAR__TOKEN", "refuses pulsar.token"),
        ("ALERTMANAGER__BASIC_AUTH__PASSWORD", "it does not let in who alertmanager.basic_auth"),
    ],
)
def test_no_secret_is_shown_while_one_is_refused(
    wrong, refusal, database: str, guarded: Guarded, tmp_path: Path, monkeypatch, start, stands_in
) -> None:
    alertmanager: StandInAlertmanager = stands_in()
    alertmanager.say(401, "Unauthorized")
    token = signed_token(os.urandom(32), "relay") if wrong == "PULSAR__TOKEN" else guarded.token("relay")
    password = f"{CANARY}-wrong" if wrong == "DATABASE__DSN" else PASSWORD
    file, hashed = web_file(tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={OTLP_KEY}")
    bridge: Bridge = start(Bridge(tmp_path))
    settings: dict[str, Any] = {
        **bridge.settings,
        "DATABASE__DSN": dsn("writer", database, password),
        "DATABASE__CONNECT_TIMEOUT": "1s",
        "PULSAR__SERVICE_URL": guarded.server.url,
        "PULSAR__TOPIC": guarded.server.topic(),
        "PULSAR__TOKEN": token,
        "PULSAR__OPERATION_TIMEOUT": "1s",
        "ALERTMANAGER__TARGETS": alertmanager.url,
        "ALERTMANAGER__BASIC_AUTH__USERNAME": "prometheus",
        "ALERTMANAGER__BASIC_AUTH__PASSWORD": ALERTMANAGER_TOKEN,
        "TRACING__OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "WEB__CONFIG_FILE": str(file),
        "LOG__LEVEL": "debug",
    }
    program: Program = start(Program("run", **settings))

    wait_until(lambda: 'msg": "listening' in program.output(0), what=f"it to listen\n{program.output()}")
    wait_until(lambda: refusal in program.output(0), what=f"the refusal\n{program.output()}")
    wait_until(lambda: "StatusCode.UNAVAILABLE" in program.output(0), what="the missing collector to be told of")
    answers = shown_over_http(program)
    told = command("alerts", "--log.level", "debug", DICT_RATE_LIMIT_DATABASE__DSN=str(settings["DATABASE__DSN"]))
    program.stop()

    assert (refusal in told.stdout) == (wrong == "DATABASE__DSN")
    assert found("\n".join((program.output(0), answers, told.stdout)), token, token.rpartition(".")[2], hashed) == []


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://writer:{CANARY}%zz@127.0.0.1:1/d",
        f"postgresql://writer:pass@{CANARY}@127.0.0.1:1/d",
        f"postgresql://127.0.0.1:{CANARY}/ary@127.0.0.1:1/d",
        f"postgresql://127.0.0.1:5/{CANARY}@127.0.0.1:1/d",
        f"postgres//writer:{CANARY}@127.0.0.1:1/d",
        f"host=127.0.0.1 port=1 password=two {CANARY}",
        f"host=127.0.0.1 password='{CANARY}",
        CANARY,
    ],
)
@pytest.mark.parametrize("words", ["config check", "migrate status", "alerts", "run"])
def test_a_dsn_that_is_none_is_refused_without_a_word_of_it(words, text, tmp_path) -> None:
    settings = {"PARTICIPANTS": "12345678", "BRIDGE__TARGET": "127.0.0.1:1", "BRIDGE__INSECURE": "true"}
    settings |= {"DATABASE__DSN": text, "LOG__LEVEL": "debug", "WEB__LISTEN_ADDRESS": "127.0.0.1:0"}

    told = command(
        *words.split(), *("--log.level", "debug"), **{f"DICT_RATE_LIMIT_{name}": v for name, v in settings.items()}
    )

    assert told.returncode == 2
    assert "database.dsn: is neither" in told.stdout
    assert found(told.stdout) == []


@pytest.mark.parametrize(
    "text",
    [
        f'database:\n  dsn: "postgresql://u:{CANARY}@h/d\n',
        f"database:\n  dsn: postgresql://u:{CANARY}@h: d\n",
        f"pulsar: {{token: *{CANARY}}}\n",
        f"pulsar:\n  token: !{CANARY} x\n",
        f"pulsar: {{token: @{CANARY}}}\n",
        f"database: {CANARY}\n",
        f"database:\n  dsn: [{CANARY}]\n",
        f"pulsar:\n  token: {{{CANARY}: 1}}\n",
        f"feed: {{targets: [[{CANARY}]]}}\n",
        f"web: {{listen_address: [{CANARY}]}}\nhttp: {CANARY}\n",
    ],
)
def test_a_configuration_file_that_cannot_be_read_is_told_without_its_words(text, tmp_path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(text)

    told = command("config", "check", "--config.file", str(file), "--log.level", "debug")

    assert told.returncode == 2
    assert told.stdout.startswith(f"dict-rate-limit: {file}:") or "failed" in told.stdout
    assert found(told.stdout) == []


def test_a_web_configuration_file_that_cannot_be_read_is_told_without_its_words(tmp_path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f'basic_auth_users:\n  prometheus: "{CANARY}\n')

    told = command(
        *("exporter", "--web.config.file", str(file), "--web.listen-address", "127.0.0.1:0"),
        DICT_RATE_LIMIT_PARTICIPANTS="12345678",
        DICT_RATE_LIMIT_BRIDGE__TARGET="127.0.0.1:1",
        DICT_RATE_LIMIT_BRIDGE__INSECURE="true",
    )

    assert told.returncode == 2
    assert f"{file}:2: is not YAML, column 15: a quote is not closed" in told.stdout
    assert found(told.stdout) == []


def test_a_secrets_file_that_is_no_text_is_named_and_not_shown(tmp_path) -> None:
    file = tmp_path / "token"
    file.write_bytes(CANARY.encode() + b"\xff")

    told = command("config", "check", DICT_RATE_LIMIT_PULSAR__TOKEN_FILE=str(file))

    assert told.returncode == 2
    assert told.stdout == f"dict-rate-limit: DICT_RATE_LIMIT_PULSAR__TOKEN_FILE: {file} is not text in UTF-8\n"


def test_what_is_looked_for_would_be_found() -> None:
    pair = base64.b64encode(f"prometheus:{SCRAPE_PASSWORD}".encode()).decode()

    assert found(f"x{PASSWORD}") == [CANARY]
    assert found(f"Basic {pair}") == [pair]
