"""PostgreSQL or the broker away, under load: polling and metrics go on, nothing is lost."""

from __future__ import annotations

import itertools
import threading
import time

import pytest

from tests.support import soak, truth
from tests.support.program import Bridge, Program, wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.broker]

POLLS = 5
"""Of each participant, during an outage; in a soak up to so many more times."""
LONGEST = 12


class Scraper:
    """Scrapes once every half second, as Prometheus would, and remembers what failed."""

    def __init__(self, program: Program) -> None:
        self.failures: list[str] = []
        self._program = program
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            try:
                self._program.metric("dict_rate_limit_up")
            except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
                self.failures.append(repr(error))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(15)


def oldest_success(program: Program) -> float:
    """When the participant that was last answered longest ago was."""
    name = "dict_rate_limit_last_success_timestamp_seconds"
    return min(value for sample, _, value in program.samples() if sample == name)


@pytest.mark.parametrize("fate", ["stopped", "frozen"])
def test_polls_wait_for_postgresql_and_all_arrive(tmp_path, start, outage_postgres, fate) -> None:
    bridge = start(Bridge(tmp_path, participants=20))
    dsn = outage_postgres.database_dsn
    program = start(Program("run", **bridge.settings, DATABASE__DSN=dsn)).ready()
    wait_until(lambda: truth.count(dsn, "dict_rate_limit_alerts") > 0)

    scraper = Scraper(program)
    outages = []
    for chance in soak.rounds(1, share=0.15):
        polls = soak.chosen(chance, POLLS, LONGEST * POLLS)
        began = time.time()
        outage_postgres.stop() if fate == "stopped" else outage_postgres.freeze()
        wait_until(
            lambda: oldest_success(program) > began + polls,  # noqa: B023
            within_seconds=60 + 4 * polls,
            what="polls and metrics to go on without PostgreSQL",
        )
        outage_postgres.start() if fate == "stopped" else outage_postgres.thaw()
        outages.append((began, time.time(), polls))
        after = f"polled_at > to_timestamp({time.time()})"
        wait_until(
            lambda: truth.count(dsn, "dict_rate_limit_reconciliations", after) > 20,  # noqa: B023
            within_seconds=90,
            what="commits after the outage",
        )
    scraper.stop()

    assert not scraper.failures
    assert not program.metric("dict_rate_limit_snapshots_dropped_total")
    assert program.stop() == 0
    assert fate == "frozen" or "database unusable" in program.output(0)
    assert program.output(0).count("database unusable") < sum(polls for *_, polls in outages), "now and then"
    assert "psycopg.pool" not in program.output(0)
    assert not truth.check(dsn).gaps()
    for began, ended, polls in outages:
        during = f"polled_at BETWEEN to_timestamp({began}) AND to_timestamp({ended})"
        assert truth.count(dsn, "dict_rate_limit_reconciliations", during) >= 20 * polls


def test_somebody_polls_at_all_times_though_the_database_is_frozen_for_longer_than_the_lease(
    tmp_path, start, outage_postgres
) -> None:
    bridge = start(Bridge(tmp_path))
    dsn = outage_postgres.database_dsn
    leader = start(Program("run", **bridge.settings, DATABASE__DSN=dsn)).ready()
    wait_until(lambda: leader.metric("dict_rate_limit_lease_held") == 1)
    waiting = start(Program("run", **bridge.settings, DATABASE__DSN=dsn))
    wait_until(lambda: '"waiting"' in waiting.output(), what="the second to wait")
    wait_until(lambda: truth.count(dsn, "dict_rate_limit_reconciliations") > 5)

    began = time.time()
    outage_postgres.freeze()
    wait_until(
        lambda: waiting.metric("dict_rate_limit_up") == 1 and oldest_success(waiting) > began + 24,
        what="the one that waited to poll",
    )
    outage_postgres.thaw()
    frozen_seconds = time.time() - began
    after = f"polled_at > to_timestamp({began + frozen_seconds})"
    wait_until(lambda: truth.count(dsn, "dict_rate_limit_reconciliations", after) > 5, what="commits after the outage")
    assert [leader.stop(), waiting.stop()] == [0, 0]

    with truth.rows(dsn) as query:
        times = [at.timestamp() for (at,) in query("SELECT polled_at FROM dict_rate_limit_reconciliations ORDER BY 1")]
    longest = max(after - before for before, after in itertools.pairwise(times))
    # Where the one that waited leads afterwards, what the other polled alone is not in its memory: the 4 s until it
    # gave up waiting, and what a busy machine adds.
    assert longest < frozen_seconds / 3
    assert frozen_seconds > 24


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

    # 6 s on an idle machine; Docker kills after 10 s, unless it is told otherwise. Waiting for the server takes 16.
    assert ended_seconds < 14


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
    for chance in soak.rounds(1, share=0.15):
        events = soak.chosen(chance, POLLS, LONGEST * POLLS)
        pulsar_server.stop() if fate == "stopped" else pulsar_server.freeze()
        wait_until(
            lambda: truth.count(database_dsn, "dict_rate_limit_outbox", "state = 'pending'") >= events,  # noqa: B023
            within_seconds=60 + 4 * events,
            what="events to wait for the broker",
        )
        pulsar_server.start() if fate == "stopped" else pulsar_server.thaw()
        committed = truth.count(database_dsn, "dict_rate_limit_outbox")
        wait_until(
            lambda: len(set(consumer.ids)) > committed,  # noqa: B023
            within_seconds=90,
            what="events after the outage",
        )
    scraper.stop()
    assert program.stop() == 0

    assert not scraper.failures
    truth.check(database_dsn)
    settled = truth.count(database_dsn, "dict_rate_limit_outbox", "state <> 'pending'")
    wait_until(lambda: len(set(consumer.ids)) >= settled)
    assert len(consumer.ids) == len(set(consumer.ids)), "the broker deduplicates"
    last: dict[str, str] = {}
    for _, body, key in consumer.events:
        assert body["state"] != last.get(key), "an alert's events are in order"
        last[key] = body["state"]
