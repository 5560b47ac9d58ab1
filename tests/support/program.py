"""The program itself as processes, beside a simulated Bridge: started, killed, frozen, and looked at from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from exporter.environment import DEFAULTS
from tests.support import servers
from tests.support.ports import free_port
from tests.support.postgres import HOSTILE_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "rules" / "dict-rate-limit.yml"

# Alerts come and go within seconds, and POLICIES_LIST affords a poll each second.
BUSY_SCENARIO = """
description: KEYS_CHECK of every participant empties and fills within five seconds, again and again.
step: 1s
sizes:
  POLICIES_LIST: {capacity: 10000, refill_tokens: 6000}
  KEYS_CHECK: {capacity: 1000, refill_tokens: 11000}
traffic:
  - policies: [KEYS_CHECK]
    until: 2s
    every: 5s
    requests_per_minute: 80000
  - policies: [ENTRIES_WRITE, CLAIMS_READ]
    share_of_refill: 0.5
    variation: 0.5
"""


def wait_until(
    condition: Callable[[], Any], *, within_seconds: float = 120, every_seconds: float = 0.05, what: str = ""
) -> Any:
    """Returns the first true answer of ``condition``; fails where none comes in time."""
    deadline = time.monotonic() + within_seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_seconds}s in vain{': ' + what if what else ''}")
        time.sleep(every_seconds)


class Program:
    """One process of ``dict-rate-limit COMMAND``. Settings are its environment, without the prefix."""

    def __init__(self, command: str, *arguments: str, **settings: object) -> None:
        self.command = (command, *arguments)
        self.port = free_port()
        self.settings = {
            "WEB__LISTEN_ADDRESS": f"127.0.0.1:{self.port}",
            "LOG__FORMAT": "json",
            "RULES__FILES": str(RULES),
            **{name: str(value) for name, value in settings.items()},
        }
        self._log = Path(tempfile.gettempdir(), f"{command}-{self.port}.log")
        self._log.touch()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Program:
        # As on a machine that sets none of them, whatever ran in the tests' process before.
        ours = ("DICT_RATE_LIMIT_", *DEFAULTS)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment |= {f"DICT_RATE_LIMIT_{name}": value for name, value in self.settings.items()}
        environment.setdefault("PGOPTIONS", HOSTILE_OPTIONS)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "exporter", *self.command], env=environment, stdout=log, stderr=log, cwd=ROOT
            )
        servers.announce(f"dict-rate-limit {self.command[0]}", f"127.0.0.1:{self.port}", self._log)
        return self

    def ready(self, within_seconds: float = 120) -> Program:
        wait_until(self.answers, within_seconds=within_seconds, what=f"{self.command} to be ready")
        return self

    def answers(self, path: str = "/-/ready") -> bool:
        self.check_running()
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self.url + path, timeout=30).status_code == 200
        return False

    def check_running(self) -> None:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"{self.command} ended with {code}:\n{self.output()}"

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=30).raise_for_status().json()

    def metric(self, name: str, **labels: str) -> float | None:
        """The sum of a metric's samples that carry these labels; None where there is none."""
        found = None
        for sample, has, value in self.samples():
            if sample == name and labels.items() <= has.items():
                found = (found or 0.0) + value
        return found

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        from prometheus_client.parser import text_string_to_metric_families

        for family in text_string_to_metric_families(httpx.get(self.url + "/metrics", timeout=30).text):
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value

    def output(self, last: int = 8000) -> str:
        """The last characters of what it said; 0: all."""
        return self._log.read_text(errors="replace")[-last:]

    def leads_since(self) -> datetime:
        """When it took the lease, by its own log: a look at its metrics may come late."""
        line = next(line for line in json_lines(self.output(0)) if line["msg"] == "leading")
        return datetime.fromisoformat(line["ts"])

    def kill(self) -> None:
        """No warning: what SIGKILL, the OOM killer or a power cut do."""
        self._signal(signal.SIGKILL)
        self._wait()

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> int:
        """Asks it to stop; returns its exit code."""
        self._signal(signal.SIGTERM)
        return self._wait()

    def wait(self, within_seconds: float = 60) -> int:
        assert self.process is not None
        return self.process.wait(within_seconds)

    def end(self) -> None:
        """Whatever its state, it is gone afterwards."""
        servers.withdraw(self._log)
        if self.process is not None and self.process.poll() is None:
            self.thaw()
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def _wait(self) -> int:
        return self.wait(60)


class Bridge:
    """A simulated Bridge in a process of its own."""

    def __init__(self, folder: Path, scenario: str = BUSY_SCENARIO, participants: int = 1, **flags: str) -> None:
        self.port = free_port()
        file = folder / f"scenario-{self.port}.yml"
        file.write_text(scenario)
        arguments = [item for name, value in flags.items() for item in (f"--{name.replace('_', '-')}", value)]
        self.program = Program(
            "bridge-simulator",
            *("--scenario", str(file), "--listen-address", self.target),
            *("--participants", str(participants), "--seed", "7", "--log.level", "warning", *arguments),
        )
        from exporter.simulator.world import ispbs

        self.participants = [str(ispb) for ispb in ispbs(participants)]

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def settings(self) -> Mapping[str, object]:
        """What the program needs to poll it, once a second."""
        return {
            "PARTICIPANTS": ",".join(self.participants),
            "BRIDGE__TARGET": self.target,
            "BRIDGE__INSECURE": "true",
            "BRIDGE__TIMEOUT": "1s",
            "POLL__INTERVAL": "1s",
            "POLL__STALENESS": "10s",
            "POLL__ESTIMATE_WINDOW": "5s",
            "POLL__LOWEST_WINDOW": "1s",
        }

    def start(self) -> Bridge:
        self.program.start()

        def listens() -> bool:
            self.program.check_running()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return False

        wait_until(listens, what="the simulated Bridge to listen")
        return self


@contextlib.contextmanager
def programs() -> Iterator[Callable[..., Any]]:
    """Yields a function that starts a `Program` or `Bridge`; all are ended afterwards."""
    started: list[Program] = []

    def start(made: Any) -> Any:
        started.append(made.program if isinstance(made, Bridge) else made)
        return made.start()

    try:
        yield start
    finally:
        for program in reversed(started):
            program.end()


def json_lines(text: str) -> list[dict[str, Any]]:
    """The log lines of a program that are JSON."""
    found = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found
