"""docker-compose.yml played on this machine: its scripts, commands and health checks, with ports of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.broker import VERSION, java_home, pulsar_home
from tests.support.deployed import SERVICES, environment_of
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer, bin_directory
from tests.support.program import ROOT, Program, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.broker import PulsarServer

pytestmark = [pytest.mark.postgres, pytest.mark.broker, pytest.mark.pulsar]

# A short-lived JVM is quicker without its optimising compiler.
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
TOPIC = "persistent://lb-conn/dict/rate-limit-alerts"


class Played:
    """Services of the file as processes: names of hosts are replaced, secrets lie in a folder."""

    def __init__(self, folder: Path, replaced: dict[str, str]) -> None:
        self.secrets = folder / "secrets"
        subprocess.run(["sh", ROOT / "deploy/compose/secrets.sh", self.secrets], check=True)
        self._replaced = {"/run/secrets": str(self.secrets), **replaced}
        for file in self.secrets.iterdir():
            text = self.here(file.read_text())
            file.unlink()
            file.write_text(text)

    def here(self, text: str) -> str:
        for name, address in self._replaced.items():
            text = text.replace(name, address)
        return text

    def environment(self, service: str) -> dict[str, str]:
        return {name: self.here(value) for name, value in environment_of(service).items()}

    def program(self, service: str) -> Program:
        prefix = "DICT_RATE_LIMIT_"
        settings = {name.removeprefix(prefix): value for name, value in self.environment(service).items()}
        return Program(*(self.here(word) for word in SERVICES[service]["command"]), **settings)

    def script(self, service: str, *, cwd: Path, **environment: str) -> None:
        """Runs a one-shot service's script to its end."""
        shell, script = SERVICES[service]["entrypoint"]
        done = subprocess.run(
            [shell, ROOT / "deploy/compose" / Path(script).name],
            cwd=cwd,
            env={**os.environ, **self.environment(service), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    def healthy(self, service: str, port: int) -> bool:
        """What the service's health check says, at another port."""
        _, _, option, code = SERVICES[service]["healthcheck"]["test"]
        code = code.replace("50051", str(port)).replace("9862", str(port))
        return subprocess.run([sys.executable, option, code], capture_output=True, check=False).returncode == 0


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A server of the test's own: roles and their passwords are everybody's."""
    programs = bin_directory()
    assert programs is not None
    server = PostgresServer(programs)
    yield server
    server.remove()


def test_the_compose_file_starts_a_system_that_works(
    postgres: PostgresServer, pulsar_server: PulsarServer, tmp_path: Path, start: Callable[[Program], Program]
) -> None:
    bridge, feed = free_port(), free_port()
    played = Played(
        tmp_path,
        {
            "postgres:5432": f"127.0.0.1:{postgres.port}",
            "simulator:50051": f"127.0.0.1:{bridge}",
            "0.0.0.0:50051": f"127.0.0.1:{bridge}",
            "exporter:9863": f"127.0.0.1:{feed}",
            "0.0.0.0:9863": f"127.0.0.1:{feed}",
            "pulsar://pulsar:6650": pulsar_server.url,
            "http://pulsar:8080": pulsar_server.admin_url,
        },
    )
    with psycopg.connect(postgres.dsn, autocommit=True) as superuser:
        superuser.execute("CREATE DATABASE dict_rate_limit")
    postgres.require_passwords((played.secrets / "postgres_password").read_text())
    where = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(postgres.port),
        "SECRETS_DIRECTORY": str(played.secrets),
        "ROLES_SQL": str(ROOT / "migrations/roles.sql"),
        "PATH": f"{bin_directory()}:{os.environ['PATH']}",
    }

    for _ in range(2):  # as every `docker compose up` does
        played.script("roles", cwd=tmp_path, **where)
        played.script("pulsar-init", cwd=pulsar_home(), JAVA_HOME=str(java_home()), OPTS=QUICK)
    migrate = start(played.program("migrate"))
    assert migrate.wait(60) == 0, migrate.output()
    simulator = start(played.program("simulator"))
    wait_until(lambda: played.healthy("simulator", bridge), what="the simulator to be healthy")
    exporter = start(played.program("exporter"))
    wait_until(lambda: played.healthy("exporter", exporter.port), what="the exporter to be healthy")
    reconciler = start(played.program("reconciler"))
    wait_until(lambda: played.healthy("reconciler", reconciler.port), what="the reconciler to be healthy")

    wait_until(
        lambda: all(dependency["ok"] for dependency in reconciler.get("/-/ready")["dependencies"]),
        what="database and broker to be there",
    )
    polled = exporter.get("/api/v1/buckets")["data"]["participants"][0]["buckets"]
    password = (played.secrets / "reader_password").read_text()
    with psycopg.connect(
        f"postgresql://dict_rate_limit_reader:{password}@127.0.0.1:{postgres.port}/dict_rate_limit", autocommit=True
    ) as reader:
        seen = "SELECT count(*) FROM v_dict_rate_limit_latest_states"
        wait_until(lambda: reader.execute(seen).fetchone() == (len(polled),), what="states, as Grafana reads them")
    assert pulsar_server.admin("GET", "namespaces/lb-conn/dict/deduplication").json() is True
    assert pulsar_server.admin("GET", TOPIC.replace("://", "/") + "/subscriptions").json() == ["incident-log"]
    for program in (reconciler, exporter, simulator):
        assert program.stop() == 0, program.output()


def test_the_options_of_pulsar_are_known_to_it() -> None:
    command = SERVICES["pulsar"]["command"]

    told = subprocess.run(
        [pulsar_home() / command[0], command[1], "--help"],
        env={**os.environ, "JAVA_HOME": str(java_home())},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout

    assert all(word in told for word in command if word.startswith("--"))


def test_the_broker_has_the_version_that_the_tests_run() -> None:
    assert {SERVICES[name]["image"] for name in ("pulsar", "pulsar-init")} == {f"apachepulsar/pulsar:{VERSION}"}
