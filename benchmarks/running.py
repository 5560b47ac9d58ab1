"""`run` as it is deployed, with one participant and with 1,000, PostgreSQL and a broker beside it.

Every bucket is under traffic, so every state changes at every poll. The simulated
Bridge, PostgreSQL and the broker share the machine with it.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from benchmarks.figure import Figure
from tests.support import postgres, truth
from tests.support.broker import PulsarLite
from tests.support.program import Bridge, Program, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def _settings(bridge: Bridge) -> dict[str, object]:
    wanted = {"BRIDGE__TIMEOUT": "5s", "POLL__INTERVAL": f"{INTERVAL_SECONDS}s", "POLL__STALENESS": "5m"}
    return dict(bridge.settings) | wanted | {"POLL__ESTIMATE_WINDOW": "1m", "LOG__LEVEL": "error"}


def _exporter_alone() -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        bridge = Bridge(Path(folder), SCENARIO, participants=1).start()
        program = Program("exporter", **_settings(bridge)).start().ready(60)
        try:
            wait_until(lambda: program.metric("dict_rate_limit_up") == 1, within_seconds=30)
            time.sleep(5)
            yield Figure(
                "`exporter`, 1 participant: memory (PSS)", _pss(program) / 1e6, "MB", "<= 60", _pss(program) <= 60e6
            )
        finally:
            program.end()
            bridge.program.end()


def _measure(participants: int) -> Iterator[Figure]:
    programs = postgres.bin_directory()
    assert programs is not None
    server = postgres.PostgresServer(programs, synchronous_commit="on", fsync="on", track_commit_timestamp="on")
    broker = PulsarLite()
    with tempfile.TemporaryDirectory() as folder:
        bridge = Bridge(Path(folder), SCENARIO, participants=participants).start()
        postgres.prepare(server.dsn, "bench")
        dsn = postgres.dsn_as("writer", server.dsn, "bench")
        broker.start()
        program = Program(
            "run",
            **_settings(bridge),
            DATABASE__DSN=dsn,
            PULSAR__SERVICE_URL=broker.url,
            PULSAR__TOPIC=broker.topic(),
        )
        try:
            program.start().ready(120)
            time.sleep(3 * INTERVAL_SECONDS)
            process = psutil.Process(program.process.pid if program.process else 0)
            cpu, began = sum(process.cpu_times()[:2]), time.time()
            time.sleep(MEASURED_SECONDS)
            cpu_share = (sum(process.cpu_times()[:2]) - cpu) / (time.time() - began)
            name = f"`run`, {participants} participant{'s' if participants > 1 else ''}: "
            aim = 110 if participants == 1 else 350
            pss = _pss(program) / 1e6
            yield Figure(name + "memory (PSS)", pss, "MB", f"<= {aim}", pss <= aim)
            yield Figure(name + "CPU", 100 * cpu_share, "% of a core")
            dropped = program.metric("dict_rate_limit_snapshots_dropped_total") or 0.0
            yield Figure(name + "polls dropped", dropped, "", "0", dropped == 0)
            superuser = f"{server.dsn} ".replace("dbname=postgres", "dbname=bench")
            yield from _from_database(name, superuser, began, participants)
        finally:
            program.end()
            bridge.program.end()
            broker.remove()
            server.remove()


def _from_database(name: str, dsn: str, began: float, participants: int) -> Iterator[Figure]:
    since = f"polled_at BETWEEN to_timestamp({began}) AND to_timestamp({began + MEASURED_SECONDS})"
    with truth.rows(dsn) as query:
        ((polls, buckets),) = query(
            f"SELECT count(*), sum(states_written) FROM dict_rate_limit_reconciliations WHERE {since}"
        )
        ((late,),) = query(
            "SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM"
            " pg_xact_commit_timestamp(xmin) - polled_at)) FROM"
            f" (SELECT xmin, polled_at FROM dict_rate_limit_reconciliations WHERE {since}) AS r"
        )
        ((events, event_late),) = query(
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


def _pss(program: Program) -> float:
    assert program.process is not None
    return float(psutil.Process(program.process.pid).memory_full_info().pss)
