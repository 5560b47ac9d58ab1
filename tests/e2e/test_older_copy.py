"""A database that becomes an older copy of itself under a running program: nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import truth
from tests.support.ports import free_port
from tests.support.program import Bridge, Program, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.consumer import Consumer
    from tests.support.postgres import OutagePostgres

pytestmark = [pytest.mark.postgres, pytest.mark.broker, pytest.mark.pulsar]

EVENTS = 8
"""That are committed after the copy was made, and lost with it."""


def programs(roles: str, bridge: Bridge, **settings: object) -> list[Program]:
    if roles == "run":
        return [Program("run", **bridge.settings, **settings)]
    address = f"127.0.0.1:{free_port()}"
    feed = {"FEED__INSECURE": "true"}
    return [
        Program("exporter", **bridge.settings, **feed, FEED__LISTEN_ADDRESS=address),
        Program("reconciler", **bridge.settings, **feed, FEED__TARGETS=address, **settings),
    ]


def copy_of(postgres: OutagePostgres, folder: Path) -> Path:
    postgres.stop("fast")
    postgres.put_away(folder / "copy")
    postgres.start()
    return folder / "copy"


def become(postgres: OutagePostgres, copy: Path) -> None:
    postgres.stop()
    postgres.put_back(copy)
    postgres.start()


@pytest.mark.parametrize("roles", ["run", "exporter and reconciler"])
def test_nothing_is_lost_and_what_is_sent_again_is_the_same(
    tmp_path, start, consume, outage_postgres, pulsar_server, roles
) -> None:
    bridge = start(Bridge(tmp_path, participants=2))
    dsn, topic = outage_postgres.database_dsn, pulsar_server.topic(deduplication=True)
    consumer: Consumer = consume(pulsar_server.url, topic)
    settings = {"DATABASE__DSN": dsn, "PULSAR__SERVICE_URL": pulsar_server.url, "PULSAR__TOPIC": topic}
    running = [start(program) for program in programs(roles, bridge, **settings)]
    wait_until(lambda: consumer.ids, what="the first event")

    copy = copy_of(outage_postgres, tmp_path)
    at_first = len(consumer.ids)
    wait_until(lambda: len(consumer.ids) >= at_first + EVENTS // 2, what="events after the copy")
    # Of those that follow none reaches the broker before they are lost.
    pulsar_server.freeze()
    wait_until(
        lambda: truth.count(dsn, "dict_rate_limit_outbox", "state = 'pending'") >= EVENTS // 2,
        what="events that wait for the broker",
    )
    become(outage_postgres, copy)
    pulsar_server.thaw()
    last = len(consumer.ids)
    wait_until(lambda: len(consumer.ids) > last + 2 * EVENTS, what="events after the database went back")
    wait_until(lambda: not truth.count(dsn, "dict_rate_limit_outbox", "state = 'pending'"), what="an empty outbox")
    assert [program.stop() for program in reversed(running)] == [0] * len(running)

    assert not truth.check(dsn).gaps()
    with truth.rows(dsn) as query:
        state = {
            str(event_id): state for event_id, state in query("SELECT event_id, state FROM dict_rate_limit_outbox")
        }
    published = {event_id for event_id in state if state[event_id] == "published"}
    wait_until(lambda: set(consumer.ids) >= published, what="every published event at the consumer")
    assert set(consumer.ids) <= state.keys()
    assert "the database has become an older copy of itself" in running[-1].output(0)
