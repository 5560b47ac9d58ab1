"""The relay against brokers: what consumers get, whatever dies in between."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import UTC
from typing import TYPE_CHECKING

import psycopg
import pytest

from exporter import telemetry
from exporter.durations import Backoff, Duration
from exporter.errors import ConfigurationError, LeaseLost
from exporter.relay.relay import Timing
from exporter.store.lease import Lease
from exporter.store.outbox import DeliveryResults, Outbox
from tests.support.conditions import until
from tests.support.logs import logged
from tests.support.relaying import Stage, running, staged
from tests.support.topic import Arrived, arrived, client, subscribe
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.store.lease import Fence
    from tests.support.broker import Broker, PulsarLite, PulsarServer

pytestmark = [pytest.mark.postgres, pytest.mark.broker]


@pytest.fixture
async def stage(database_dsn: str) -> AsyncIterator[Stage]:
    async with staged(database_dsn) as made:
        yield made


@pytest.fixture(params=["pulsar_lite", pytest.param("pulsar_server", marks=pytest.mark.pulsar)])
def breakable(request: pytest.FixtureRequest) -> PulsarLite | PulsarServer:
    """A broker that the test may stop."""
    made: PulsarLite | PulsarServer = request.getfixturevalue(request.param)
    return made


async def look(url: str, topic: str) -> list[Arrived]:
    return await asyncio.to_thread(arrived, url, topic)


def numbers(messages: list[Arrived]) -> list[int]:
    return [message.body["number"] for message in messages]


def first_of_each(messages: list[Arrived]) -> list[Arrived]:
    """Returns what a consumer that knows event ids makes of them."""
    known: dict[str, Arrived] = {}
    for message in messages:
        known.setdefault(message.event_id, message)
    return list(known.values())


def by_alert(messages: list[Arrived]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for message in first_of_each(messages):
        found.setdefault(message.key, []).append(message.body["number"])
    return found


class Killed(BaseException):
    """The process died here."""


class DyingOutbox(Outbox):
    """Lets the process die after the broker's receipt and before the row is marked."""

    async def commit_receipts(self, results: DeliveryResults, fence: Fence) -> None:
        raise Killed


class LyingOutbox(Outbox):
    """Says once that it gave all the ids that the broker has."""

    lies = 1

    async def highest_sequence_id(self) -> int:
        if self.lies:
            self.lies -= 1
            return 2**40
        return await super().highest_sequence_id()


async def test_events_arrive_in_order_with_their_attributes(stage: Stage, broker: Broker) -> None:
    topic = broker.topic()
    stage.write(*range(1, 121))

    async with stage.relaying(broker.url, topic) as relay:
        await stage.until_all_published()
        assert relay.message is None

    messages = await look(broker.url, topic)
    assert numbers(messages) == list(range(1, 121))
    assert [message.body["sequence"] for message in messages] == list(range(1, 121))
    assert {message.producer for message in messages} == {f"dict-rate-limit-{await stage.outbox.installation_id()}"}
    first, row = messages[0], stage.rows("published")[0]
    assert first.key == "f1"
    assert first.properties == {
        "ce_specversion": "1.0",
        "ce_id": str(row["event_id"]),
        "ce_source": "dict-rate-limit",
        "ce_type": "dict.rate_limit.alert.firing",
        "ce_time": row["event_time"].astimezone(UTC).isoformat(),
        "ce_subject": "12345678/P/A",
        "ce_datacontenttype": "application/json",
        "ce_partitionkey": "f1",
        "ce_sequence": "00000000000000000001",
    }
    assert stage.count("events_published") == 120
    duration = {"operation": "relay"}
    assert stage.metrics.registry.get_sample_value("dict_rate_limit_monitoring_duration_seconds_count", duration) == 120


async def test_events_that_come_later_are_sent_when_the_relay_is_woken(stage: Stage, broker: Broker) -> None:
    topic = broker.topic()

    async with stage.relaying(broker.url, topic, timing=Timing(idle_seconds=3600)) as made:
        await until(lambda: made.message is None)
        for number in (1, 2, 3):
            stage.write(number)
            await stage.until_all_published()

    assert numbers(await look(broker.url, topic)) == [1, 2, 3]


async def test_the_trace_goes_on_at_the_consumer(stage: Stage, broker: Broker, superuser_dsn: str) -> None:
    topic = broker.topic()
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    stage.write(1)
    with psycopg.connect(superuser_dsn) as connection:
        connection.execute("UPDATE dict_rate_limit_outbox SET traceparent = %s", (traceparent,))

    async with stage.relaying(broker.url, topic):
        await stage.until_all_published()

    (message,) = await look(broker.url, topic)
    assert message.properties["traceparent"] == traceparent
    assert telemetry.traceparent() is None


async def test_a_broker_that_comes_back_gets_every_event(stage: Stage, breakable: PulsarLite | PulsarServer) -> None:
    topic = breakable.topic()
    await asyncio.to_thread(subscribe, breakable.url, topic)
    stage.write(*range(1, 41))

    async with stage.relaying(breakable.url, topic) as relay:
        await until(lambda: stage.count("events_published") >= 10)
        await asyncio.to_thread(breakable.kill)
        stage.write(*range(41, 81))
        await until(lambda: relay.message is not None)
        await asyncio.to_thread(breakable.start)
        await stage.until_all_published(seconds=120)

    messages = await look(breakable.url, topic)
    assert sorted(numbers(first_of_each(messages))) == list(range(1, 81))
    assert all(of_one == sorted(of_one) for of_one in by_alert(messages).values())


async def test_a_broker_that_is_away_at_the_start_gets_every_event(stage: Stage, pulsar_lite: PulsarLite) -> None:
    topic = pulsar_lite.topic()
    pulsar_lite.stop()
    stage.write(1, 2, 3)

    async with stage.relaying(pulsar_lite.url, topic, operation_timeout=Duration(1)) as relay:
        await until(lambda: relay.message is not None and "Connect" in relay.message)
        pulsar_lite.start()
        await stage.until_all_published()

    assert numbers(await look(pulsar_lite.url, topic)) == [1, 2, 3]


async def test_what_was_sent_and_not_marked_is_sent_again_with_the_same_ids(
    stage: Stage, pulsar_lite: PulsarLite
) -> None:
    topic = pulsar_lite.topic()
    stage.write(1, 2, 3)

    await dies_before_marking(stage, pulsar_lite.url, topic)
    assert len(stage.rows("pending")) == 3
    async with stage.relaying(pulsar_lite.url, topic):
        await stage.until_all_published()

    messages = await look(pulsar_lite.url, topic)
    assert numbers(messages) == [1, 2, 3, 1, 2, 3]
    assert [m.body["sequence"] for m in messages] == [1, 2, 3, 1, 2, 3]
    assert messages[:3] == messages[3:]


@pytest.mark.pulsar
async def test_a_deduplicating_broker_drops_what_is_sent_again(stage: Stage, pulsar_server: PulsarServer) -> None:
    topic = pulsar_server.topic(deduplication=True)
    stage.write(1, 2, 3)

    await dies_before_marking(stage, pulsar_server.url, topic)
    stage.write(4)
    async with stage.relaying(pulsar_server.url, topic):
        await stage.until_all_published()

    assert numbers(await look(pulsar_server.url, topic)) == [1, 2, 3, 4]
    assert stage.count("receipt_defects") == 0


@pytest.mark.pulsar
async def test_no_event_repeats_when_a_deduplicating_broker_dies(stage: Stage, pulsar_server: PulsarServer) -> None:
    topic = pulsar_server.topic(deduplication=True)
    stage.write(*range(1, 101))

    async with stage.relaying(pulsar_server.url, topic):
        await until(lambda: stage.count("events_published") >= 10)
        await asyncio.to_thread(pulsar_server.kill)
        assert stage.rows("pending"), "all were sent before it died"
        await asyncio.to_thread(pulsar_server.start)
        await stage.until_all_published(seconds=240)

    assert numbers(await look(pulsar_server.url, topic)) == list(range(1, 101))
    assert stage.count("receipt_defects") == 0


@pytest.mark.pulsar
async def test_an_event_whose_receipt_is_lost_on_the_way_counts_as_published(
    stage: Stage, pulsar_server: PulsarServer
) -> None:
    topic = pulsar_server.topic(deduplication=True)

    async with (
        Wire(pulsar_server.wire_port, pulsar_server.wired_port) as wire,
        stage.relaying(f"pulsar://127.0.0.1:{pulsar_server.wire_port}", topic) as relay,
    ):
        await until(lambda: relay.message is None)
        wire.cut_at_next_answer()
        stage.write(1, 2, 3)
        await stage.until_all_published()

    assert wire.connections > 1
    assert numbers(await look(pulsar_server.url, topic)) == [1, 2, 3]
    assert stage.count("receipt_defects") == 0
    assert stage.count("events_published") == 3


@pytest.mark.pulsar
async def test_an_event_that_the_broker_drops_unseen_is_a_defect_and_gets_another_id(
    stage: Stage, pulsar_server: PulsarServer
) -> None:
    topic = pulsar_server.topic(deduplication=True)
    await asyncio.to_thread(send_as_the_relay, stage, await stage.outbox.installation_id(), pulsar_server.url, topic)
    stage.write(1, 2, 3)

    async with stage.relaying(pulsar_server.url, topic, LyingOutbox(stage.outbox._database)):
        await stage.until_all_published()

    messages = (await look(pulsar_server.url, topic))[1:]
    assert numbers(messages) == [1, 2, 3]
    assert [m.body["sequence"] for m in messages] == [4, 5, 6]
    assert stage.count("receipt_defects") == 1


async def test_an_event_that_is_too_large_is_put_aside_for_good(stage: Stage, broker: Broker) -> None:
    topic = broker.topic()
    stage.write(1, alerts=1)
    stage.write(2, alerts=1, size=6_000_000)
    stage.write(3, alerts=1)

    async with stage.relaying(broker.url, topic):
        await stage.until_all_published()
        await until(lambda: stage.rows("dead"))

    assert numbers(await look(broker.url, topic)) == [1, 3]
    (dead,) = stage.rows("dead")
    assert dead["number"] == 2
    assert "MessageTooBig" in dead["last_error"]
    assert stage.count("events_dead") == 1
    assert stage.count("events_published") == 2


async def test_an_event_that_was_put_aside_can_be_sent_again(stage: Stage, broker: Broker, superuser_dsn: str) -> None:
    topic = broker.topic()
    stage.write(1, size=6_000_000)

    async with stage.relaying(broker.url, topic):
        await until(lambda: stage.rows("dead"))
        with psycopg.connect(superuser_dsn) as connection:
            connection.execute("""UPDATE dict_rate_limit_outbox SET body = '{"number": 1}'""")
        with psycopg.connect(stage.dsn) as connection:
            connection.execute("UPDATE dict_rate_limit_outbox SET state = 'pending', sequence_id = NULL WHERE id = 1")
        stage.wake.set()
        await stage.until_all_published()

    assert numbers(await look(broker.url, topic)) == [1]


@pytest.mark.pulsar
async def test_an_event_that_the_topic_forbids_does_not_block_the_rest(
    stage: Stage, pulsar_server: PulsarServer
) -> None:
    topic = pulsar_server.topic()
    async with stage.relaying(pulsar_server.url, topic, timing=Timing(receipt_seconds=0.5)) as relay:
        await until(lambda: relay.message is None)
        pulsar_server.admin("POST", f"persistent/{topic.removeprefix('persistent://')}/maxMessageSize", 2_000)
        await until_large_messages_are_refused(pulsar_server.url, topic)

        stage.write(1, size=20_000, alerts=1000)
        number = 1
        while not stage.rows("dead"):
            number += 1
            stage.write(number, alerts=1000)
            await until(lambda: len(stage.rows("pending")) <= 1, seconds=60)

    messages = await look(pulsar_server.url, topic)
    assert numbers([m for m in messages if m.body]) == list(range(2, number + 1))
    assert [row["number"] for row in stage.rows("dead")] == [1]
    assert stage.count("events_dead") == 1


@pytest.mark.pulsar
async def test_a_namespace_that_is_missing_is_reported_once_and_costs_no_event(
    stage: Stage, pulsar_server: PulsarServer, caplog: pytest.LogCaptureFixture
) -> None:
    topic = "persistent://public/not-yet/alerts"
    stage.write(1)

    async with stage.relaying(pulsar_server.url, topic, timing=Timing(backoff=Backoff(0.05, 0.05))) as made:
        await until(lambda: made.message is not None and "Namespace not found" in made.message)
        await until(lambda: made._failures > 5)
        assert [line for line in logged(caplog, "levelname", "error") if line[1] == "ERROR"] == [
            (
                "broker unusable, events wait",
                "ERROR",
                f"{pulsar_server.url} {topic}: 29 TopicNotFound: Namespace not found",
            )
        ]
        pulsar_server.admin("PUT", "namespaces/public/not-yet")
        await stage.until_all_published()

    assert stage.rows("dead") == []
    assert numbers(await look(pulsar_server.url, topic)) == [1]


async def test_a_relay_whose_lease_was_taken_ends_and_marks_nothing(stage: Stage, broker: Broker) -> None:
    topic = broker.topic()
    other = Lease(stage.outbox._database, "second")
    stage.release()
    assert await other.acquire() is not None
    stage.write(1)

    with pytest.raises(LeaseLost):
        await asyncio.wait_for(stage.relay(broker.url, topic).run(), 30)

    assert [row["sequence_id"] for row in stage.rows("pending")] == [None]


async def test_a_relay_that_is_stopped_marks_what_it_has_sent(stage: Stage, broker: Broker) -> None:
    topic = broker.topic()
    stage.write(*range(1, 301))

    async with stage.relaying(broker.url, topic):
        await until(lambda: stage.count("events_published") >= 60)

    assert stage.rows("pending"), "all were sent before it was stopped"
    published = [row["number"] for row in stage.rows("published")]
    assert numbers(await look(broker.url, topic)) == published
    assert stage.count("events_published") == len(published) >= 60


async def test_a_relay_does_not_wait_for_a_frozen_broker_to_end(stage: Stage, pulsar_lite: PulsarLite) -> None:
    topic = pulsar_lite.topic()
    made = stage.relay(pulsar_lite.url, topic)
    async with running(made):
        await until(lambda: made.message is None)
        pulsar_lite.freeze()
        stage.write(1)
        await until(lambda: stage.rows("pending")[0]["sequence_id"] == 1)
        ended = asyncio.get_running_loop().time()

    # 4 s on an idle machine; a relay that waits for the receipt would never end.
    assert asyncio.get_running_loop().time() - ended < 25
    assert len(stage.rows("pending")) == 1


async def test_published_rows_are_pruned_and_ids_go_on(stage: Stage, broker: Broker) -> None:
    topic = broker.topic()
    stage.write(1, 2, 3)
    async with stage.relaying(broker.url, topic):
        await stage.until_all_published()

    async with stage.relaying(broker.url, topic, keep_published=Duration(0)):
        await until(lambda: len(stage.rows("published")) == 1)
        stage.write(4)
        await stage.until_all_published()

    assert [m.body["sequence"] for m in await look(broker.url, topic)] == [1, 2, 3, 4]


async def test_pruning_goes_on_until_nothing_old_is_left(stage: Stage, broker: Broker) -> None:
    stage.outbox.prune_rows = 2
    topic = broker.topic()
    stage.write(*range(1, 8))

    async with stage.relaying(broker.url, topic, timing=Timing(idle_seconds=0.05), keep_published=Duration(0)):
        await until(lambda: len(stage.rows("published")) == 1)


async def test_a_relay_without_a_broker_says_what_to_set(stage: Stage) -> None:
    with pytest.raises(ConfigurationError, match=r"pulsar\.service_url"):
        await stage.relay(None, "t").run()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "nonsense persistent://public/default/t: The scheme part is missing"),
        ("pulsar://127.0.0.1:1", "Connect call failed"),
        ("pulsar://no-such-host.invalid:6650", "Host not found"),
        ("pulsar+ssl://127.0.0.1:1", "Connect call failed"),
    ],
)
async def test_an_address_where_no_broker_is_is_reported(stage: Stage, url: str, said: str) -> None:
    async with stage.relaying(url, "persistent://public/default/t", operation_timeout=Duration(1)) as made:
        await until(lambda: said in (made.message or ""), seconds=60)


async def dies_before_marking(stage: Stage, url: str, topic: str) -> None:
    made = stage.relay(url, topic, DyingOutbox(stage.outbox._database))
    with pytest.raises(Killed):
        await asyncio.wait_for(made.run(), 60)


def send_as_the_relay(_stage: Stage, installation_id: object, url: str, topic: str) -> None:
    """Sends message 1000 under the name that the relay will have."""
    made = client(url)
    producer = made.create_producer(topic, producer_name=f"dict-rate-limit-{installation_id}")
    producer.send(b'{"number": 0}', properties={"ce_id": "0"}, sequence_id=1000)
    made.close()


async def until_large_messages_are_refused(url: str, topic: str) -> None:
    """A topic's policy takes a moment to reach the broker, which answers a message that breaks it with silence."""

    def answered() -> bool:
        made, received = client(url), threading.Event()
        producer = made.create_producer(topic, send_timeout_millis=0)
        producer.send_async(os.urandom(20_000), lambda _result, _id: received.set(), properties={"ce_id": "-"})
        try:
            return received.wait(1)
        finally:
            made.close()

    while await asyncio.to_thread(answered):
        pass
