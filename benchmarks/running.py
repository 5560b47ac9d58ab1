"""`run` as it is deployed, with one participant and with 1,000, PostgreSQL and a broker beside it.

Every bucket is under traffic, so every state changes at every poll. The simulated
Bridge, PostgreSQL and the broker share the machine with it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.figure import Figure
from benchmarks.processes import RULES, free_address, listens, program, server, wait_until
from exporter.demo.servers import start_broker, start_postgres
from exporter.simulator.world import ispbs
from exporter.store import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

INTERVAL_SECONDS = 15
MEASURED_SECONDS = float(os.environ.get("BENCH_SECONDS", "120"))

SCENARIO = """
description: every bucket under traffic; KEYS_CHECK of one participant in ten empties and fills again and again
step: 5s
traffic:
  - policies: all
    share_of_refill: 0.5
    variation: 0.5
    not_found: 0.05
    paid: 0.5
  - policies: [KEYS_CHECK]
    participants: 100
    until: 60s
    every: 2m
    requests_per_minute: 300
"""


def run() -> Iterator[Figure]:
    yield from _exporter_alone()
    for participants in (1, 1000):
        yield from _measure(participants)


def _exporter_alone() -> Iterator[Figure]:
    with _polling("exporter", participants=1) as (process, address):
        wait_until(lambda: _metric(address, "dict_rate_limit_up") == 1, process, 30)
        time.sleep(5)
        pss = _pss(process)
        yield Figure("`exporter`, 1 participant: memory (PSS)", pss, "MB", "<= 60", pss <= 60)


def _measure(participants: int) -> Iterator[Figure]:
    durable = partial(start_postgres, fsync="on", track_commit_timestamp="on")
    with server(durable) as dsn, server(start_broker) as service_url:
        asyncio.run(migrations.up(dsn))
        stores = {"DATABASE__DSN": dsn, "PULSAR__SERVICE_URL": service_url}
        with _polling("run", participants=participants, **stores) as (process, address):
            time.sleep(3 * INTERVAL_SECONDS)
            cpu, began = sum(process.cpu_times()[:2]), time.time()
            time.sleep(MEASURED_SECONDS)
            cpu_share = (sum(process.cpu_times()[:2]) - cpu) / (time.time() - began)
            name = f"`run`, {participants} participant{'s' if participants > 1 else ''}: "
            aim = 110 if participants == 1 else 350
            pss = _pss(process)
            yield Figure(name + "memory (PSS)", pss, "MB", f"<= {aim}", pss <= aim)
            yield Figure(name + "CPU", 100 * cpu_share, "% of a core")
            dropped = _metric(address, "dict_rate_limit_snapshots_dropped_total")
            yield Figure(name + "polls dropped", dropped, "", "0", dropped == 0)
            yield from _from_database(name, dsn, began, participants)


@contextmanager
def _polling(command: str, *, participants: int, **settings: object) -> Iterator[tuple[psutil.Popen, str]]:
    """Yields the program, ready, with a simulated Bridge to poll; and where it serves."""
    target, address = free_address(), free_address()
    common = {
        "PARTICIPANTS": ",".join(ispbs(participants)),
        "BRIDGE__TARGET": target,
        "BRIDGE__INSECURE": "true",
        "BRIDGE__TIMEOUT": "5s",
        "POLL__INTERVAL": f"{INTERVAL_SECONDS}s",
        "RULES__FILES": RULES,
        "WEB__LISTEN_ADDRESS": address,
        "LOG__LEVEL": "error",
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as scenario:
        scenario.write(SCENARIO)
        scenario.flush()
        simulator = ("bridge-simulator", "--scenario", scenario.name, "--listen-address", target, "--seed", "7")
        quantity = ("--participants", str(participants), "--log.level", "warning")
        with program(*simulator, *quantity) as bridge:
            wait_until(lambda: listens(target), bridge, 60)
            with program(command, settings={**common, **settings}) as process:
                wait_until(lambda: _is_ready(address), process, 120)
                yield process, address


def _is_ready(address: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://{address}/-/ready", timeout=5).is_success
    return False


def _metric(address: str, name: str) -> float:
    """Returns the sum of a metric's samples."""
    page = httpx.get(f"http://{address}/metrics", timeout=10).text
    samples = (sample for family in text_string_to_metric_families(page) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name)


def _from_database(name: str, dsn: str, began: float, participants: int) -> Iterator[Figure]:
    since = f"polled_at BETWEEN to_timestamp({began}) AND to_timestamp({began + MEASURED_SECONDS})"
    with psycopg.connect(dsn, autocommit=True) as connection:
        ((polls, buckets),) = connection.execute(
            f"SELECT count(*), sum(states_written) FROM dict_rate_limit_reconciliations WHERE {since}"
        )
        ((late,),) = connection.execute(
            "SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM"
            " pg_xact_commit_timestamp(xmin) - polled_at)) FROM"
            f" (SELECT xmin, polled_at FROM dict_rate_limit_reconciliations WHERE {since}) AS r"
        )
        ((events, event_late),) = connection.execute(
            "SELECT count(*),"
            " percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM published_at - event_time))"
            f" FROM dict_rate_limit_outbox WHERE state = 'published' AND event_time > to_timestamp({began})"
        )
    # Whole intervals only: what a participant's phase adds beyond them is chance.
    share = min(1.0, polls / (participants * (MEASURED_SECONDS // INTERVAL_SECONDS)))
    yield Figure(name + "polls committed of those due", 100 * share, "%", ">= 98", share >= 0.98)
    yield Figure(name + "states written", (buckets or 0) / MEASURED_SECONDS, "per second")
    yield Figure(name + "answer to commit, p99", float(late), "s", "<= 1", late <= 1)
    yield Figure(name + "events", events, "")
    if event_late is not None:
        yield Figure(name + "answer to event, p99", float(event_late), "s", "<= 2", event_late <= 2)


def _pss(process: psutil.Popen) -> float:
    """Returns its share of memory, in megabytes."""
    return float(process.memory_full_info().pss) / 1e6
