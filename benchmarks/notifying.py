"""From the Bridge's answer to a receiver behind a real Alertmanager, with no Prometheus anywhere.

A hundred participants fall to 5 % of KEYS_CHECK at once, which makes two alerts
each; Alertmanager hands each on by itself, without waiting (``group_wait: 0s``).
Needs Debian's `prometheus-alertmanager`. Everything shares the machine.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import psycopg

from benchmarks.figure import Figure
from benchmarks.processes import RULES, free_address, listens, program, server, wait_until
from exporter.demo.servers import start_postgres
from exporter.simulator.world import ispbs
from exporter.store import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTICIPANTS = 100
ALERTS = 2 * PARTICIPANTS
INTERVAL_SECONDS = 15
COMMAND = "prometheus-alertmanager"

SCENARIO = """
description: KEYS_CHECK of every participant nearly empties between 30 s and 31 s, and stays so.
step: 1s
sizes:
  POLICIES_LIST: {capacity: 10000, refill_tokens: 6000}
  KEYS_CHECK: {capacity: 1000, refill_tokens: 10, refill_period: 1s}
traffic:
  - policies: [KEYS_CHECK]
    from: 30s
    until: 31s
    requests_per_minute: 57000
  - policies: [KEYS_CHECK]
    from: 31s
    requests_per_minute: 600
"""

CONFIGURATION = """
route: {{receiver: webhook, group_by: ['...'], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}}
receivers:
  - name: webhook
    webhook_configs: [{{url: "http://{receiver}/"}}]
"""


def run() -> Iterator[Figure]:
    if shutil.which(COMMAND) is None:
        print(f"   {COMMAND} is not installed: nothing is measured", file=sys.stderr)
        return
    with (
        TemporaryDirectory() as folder,
        server(partial(start_postgres, fsync="on")) as dsn,
        _receiver() as (receiver, arrived),
        _alertmanager(Path(folder), receiver) as url,
    ):
        asyncio.run(migrations.up(dsn))
        scenario = Path(folder) / "scenario.yml"
        scenario.write_text(SCENARIO)
        target, address = free_address(), free_address()
        settings = {
            "PARTICIPANTS": ",".join(ispbs(PARTICIPANTS)),
            "BRIDGE__TARGET": target,
            "BRIDGE__INSECURE": "true",
            "POLL__INTERVAL": f"{INTERVAL_SECONDS}s",
            "DATABASE__DSN": dsn,
            "ALERTMANAGER__TARGETS": url,
            "RULES__FILES": RULES,
            "WEB__LISTEN_ADDRESS": address,
            "LOG__LEVEL": "error",
        }
        simulator = ("bridge-simulator", "--scenario", str(scenario), "--listen-address", target, "--seed", "7")
        with program(*simulator, "--participants", str(PARTICIPANTS), "--log.level", "warning") as bridge:
            wait_until(lambda: listens(target), bridge, 60)
            with program("run", settings=settings) as process:
                wait_until(lambda: len(arrived) >= ALERTS, process, 180)
        yield from _figures(dsn, arrived)


def _figures(dsn: str, arrived: dict[tuple[str, str], datetime]) -> Iterator[Figure]:
    """Compares when each alert arrived with when the Bridge gave the answer that it began to fire at."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT a.alertname, a.participant, t.observed_at FROM dict_rate_limit_alerts AS a"
            " JOIN dict_rate_limit_alert_transitions AS t USING (fingerprint, active_since) WHERE t.state = 'firing'"
        ).fetchall()
    late = sorted(
        (arrived[name, participant] - observed_at).total_seconds()
        for name, participant, observed_at in rows
        if (name, participant) in arrived
    )
    parts = statistics.quantiles(late, n=100, method="inclusive")
    name = f"answer of the Bridge to receiver, {len(late)} alerts: "
    yield Figure(name + "median", parts[49], "s")
    yield Figure(name + "p90", parts[89], "s")
    yield Figure(name + "p99", parts[98], "s", "<= 2", parts[98] <= 2)
    yield Figure(name + "longest", late[-1], "s")


@contextmanager
def _receiver() -> Iterator[tuple[str, dict[tuple[str, str], datetime]]]:
    """Yields an address, and when each alert (name, participant) first arrived there."""
    arrived: dict[tuple[str, str], datetime] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            at = datetime.now(UTC)
            body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in body["alerts"]:
                arrived.setdefault((alert["labels"]["alertname"], alert["labels"]["participant"]), at)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.server_port}", arrived
    finally:
        listening.shutdown()
        listening.server_close()


@contextmanager
def _alertmanager(folder: Path, receiver: str) -> Iterator[str]:
    address = free_address()
    file = folder / "alertmanager.yml"
    file.write_text(CONFIGURATION.format(receiver=receiver))
    arguments = (f"--config.file={file}", f"--storage.path={folder / 'data'}", "--cluster.listen-address=")
    process = psutil.Popen(
        [COMMAND, *arguments, f"--web.listen-address={address}", "--log.level=warn"], stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: _is_ready(address), process, 60)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(15)


def _is_ready(address: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://{address}/-/ready", timeout=5).is_success
    return False
