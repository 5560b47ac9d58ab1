"""Whatever dies, whenever: no second open alert, no transition lost, no event lost."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.support import soak, truth
from tests.support.program import Bridge, Program, wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.broker]

KILLS = 8
POLL_SECONDS = 1.0


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
