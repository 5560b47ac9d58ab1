"""What the relay decides, with an outbox and a broker in memory.

Both do what `exporter.store.outbox` and a deduplicating broker promise; the integration tests have the real ones.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import count
from typing import TYPE_CHECKING, cast
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.settings import PulsarSettings
from exporter.errors import BrokerUnavailable, ConfigurationError, DatabaseUnavailable, EventRefused, LeaseLost
from exporter.metrics import Metrics
from exporter.relay import relay
from exporter.relay.producer import NoReceipt, Receipt
from exporter.relay.relay import Relay, Timing
from exporter.store.outbox import PRUNE_ROWS
from tests.support.builders import outbox_row
from tests.support.conditions import until
from tests.support.logs import logged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from exporter.store.lease import Fence
    from exporter.store.outbox import DeliveryResults, OutboxRow

FENCE = cast("Fence", None)
"""Nobody but the real outbox looks at it."""


class Fault(Enum):
    """What becomes of a send in place of a receipt."""

    AWAY = auto()
    """The connection breaks before the broker has the event."""
    BROKE_OFF = auto()
    """The connection breaks when the broker has the event."""
    SILENT = auto()
    """No receipt comes, and the broker does not have the event."""
    REFUSED = auto()
    """The client will never be able to send it."""
    DROPPED = auto()
    """The broker says that it had that id already, and does not have the event."""
    SENT_AGAIN = auto()
    """The client had connected and sent again by itself: the broker has the event, and says that it had it."""


class Killed(BaseException):
    """The process ended."""


class Broker:
    """Takes events, each id once. ``faults`` say, send by send, what happens instead (None: it takes the event)."""

    def __init__(
        self,
        *faults: Fault | None,
        always: Callable[[OutboxRow], Fault | None] = lambda _: None,
        partitioned: bool = False,
    ) -> None:
        self.taken: list[tuple[int, int]] = []
        """(sequence id, row) of the events that it has, in order."""
        self.sent: list[OutboxRow] = []
        self.last = -1
        """The highest id that it has of the producer that is connected."""
        self.connections = 0
        self.unreachable = 0
        self.is_connected = True
        self.is_outdated = False
        self.open = asyncio.Event()
        self.open.set()
        self.in_flight = 0
        self._name: str | None = None
        self._faults = list(faults)
        self._always = always
        self._partitioned = partitioned

    @property
    def rows(self) -> list[int]:
        return [row for _, row in self.taken]

    @asynccontextmanager
    async def connected(self, settings: PulsarSettings, name: str) -> AsyncIterator[Producer]:
        if self.unreachable:
            self.unreachable -= 1
            raise BrokerUnavailable("it does not answer")
        self.connections += 1
        self.is_outdated = False
        if name != self._name:
            self.last, self._name = (self.last if self._name is None else -1), name
        yield Producer(self, self.last)

    async def take(self, row: OutboxRow) -> Receipt:
        self.in_flight += 1
        await self.open.wait()
        self.in_flight -= 1
        self.sent.append(row)
        fault = self._always(row) or (self._faults.pop(0) if self._faults else None)
        if fault is Fault.REFUSED:
            raise EventRefused("MessageTooBig")
        if fault is Fault.SILENT:
            raise NoReceipt("no receipt within 10s")
        if fault is Fault.AWAY:
            raise BrokerUnavailable("ConnectError")
        dropped = fault in (Fault.DROPPED, Fault.SENT_AGAIN)
        if fault is not Fault.DROPPED:
            if row.sequence_id > self.last:
                self.taken.append((row.sequence_id, row.id))
                self.last = row.sequence_id
            else:
                dropped = True
        if fault is Fault.BROKE_OFF:
            raise BrokerUnavailable("ConnectError")
        return Receipt(dropped=dropped, partitioned=self._partitioned)


@dataclass
class Producer:
    broker: Broker
    last_sequence_id: int

    @property
    def is_connected(self) -> bool:
        return self.broker.is_connected

    @property
    def is_outdated(self) -> bool:
        return self.broker.is_outdated

    async def send(self, row: OutboxRow, *, traceparent: str | None, timeout_seconds: float) -> Receipt:
        return await self.broker.take(row)


@dataclass
class Entry:
    row: OutboxRow
    state: str = "pending"
    producer: str | None = None
    error: str | None = None


class Outbox:
    """Holds events, numbered from 1. ``failures`` are raised by commits, one by one (None: it goes well)."""

    def __init__(self, *rows: OutboxRow, failures: Iterable[BaseException | None] = ()) -> None:
        self.entries = {row.id: Entry(row) for row in rows}
        self.failures = list(failures)
        self.commits = 0
        self.prunable = 0
        self.pruned: list[int] = []
        self.installation = 1
        self._highest = 0

    def write(self, row: OutboxRow) -> None:
        self.entries[row.id] = Entry(row)

    def ids(self, state: str) -> list[int]:
        return [number for number, entry in self.entries.items() if entry.state == state]

    async def installation_id(self) -> UUID:
        return UUID(int=self.installation)

    async def change_installation_id(self, _fence) -> None:
        self.installation += 1

    async def highest_sequence_id(self) -> int:
        return self._highest

    async def take(self, limit: int, _fence, *, producer: str, quarantined) -> list[OutboxRow]:
        waiting = [e for e in self.entries.values() if e.state == "pending"]
        again = sorted((e for e in waiting if e.producer == producer), key=lambda e: e.row.sequence_id)[:limit]
        fresh = [e for e in waiting if e.producer != producer and e.row.fingerprint not in quarantined]
        for entry in fresh[: limit - len(again)]:
            self._highest += 1
            entry.row, entry.producer = replace(entry.row, sequence_id=self._highest), producer
        return [replace(e.row, sent_before=True) for e in again] + [e.row for e in fresh[: limit - len(again)]]

    async def commit_receipts(self, results: DeliveryResults, _fence) -> None:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        self.commits += 1
        for number in results.unsent:
            if self.entries[number].state == "pending":
                self.entries[number].producer = None
        for refused in results.refused:
            entry = self.entries[refused.id]
            if entry.state == "pending":
                entry.row = replace(entry.row, attempts=entry.row.attempts + 1)
                entry.state, entry.error = "dead" if refused.dead else "pending", refused.error
                entry.producer = entry.producer if refused.dead else None
        for number in results.published:
            if self.entries[number].state == "pending":
                self.entries[number].state = "published"

    prune_rows = PRUNE_ROWS

    async def prune(self, older_than_seconds: float, _fence) -> int:
        pruned = min(PRUNE_ROWS, self.prunable)
        self.prunable -= pruned
        self.pruned.append(pruned)
        return pruned


class Relaying:
    """A relay between these, that loses no time."""

    def __init__(self, outbox: Outbox, broker: Broker, **timing: float) -> None:
        self.outbox = outbox
        self.broker = broker
        self.metrics = Metrics()
        self.wake = asyncio.Event()
        self.failures: list[int] = []
        """How many failures in a row there were at each wait."""
        self.relay = Relay(
            PulsarSettings(service_url="pulsar://broker:6650", topic="alerts"),
            outbox,
            metrics=self.metrics.relay,
            wake=self.wake,
            fence=FENCE,
            timing=Timing(**{"idle_seconds": 0.001, "backoff": self, **timing}),
        )

    def count(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"dict_rate_limit_{name}_total") or 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(relay, "connected", self.broker.connected)
            task = asyncio.create_task(self.relay.run())
            try:
                yield task
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError, Killed, LeaseLost):
                    await task

    def seconds(self, failures: int) -> float:
        """The backoff: none, and noted."""
        self.failures.append(failures)
        return 0.0

    async def until(self, condition: Callable[[], object]) -> None:
        """Relays until ``condition`` holds, and ends."""
        async with self.running() as task:
            await until(lambda: condition() or task.done(), seconds=10)
            if task.done():
                task.result()

    async def until_nothing_waits(self) -> None:
        await self.until(lambda: not self.outbox.ids("pending"))


async def relayed(outbox: Outbox, broker: Broker) -> Relaying:
    """Relays until nothing waits."""
    relaying = Relaying(outbox, broker)
    await relaying.until_nothing_waits()
    return relaying


def events(number: int, alerts: int = 100) -> list[OutboxRow]:
    """So many events of so many alerts."""
    return [outbox_row(n, fingerprint=f"f{n % alerts}") for n in range(1, number + 1)]


def only(number: int, fault: Fault) -> Callable[[OutboxRow], Fault | None]:
    """Says the fault of one event."""
    return lambda row: fault if row.id == number else None


async def test_events_are_published_in_the_order_in_which_they_were_written() -> None:
    outbox, broker = Outbox(*events(120)), Broker()

    relaying = await relayed(outbox, broker)

    assert broker.rows == list(range(1, 121))
    assert outbox.ids("published") == list(range(1, 121))
    assert relaying.count("events_published") == 120
    assert (
        relaying.metrics.registry.get_sample_value(
            "dict_rate_limit_monitoring_duration_seconds_count", {"operation": "relay"}
        )
        == 120
    )
    assert broker.connections == 1


async def test_an_event_that_comes_while_the_relay_waits_is_sent() -> None:
    outbox, broker = Outbox(), Broker()
    relaying = Relaying(outbox, broker)

    async with relaying.running():
        await until(lambda: outbox.pruned)
        outbox.write(outbox_row(1))
        relaying.wake.set()
        await until(lambda: outbox.ids("published"))

    assert broker.rows == [1]


async def test_a_broker_that_has_what_the_database_never_sent_is_sent_all_by_another_producer(caplog) -> None:
    outbox, broker = Outbox(*events(2)), Broker()
    broker.last = 1

    await relayed(outbox, broker)

    assert broker.taken == [(1, 1), (2, 2)]
    assert outbox.installation == 2
    assert "broker has events that this database never sent" in caplog.text


async def test_a_broker_that_has_the_last_event_of_the_database_knows_the_producer() -> None:
    outbox, broker = Outbox(*events(2)), Broker()
    await relayed(outbox, broker)
    outbox.write(outbox_row(3))

    await relayed(outbox, broker)

    assert outbox.installation == 1
    assert broker.taken == [(1, 1), (2, 2), (3, 3)]


async def test_an_event_that_can_never_be_sent_is_dead_at_once_and_the_next_are_sent(caplog) -> None:
    outbox, broker = Outbox(*events(3, alerts=1)), Broker(always=only(2, Fault.REFUSED))

    relaying = await relayed(outbox, broker)

    assert broker.rows == [1, 3]
    assert (outbox.ids("dead"), outbox.entries[2].error) == ([2], "MessageTooBig")
    assert [row.id for row in broker.sent] == [1, 2, 3]
    assert (relaying.count("events_dead"), relaying.count("events_published")) == (1, 2)
    assert ("event can never be sent", "MessageTooBig") in logged(caplog, "error")


async def test_an_event_is_sent_again_with_its_id_after_a_connection_broke() -> None:
    outbox, broker = Outbox(*events(2)), Broker(Fault.AWAY, Fault.AWAY)

    await relayed(outbox, broker)

    assert [(row.id, row.sequence_id, row.sent_before) for row in broker.sent] == [
        (1, 1, False),
        (1, 1, True),
        (1, 1, True),
        (2, 2, True),
    ]
    assert broker.connections == 3


async def test_failures_count_in_a_row_until_the_broker_takes_an_event() -> None:
    outbox = Outbox(*events(3))

    relaying = await relayed(outbox, Broker(Fault.AWAY, Fault.AWAY, None, Fault.AWAY))

    assert relaying.failures == [1, 2, 1]


async def test_failures_no_longer_count_when_a_connected_relay_has_nothing_to_send() -> None:
    outbox, broker = Outbox(), Broker(Fault.AWAY)
    broker.unreachable = 2
    relaying = Relaying(outbox, broker)

    async with relaying.running():
        await until(lambda: outbox.pruned)
        outbox.write(outbox_row(1))
        await until(lambda: outbox.ids("published"))

    assert relaying.failures == [1, 2, 1]


async def test_a_database_that_is_away_is_no_failure_of_the_broker(caplog) -> None:
    outbox = Outbox(*events(1), failures=[DatabaseUnavailable("away")])

    relaying = await relayed(outbox, Broker())

    assert relaying.failures == [0]
    assert ("database unusable", "away") in logged(caplog, "error")


async def test_an_event_that_the_broker_had_when_it_was_sent_again_is_published_once() -> None:
    outbox, broker = Outbox(*events(2)), Broker(Fault.BROKE_OFF)

    relaying = await relayed(outbox, broker)

    assert broker.rows == [1, 2]
    assert relaying.count("receipt_defects") == 0
    assert relaying.count("events_published") == 2


async def test_an_event_that_the_client_sent_again_by_itself_is_published_once() -> None:
    outbox, broker = Outbox(*events(3)), Broker(None, Fault.SENT_AGAIN)

    relaying = await relayed(outbox, broker)

    assert broker.rows == [1, 2, 3]
    assert [row.id for row in broker.sent].count(2) == 1
    assert relaying.count("receipt_defects") == 0
    assert relaying.count("events_published") == 3


async def test_an_event_that_the_broker_dropped_and_does_not_have_is_sent_with_another_id(caplog) -> None:
    outbox, broker = Outbox(*events(3)), Broker(None, Fault.DROPPED)

    relaying = await relayed(outbox, broker)

    assert broker.rows == [1, 2, 3]
    assert len({sequence for sequence, _ in broker.taken} & {2, 3}) == 0
    assert relaying.count("receipt_defects") == 1
    assert any("broker dropped an event that it did not have" in message for message in caplog.messages)
    assert relaying.count("events_published") == 3


async def test_an_event_that_the_broker_never_takes_ends_dead_and_the_others_are_published_meanwhile() -> None:
    outbox, broker = Outbox(outbox_row(1)), Broker(always=only(1, Fault.SILENT))
    relaying = Relaying(outbox, broker)

    async with relaying.running():
        while not outbox.ids("dead"):
            outbox.write(outbox_row(len(outbox.entries) + 1))
            relaying.wake.set()
            await until(lambda: set(outbox.ids("pending")) <= {1})

    assert broker.rows == outbox.ids("published") == list(range(2, len(outbox.entries) + 1))
    assert (outbox.ids("dead"), outbox.entries[1].row.attempts) == ([1], relay.REFUSALS)
    assert outbox.entries[1].error == "the broker gave no receipt for it, while it took others"
    assert relaying.count("events_dead") == 1


async def test_several_events_that_the_broker_never_takes_do_not_keep_the_others_waiting() -> None:
    outbox = Outbox(*events(6))
    broker = Broker(always=lambda row: Fault.SILENT if row.id in (1, 2, 4) else None)

    await Relaying(outbox, broker).until(lambda: outbox.ids("published") == [3, 5, 6])

    assert broker.rows == [3, 5, 6]


async def test_an_event_that_was_refused_while_others_were_taken_may_still_be_published(caplog) -> None:
    outbox, broker = Outbox(*events(2)), Broker(Fault.SILENT, Fault.SILENT)

    await relayed(outbox, broker)

    assert broker.rows == [2, 1]
    assert (outbox.entries[1].row.attempts, outbox.entries[1].error) == (1, "no receipt")
    assert ("event quarantined", "no receipt within 10s") in logged(caplog, "error")


async def test_while_an_event_is_quarantined_later_ones_of_its_alert_wait() -> None:
    outbox = Outbox(*events(4, alerts=2))
    broker = Broker(Fault.SILENT, Fault.SILENT)

    await relayed(outbox, broker)

    assert broker.rows.index(1) < broker.rows.index(3)
    assert broker.rows.index(2) < broker.rows.index(4)
    assert broker.rows[0] == 2


async def test_the_order_of_sending_is_the_order_of_ids_after_a_quarantine() -> None:
    outbox, broker = Outbox(*events(6)), Broker(always=only(3, Fault.SILENT))

    await Relaying(outbox, broker).until(lambda: len(outbox.ids("published")) == 5)

    assert sorted(broker.rows) == [1, 2, 4, 5, 6]
    assert broker.taken == sorted(broker.taken)


async def test_a_broker_that_takes_nothing_for_long_costs_no_event() -> None:
    outbox, broker = Outbox(*events(5)), Broker(*[Fault.SILENT] * 60)

    relaying = await relayed(outbox, broker)

    assert sorted(broker.rows) == [1, 2, 3, 4, 5]
    assert relaying.count("events_dead") == 0


async def test_a_lone_event_that_the_broker_does_not_take_is_never_dead() -> None:
    outbox, broker = Outbox(outbox_row(1)), Broker(*[Fault.SILENT] * 40)

    await relayed(outbox, broker)

    assert outbox.entries[1].row.attempts == 0
    assert outbox.ids("published") == [1]


async def test_of_a_partitioned_topic_the_receipt_of_another_partition_refuses_no_event() -> None:
    outbox, broker = Outbox(*events(9)), Broker(always=only(1, Fault.SILENT), partitioned=True)

    await Relaying(outbox, broker).until(
        lambda: len(outbox.ids("published")) == 8 and [row.id for row in broker.sent].count(1) > 12
    )

    assert outbox.ids("dead") == []
    assert outbox.entries[1].row.attempts == 0


async def test_what_could_not_be_committed_is_committed_later_and_nothing_is_sent_twice() -> None:
    outbox = Outbox(*events(3), failures=[DatabaseUnavailable("away")] * 3)
    broker = Broker()

    await relayed(outbox, broker)

    assert broker.rows == [1, 2, 3]
    assert len(broker.sent) == 3
    assert outbox.commits >= 1


async def test_a_relay_that_has_sent_nothing_commits_nothing() -> None:
    outbox = Outbox()

    await Relaying(outbox, Broker()).until(lambda: outbox.pruned)

    assert outbox.commits == 0


async def test_a_relay_whose_lease_was_taken_ends() -> None:
    outbox = Outbox(*events(1), failures=[LeaseLost("taken")] * 2)

    with pytest.raises(LeaseLost):
        await relayed(outbox, Broker())

    assert outbox.ids("pending") == [1]


async def test_a_relay_without_a_broker_says_what_to_set() -> None:
    outbox, wake = Outbox(), asyncio.Event()
    made = Relay(PulsarSettings(), outbox, metrics=Metrics().relay, wake=wake, fence=FENCE)

    with pytest.raises(ConfigurationError, match=r"pulsar\.service_url"):
        await made.run()


async def test_a_relay_that_ends_marks_what_it_has_sent() -> None:
    outbox, broker = Outbox(*events(2)), Broker(always=lambda _: broker.open.clear())

    await Relaying(outbox, broker, last_receipt_seconds=0.01).until(lambda: broker.rows and broker.in_flight)

    assert (outbox.ids("published"), outbox.ids("pending")) == ([1], [2])


@pytest.mark.parametrize(
    ("fault", "published"), [(None, [1]), (Fault.SENT_AGAIN, []), (Fault.AWAY, []), (Fault.REFUSED, [])]
)
async def test_a_relay_that_ends_waits_for_the_receipt_of_the_event_in_flight(fault, published) -> None:
    outbox, broker = Outbox(*events(1)), Broker(fault)
    relaying = Relaying(outbox, broker)

    async with relaying.running() as task:
        broker.open.clear()
        await until(lambda: broker.in_flight)
        task.cancel()
        await asyncio.sleep(0)
        broker.open.set()
        await asyncio.wait({task})  # cancelled once more, it would not wait any longer

    assert outbox.ids("published") == published
    assert outbox.ids("dead") == []


async def test_a_relay_that_ends_does_not_wait_for_a_frozen_broker() -> None:
    outbox, broker = Outbox(*events(1)), Broker()
    broker.open.clear()

    await Relaying(outbox, broker, last_receipt_seconds=0.01).until(lambda: broker.in_flight)

    assert outbox.ids("pending") == [1]


async def test_trouble_with_the_broker_is_told_once_until_it_is_over(caplog) -> None:
    caplog.set_level("INFO", "exporter.relay.relay")
    broker = Broker()
    broker.unreachable = 3
    relaying = Relaying(Outbox(*events(1)), broker)
    assert relaying.relay.message == "not connected yet"

    async with relaying.running():
        await until(lambda: broker.rows)

    assert relaying.relay.message is None
    assert logged(caplog, "error") == [
        ("broker unusable, events wait", "pulsar://broker:6650 alerts: it does not answer"),
        ("connected to the broker", ""),
    ]


async def test_a_connection_that_is_lost_while_nothing_is_sent_is_told_until_it_is_back() -> None:
    broker = Broker()
    relaying = Relaying(Outbox(), broker)

    async with relaying.running():
        await until(lambda: relaying.relay.message is None)
        broker.is_connected = False
        await until(lambda: relaying.relay.message is not None)
        assert relaying.relay.message == "pulsar://broker:6650 alerts: the connection is lost"
        broker.is_connected = True
        await until(lambda: relaying.relay.message is None)


async def test_who_has_a_renewed_token_connects_again() -> None:
    broker = Broker()
    relaying = Relaying(Outbox(), broker)

    async with relaying.running():
        await until(lambda: relaying.relay.message is None)
        broker.is_outdated = True
        await until(lambda: broker.connections == 2)

    assert relaying.relay.message is None


async def test_an_event_on_a_lost_connection_does_not_wait_where_the_token_is_a_new_one() -> None:
    outbox, broker = Outbox(*events(1)), Broker()
    relaying = Relaying(outbox, broker)
    broker.open.clear()

    async with relaying.running():
        await until(lambda: broker.in_flight == 1)
        broker.is_outdated, broker.is_connected = True, False
        await until(lambda: broker.connections == 2)
        broker.is_connected = True
        broker.open.set()
        await until(lambda: outbox.ids("published") == [1])


async def test_a_connection_that_stays_lost_is_made_anew() -> None:
    """The client's own attempts become rare, and the name may stand for another broker by then."""
    broker = Broker()
    relaying = Relaying(Outbox(), broker, lost_seconds=0.05)

    async with relaying.running():
        await until(lambda: relaying.relay.message is None)
        broker.is_connected = False
        await until(lambda: broker.connections > 1)


async def test_old_rows_are_pruned_until_none_is_left_and_then_rarely() -> None:
    outbox = Outbox()
    outbox.prunable = 2 * PRUNE_ROWS + 1
    relaying, idle = Relaying(outbox, Broker()), count()

    await relaying.until(lambda: len(outbox.pruned) == 3 and next(idle) > 3)

    assert outbox.pruned == [PRUNE_ROWS, PRUNE_ROWS, 1]


# Any course of things

breaks = st.lists(st.none() | st.sampled_from([Fault.AWAY, Fault.BROKE_OFF]), max_size=12)
endings = st.lists(st.none() | st.sampled_from([DatabaseUnavailable("away"), Killed()]), max_size=6)


@given(breaks, endings, st.integers(1, 3))
def test_however_often_connections_break_and_relays_die_each_event_arrives_once_and_in_order(
    faults, failures, alerts
) -> None:
    async def run() -> None:
        outbox, broker = Outbox(*events(6, alerts), failures=failures), Broker(*faults)
        while outbox.ids("pending"):
            with suppress(Killed):
                await relayed(outbox, broker)

        assert broker.rows == [1, 2, 3, 4, 5, 6]
        assert outbox.ids("dead") == []

    asyncio.run(run())


@given(st.lists(st.none() | st.just(Fault.SILENT), max_size=12), st.sets(st.integers(1, 6), max_size=3))
def test_whichever_event_the_broker_forbids_and_however_slow_it_is_the_others_arrive_once(faults, forbidden) -> None:
    async def run() -> None:
        outbox = Outbox(*events(6), failures=[])
        broker = Broker(*faults, always=lambda row: Fault.SILENT if row.id in forbidden else None)
        allowed = {1, 2, 3, 4, 5, 6} - forbidden
        relaying = Relaying(outbox, broker)
        await relaying.until(lambda: set(outbox.ids("published")) | set(outbox.ids("dead")) >= allowed)

        assert len(broker.rows) == len(set(broker.rows))
        assert broker.taken == sorted(broker.taken)
        assert set(outbox.ids("published")) == set(broker.rows)
        # To be dead, an event must have been without receipt four times while others were taken.
        if faults.count(Fault.SILENT) < 4:
            assert set(broker.rows) == allowed

    asyncio.run(run())
