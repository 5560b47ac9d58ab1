"""PostgreSQL or the broker away, under load: polling and metrics go on, nothing is lost."""

from __future__ import annotations

import os
import threading
import time

import pytest

from tests.support import truth
from tests.support.program import Bridge, Program, wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.broker]

OUTAGE_SECONDS = float(os.environ.get("TEST_OUTAGE_SECONDS", "15"))


class Scraper:
    """Scrapes once every half second, as Prometheus would, and remembers how it went."""

    def __init__(self, program: Program) -> None:
        self.last_success: list[float] = []
        self.failures: list[str] = []
        self._program = program
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            try:
                newest = self._program.metric("dict_rate_limit_last_success_timestamp_seconds")
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                self.failures.append(repr(error))
            else:
                self.last_success.append(newest or 0.0)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(15)


@pytest.mark.parametrize("fate", ["stopped", "frozen"])
def test_polls_wait_for_postgresql_and_all_arrive(tmp_path, start, outage_postgres, fate) -> None:
    bridge = start(Bridge(tmp_path, participants=20))
    dsn = outage_postgres.database_dsn
    program = start(Program("run", **bridge.settings, DATABASE__DSN=dsn)).ready()
    wait_until(lambda: truth.count(dsn, "dict_rate_limit_alerts") > 0)

    scraper = Scraper(program)
    outage_postgres.stop() if fate == "stopped" else outage_postgres.freeze()
    time.sleep(OUTAGE_SECONDS)  # the outage itself
    waiting = program.metric("dict_rate_limit_snapshots_dropped_total")
    outage_postgres.start() if fate == "stopped" else outage_postgres.thaw()
    outage_end = time.time()
    scraper.stop()

    assert not scraper.failures
    assert len(scraper.last_success) > OUTAGE_SECONDS / 3
    advances = [b - a for a, b in zip(scraper.last_success, scraper.last_success[3:], strict=False)]
    assert min(advances) > 0, "polling stood still"
    assert not waiting
    wait_until(
        lambda: truth.count(dsn, "dict_rate_limit_reconciliations", f"polled_at > to_timestamp({outage_end + 2})") > 20,
        within_seconds=60,
    )
    assert program.stop() == 0
    found = truth.check(dsn)
    assert not found.gaps()
    assert sum(len(polls) for polls in found.polls.values()) > 20 * OUTAGE_SECONDS


def test_a_frozen_postgresql_does_not_keep_the_program_from_ending(tmp_path, start, outage_postgres) -> None:
    bridge = start(Bridge(tmp_path))
    dsn = outage_postgres.database_dsn
    program = start(Program("run", **bridge.settings, DATABASE__DSN=dsn)).ready()
    wait_until(lambda: truth.count(dsn, "dict_rate_limit_reconciliations") > 0)
    outage_postgres.freeze()
    polled = program.metric("dict_rate_limit_last_success_timestamp_seconds")
    wait_until(lambda: program.metric("dict_rate_limit_last_success_timestamp_seconds") > polled)

    began = time.monotonic()
    assert program.stop() == 0
    ended_seconds = time.monotonic() - began
    outage_postgres.thaw()

    # 6 s on an idle machine. Docker kills after 10 s, unless it is told otherwise.
    assert ended_seconds < 10


def test_the_program_starts_without_postgresql_and_catches_up(tmp_path, start, outage_postgres) -> None:
    bridge = start(Bridge(tmp_path, participants=3))
    dsn = outage_postgres.database_dsn
    outage_postgres.stop()
    program = start(Program("run", **bridge.settings, DATABASE__DSN=dsn)).ready()
    wait_until(lambda: program.metric("dict_rate_limit_up") == 3)
    answer = program.get("/-/ready")

    outage_postgres.start()
    wait_until(lambda: truth.count(dsn, "dict_rate_limit_reconciliations") > 20, within_seconds=60)
    assert program.stop() == 0

    assert not next(d for d in answer["dependencies"] if d["name"] == "database")["ok"]
    assert not truth.check(dsn).gaps()


@pytest.mark.parametrize("fate", ["stopped", "frozen"])
def test_events_wait_for_the_broker_and_arrive_in_order(
    tmp_path, start, consume, database_dsn, pulsar_server, fate
) -> None:
    bridge = start(Bridge(tmp_path, participants=5))
    topic = pulsar_server.topic(deduplication=True)
    consumer = consume(pulsar_server.url, topic)
    program = start(
        Program(
            "run",
            **bridge.settings,
            DATABASE__DSN=database_dsn,
            PULSAR__SERVICE_URL=pulsar_server.url,
            PULSAR__TOPIC=topic,
        )
    ).ready()
    wait_until(lambda: len(consumer.events) > 5)

    scraper = Scraper(program)
    pulsar_server.stop() if fate == "stopped" else pulsar_server.freeze()
    time.sleep(OUTAGE_SECONDS)  # the outage itself
    waiting = truth.count(database_dsn, "dict_rate_limit_outbox", "state = 'pending'")
    pulsar_server.start() if fate == "stopped" else pulsar_server.thaw()
    scraper.stop()
    committed = truth.count(database_dsn, "dict_rate_limit_outbox")
    wait_until(lambda: len(set(consumer.ids)) > committed, within_seconds=90, what="events after the outage")
    assert program.stop() == 0

    assert not scraper.failures
    assert waiting > 0
    truth.check(database_dsn)
    published = truth.count(database_dsn, "dict_rate_limit_outbox", "state = 'published'")
    wait_until(lambda: len(set(consumer.ids)) >= published)
    assert len(consumer.ids) == len(set(consumer.ids)), "the broker deduplicates"
    last: dict[str, str] = {}
    for _, body, key in consumer.events:
        assert body["state"] != last.get(key), "an alert's events are in order"
        last[key] = body["state"]
