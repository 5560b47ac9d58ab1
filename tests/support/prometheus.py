"""Debian's Prometheus and Alertmanager as processes, each with ports and a data folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from tests.support.ports import free_port
from tests.support.program import wait_until
from tests.support.servers import announce, withdraw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}


def debian(command: str) -> str:
    """Returns the path of ``command``; where it is absent the test is skipped, and fails in CI."""
    found = shutil.which(command)
    if found is None:
        missing = f"{command} is not installed: apt-get install {PACKAGES.get(command, command)}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


ZONE = "America/Sao_Paulo"
"""Whose time stands beside UTC in texts, unless TZ says otherwise: whatever zone the tests run in."""


def run(command: str, *arguments: str | Path, stdin: str | None = None) -> tuple[bool, str]:
    """Runs a tool of these packages. Returns whether it is content, and what it said."""
    done = subprocess.run(
        [debian(command), *map(str, arguments)],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
        env={"TZ": ZONE, **os.environ},
    )
    return done.returncode == 0, done.stdout


class _Server:
    """One process that answers HTTP on a port from the system."""

    command = ""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.folder = folder / f"{self.command}-{self.port}"
        self.folder.mkdir(parents=True)
        self._binary = self.binary()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.folder / "log"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def binary(self) -> str:
        return debian(self.command)

    def arguments(self) -> Sequence[str]:
        raise NotImplementedError

    def start(self) -> Any:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binary, *self.arguments(), f"--web.listen-address={self.address}", "--log.level=warn"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={"TZ": ZONE, **os.environ},
            )
        announce(self.command, self.address, self._log)
        wait_until(self._ready, what=f"{self.command} to be ready")
        return self

    def stop(self) -> None:
        withdraw(self._log)
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def get(self, path: str, **parameters: Any) -> Any:
        answer = httpx.get(self.url + path, params=parameters, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"{self.command} ended:\n{self.log()}"
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/-/ready", timeout=10).status_code == 200
        return False


class Prometheus(_Server):
    """``configuration`` is prometheus.yml, as a mapping; paths in it are absolute."""

    command = "prometheus"

    def __init__(self, folder: Path, configuration: Mapping[str, Any]) -> None:
        super().__init__(folder)
        self._file = self.folder / "prometheus.yml"
        self._file.write_text(yaml.safe_dump(dict(configuration)))

    @classmethod
    def scraping(
        cls, folder: Path, jobs: Mapping[str, Sequence[str]], rules: Sequence[Path] = (), alertmanager: str = ""
    ) -> Prometheus:
        """Scrapes each job's addresses, and evaluates ``rules``, once a second."""
        configuration: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(targets)}]} for job, targets in jobs.items()
            ],
        }
        if alertmanager:
            configuration["alerting"] = {
                "alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}],
            }
        return cls(folder, configuration)

    def arguments(self) -> Sequence[str]:
        return (
            f"--config.file={self._file}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            # The file names in an alert's link.
            f"--web.external-url={self.url}",
        )

    def query(self, expr: str, at: float | None = None) -> list[dict[str, Any]]:
        """Returns the series of an instant query. Raises AssertionError where Prometheus refuses it."""
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expr, **({} if at is None else {"time": at}))[
            "data"
        ]["result"]
        return found

    def query_range(self, expr: str, start: float, end: float, step: float = 1.0) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v1/query_range", query=expr, start=start, end=end, step=step)[
            "data"
        ]["result"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v1/alerts")["data"]["alerts"]
        return found

    def scrapes(self) -> bool:
        """Whether every target has been scraped, and answered."""
        targets = self.get("/api/v1/targets")["data"]["activeTargets"]
        return bool(targets) and all(target["health"] == "up" for target in targets)


class Alertmanager(_Server):
    """``file`` is alertmanager.yml; templates are relative to it."""

    command = "prometheus-alertmanager"

    def __init__(self, folder: Path, file: Path) -> None:
        super().__init__(folder)
        self._file = file

    def arguments(self) -> Sequence[str]:
        return (
            f"--config.file={self._file}",
            f"--storage.path={self.folder / 'data'}",
            "--cluster.listen-address=",
            f"--web.external-url={self.url}",
        )

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v2/alerts")
        return found

    def post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        httpx.post(f"{self.url}/api/v2/alerts", json=list(alerts), timeout=30).raise_for_status()


@contextlib.contextmanager
def servers() -> Iterator[Callable[[Any], Any]]:
    """Yields a function that starts a server; all are stopped afterwards."""
    started: list[_Server] = []

    def start(server: _Server) -> Any:
        started.append(server)
        return server.start()

    try:
        yield start
    finally:
        for server in reversed(started):
            server.stop()


class Timeline:
    """When each thing was there, as far as looks tell: ``look`` is called again and again.

    ``spans`` are each thing's (from, until), on the monotonic clock; ``there`` is what the last look saw.
    """

    def __init__(self) -> None:
        self.spans: dict[Any, list[tuple[float, float]]] = {}
        self.there: set[Any] = set()
        self.longest_gap_seconds = 0.0
        self._looked_at: float | None = None

    @property
    def seen(self) -> set[Any]:
        return set(self.spans)

    def look(self, there: set[Any]) -> None:
        now = time.monotonic()
        for thing in there:
            spans = self.spans.setdefault(thing, [])
            if thing in self.there:
                spans[-1] = (spans[-1][0], now)
            else:
                spans.append((now, now))
        self.there = set(there)
        self.longest_gap_seconds = max(self.longest_gap_seconds, now - (self._looked_at or now))
        self._looked_at = now
