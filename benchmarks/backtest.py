"""`rules backtest` over a stored history: bucket observations per second, and the memory that it takes.

PostgreSQL shares the machine.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil

from benchmarks.figure import Figure
from benchmarks.processes import RULES, server
from benchmarks.recording import BEGAN, record
from exporter.backtest import workers
from exporter.backtest.backtest import Coverage
from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings
from exporter.demo.servers import start_postgres
from exporter.history.participants import find_participants
from exporter.history.replay import Period
from exporter.rules.files.loading import load
from exporter.store import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from exporter.backtest.backtest import BacktestResult
    from exporter.buckets.bucket import Ispb

HOURS = float(os.environ.get("BENCH_HOURS", "48"))
PARTICIPANTS = 2


def run() -> Iterator[Figure]:
    with server(start_postgres) as dsn:
        database = DatabaseSettings(dsn=Secret(dsn))
        asyncio.run(migrations.up(dsn))
        asyncio.run(record(database, load([str(RULES)]).rules, hours=HOURS, participants=PARTICIPANTS))
        yield from _figures(database)


def _figures(database: DatabaseSettings) -> Iterator[Figure]:
    participants = asyncio.run(find_participants(database))
    day = Period(BEGAN, BEGAN + timedelta(hours=HOURS))
    job = workers.Job(database, ((str(RULES),),), day)
    yield from _measured(f"{PARTICIPANTS} participants, one process", job, participants, 1)
    yield from _measured(f"{PARTICIPANTS} participants, a process per core", job, participants, None)
    yield from _measured("1 participant, one process", job, participants[:1], 1)
    yield from _measured("1 participant, a process per core", job, participants[:1], None)
    for hours in (HOURS / 4, HOURS):
        span = Period(BEGAN, BEGAN + timedelta(hours=hours))
        with _peak() as peak:
            workers.run(workers.Job(database, job.rule_files, span), participants[:1], _silent, processes=1)
        yield Figure(f"memory for {hours:g} hours, peak (USS)", peak[0] / 1e6, "MB")


def _measured(name: str, job: workers.Job, participants: Sequence[Ispb], processes: int | None) -> Iterator[Figure]:
    started = time.perf_counter()
    results: list[BacktestResult] = workers.run(job, participants, _silent, processes=processes)
    taken = time.perf_counter() - started
    coverage = sum((result.coverage for result in results), Coverage())
    yield Figure(f"{name}: bucket observations", coverage.observations / taken, "per s")
    yield Figure(f"{name}: polls", coverage.polls / taken, "per s")


def _silent(*_: object) -> None:
    """The bar is for people."""


@contextmanager
def _peak() -> Iterator[list[int]]:
    """Watches this process' memory; the list holds the most that was seen, in bytes."""
    process, over, most = psutil.Process(), threading.Event(), [0]

    def watch() -> None:
        while not over.wait(0.05):
            most[0] = max(most[0], int(process.memory_full_info().uss))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        over.set()
        watching.join()
