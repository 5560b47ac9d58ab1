"""Whatever dies, whenever: no second open alert, no transition lost, no event lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from exporter.store.lease import Lease
from tests.support import soak, truth
from tests.support.builders import bucket, poll
from tests.support.program import Bridge, Program, wait_until
from tests.support.stored import Store, connected

pytestmark = [pytest.mark.postgres, pytest.mark.broker]

KILLS = 8
POLL_SECONDS = 1.0
PAST = "99999999"


def in_order(consumer) -> dict[str, list[str]]:
    """The states of each alert as they arrived, repeats left out."""
    seen: set[str] = set()
    states: dict[str, list[str]] = {}
    for _, body, key in consumer.events:
        if body["event_id"] not in seen:
            seen.add(body["event_id"])
            states.setdefault(key, []).append(body["state"])
    return states


def test_killing_the_process_at_random_moments_loses_and_repeats_nothing(
    tmp_path, start, consume, database_dsn, pulsar_server
) -> None:
    bridge = start(Bridge(tmp_path, participants=3))
    topic = pulsar_server.topic(deduplication=True)
    consumer = consume(pulsar_server.url, topic)
    settings = bridge.settings | {
        "DATABASE__DSN": database_dsn,
        "PULSAR__SERVICE_URL": pulsar_server.url,
        "PULSAR__TOPIC": topic,
    }
    program = Program("run", **settings)
    kills = 0

    for chance in soak.rounds(KILLS, share=0.4):
        start(program)
        before = truth.count(database_dsn, "dict_rate_limit_outbox")
        wait_until(
            lambda: truth.count(database_dsn, "dict_rate_limit_outbox") > before,  # noqa: B023
            what="an event after the restart",
        )
        # The moment of death is what this test is about: any within a poll's interval.
        time.sleep(chance.uniform(0, POLL_SECONDS))
        program.kill()
        kills += 1
    start(program).ready()
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_outbox", "state = 'pending'") == 0)
    assert program.stop() == 0

    found = truth.check(database_dsn)
    assert len(found.expected) >= kills
    # What a poll in hand at the end still wrote waits for the next start.
    settled = truth.count(database_dsn, "dict_rate_limit_outbox", "state <> 'pending'")
    wait_until(lambda: len(set(consumer.ids)) >= settled, what="every event but those at the consumer")
    assert len(consumer.ids) == len(set(consumer.ids)), "the broker deduplicates"
    for states in in_order(consumer).values():
        assert states == ["firing", "resolved"] * (len(states) // 2) + ["firing"] * (len(states) % 2)


async def a_past(dsn: str, hours: int) -> None:
    """Fills a database with hours of a participant that is polled no more, up to five days ago."""
    ends = datetime.now(UTC) - timedelta(days=5)
    async with connected(dsn) as database:
        lease = Lease(database, "before")
        fence = await lease.acquire()
        assert fence is not None
        store = Store(database, fence)
        for hour in range(hours):
            polls = [poll(bucket(hour * n), sequence=hour * 60 + n + 1, participant=PAST) for n in range(60)]
            times = [ends - timedelta(hours=hours - hour) + timedelta(minutes=n) for n in range(60)]
            await store.commit(
                *[
                    replace(p, polled_at=at, last_success_at=at, result=replace(p.result, observed_at=at))
                    for p, at in zip(polls, times, strict=True)
                ]
            )
        await lease.release()


def test_killing_the_process_while_it_compacts_history_changes_none_of_it(tmp_path, start, database_dsn) -> None:
    hours = 150
    asyncio.run(a_past(database_dsn, hours))
    bridge = start(Bridge(tmp_path))
    program = Program("run", **bridge.settings, DATABASE__DSN=database_dsn, DATABASE__COMPACT_AFTER="1h")

    def history() -> list[list[tuple[str]]]:
        tables = ("dict_rate_limit_states", "dict_rate_limit_reconciliations")
        with truth.rows(database_dsn) as query:
            query("SELECT set_config('timezone', 'UTC', false)")
            return [query(f"SELECT t::text FROM {t} AS t WHERE participant = '{PAST}' ORDER BY 1") for t in tables]

    before = history()
    for chance in soak.rounds(KILLS, share=0.2):
        chunks = truth.count(database_dsn, "dict_rate_limit_chunks")
        start(program)
        wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_chunks") > chunks)  # noqa: B023
        time.sleep(chance.uniform(0, 0.5))
        program.kill()
        assert history() == before
    # One hour is younger than what is kept as rows.
    start(program)
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_chunks") >= hours - 2, within_seconds=120)
    wait_until(lambda: program.metric("dict_rate_limit_compaction_oldest_age_seconds") == 0)
    assert program.stop() == 0

    assert history() == before
    assert truth.count(database_dsn, "dict_rate_limit_reconciliation_rows", f"participant = '{PAST}'") <= 120


def test_a_process_that_is_asked_to_end_just_when_it_took_the_lease_ends(tmp_path, start, database_dsn) -> None:
    bridge = start(Bridge(tmp_path))
    program = Program("run", **bridge.settings, DATABASE__DSN=database_dsn)

    for lives in range(1, 7):
        start(program)
        wait_until(
            lambda: program.output(0).count('"leading"') >= lives,  # noqa: B023
            every_seconds=0.001,
            what="the lease to be taken",
        )
        assert program.stop() == 0

    assert "asked again" not in program.output(0)


@pytest.mark.parametrize("fate", ["killed", "frozen"])
def test_another_process_takes_over_and_the_one_before_commits_nothing(tmp_path, start, database_dsn, fate) -> None:
    bridge = start(Bridge(tmp_path, participants=2))
    settings = bridge.settings | {"DATABASE__DSN": database_dsn}
    first = start(Program("run", **settings)).ready()
    second = start(Program("run", **settings)).ready()
    wait_until(lambda: first.metric("dict_rate_limit_lease_held") == 1)
    assert second.metric("dict_rate_limit_lease_held") == 0
    assert second.metric("dict_rate_limit_up") is None, "the one that waits does not poll"

    lost_at = datetime.now(UTC)
    first.kill() if fate == "killed" else first.freeze()
    wait_until(lambda: second.metric("dict_rate_limit_lease_held") == 1)
    wait_until(lambda: second.metric("dict_rate_limit_up") == 2)
    if fate == "frozen":
        first.thaw()
        wait_until(lambda: first.metric("dict_rate_limit_lease_held") == 0)
    polls = truth.count(database_dsn, "dict_rate_limit_reconciliations")
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_reconciliations") > polls + 10)
    first.end()  # or it would take over again
    second.stop()

    # Nine at most, and a busy machine.
    assert (second.leads_since() - lost_at).total_seconds() < 12
    found = truth.check(database_dsn)
    streams = [poll.stream_id for polls in found.polls.values() for poll in polls]
    assert len(set(streams)) == 2


def test_a_clean_stop_hands_the_lease_over_at_once(tmp_path, start, database_dsn) -> None:
    bridge = start(Bridge(tmp_path))
    settings = bridge.settings | {"DATABASE__DSN": database_dsn}
    first = start(Program("run", **settings)).ready()
    second = start(Program("run", **settings)).ready()

    assert first.stop() == 0
    stopped_at = datetime.now(UTC)
    wait_until(lambda: second.metric("dict_rate_limit_lease_held") == 1)

    # It asks each second. A lease that was not released would take nine.
    assert (second.leads_since() - stopped_at).total_seconds() < 4
    assert second.stop() == 0
    truth.check(database_dsn)
