"""What a follower is sent and what its reports count, without a socket."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerts.alert import AlertState, Severity, Transition
from exporter.buckets.observation import Category
from exporter.feed.backlog import Backlog
from exporter.feed.server import FeedServer
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import Report, report_message
from tests.support.builders import PARTICIPANT, POLICY, alert, at, poll
from tests.support.conditions import until
from tests.support.logs import logged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.buckets.observation import Poll

OTHER = "87654321"
QUIET_SECONDS = 0.001
FIRED = Transition(alert(), at(0), None, None, None)


class Counted:
    """What was counted of reports, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.outbox = self

    def count_transition(self, *transition) -> None:
        self.calls.append(("transition", *transition))

    def declare_alert_counters(self, series) -> None:
        self.calls.append(("series", list(series)))

    def set(self, pending, oldest_age_seconds) -> None:
        self.calls.append(("outbox", pending, oldest_age_seconds))

    def withdraw(self) -> None:
        self.calls.append(("outbox withdrawn",))

    def learn_category(self, participant, category) -> None:
        self.calls.append(("remember", participant, category))


class Context:
    """A call's context."""

    def peer(self) -> str:
        return "ipv4:127.0.0.1:5"

    async def abort(self, code, details) -> None:
        raise ValueError(code, details)


class Exporter:
    """A server of the stream ``s`` with these polls in its backlog."""

    def __init__(self, *polls: Poll, keep_seconds: float = 3600, interval_seconds: float = QUIET_SECONDS) -> None:
        self.backlog = Backlog(keep_seconds)
        self.counted = Counted()
        self.server = FeedServer(
            self.backlog,
            self.counted,
            self.counted.learn_category,
            stream_id="s",
            participants=[OTHER, PARTICIPANT],
            poll_interval_seconds=interval_seconds,
            outbox_stale_seconds=0.01,
        )
        self.put(*polls)

    def put(self, *polls: Poll) -> None:
        for made in polls:
            self.backlog.put(made)

    @asynccontextmanager
    async def followed(self, **opening: Any) -> AsyncIterator[Feed]:
        async def requests() -> AsyncIterator[feed_pb2.FromReconciler]:
            yield feed_pb2.FromReconciler(open=feed_pb2.Open(**opening))
            await asyncio.Event().wait()

        async with aclosing(self.server._watch(requests(), Context())) as messages:
            yield Feed(messages)

    async def hear(self, *reports: Report | feed_pb2.Report) -> list[tuple[Any, ...]]:
        """Returns what was counted of these reports."""

        async def requests() -> AsyncIterator[feed_pb2.FromReconciler]:
            for made in reports:
                message = report_message(made) if isinstance(made, Report) else made
                yield feed_pb2.FromReconciler(report=message)

        await self.server._receive(requests())
        return self.counted.calls


class Feed:
    def __init__(self, messages) -> None:
        self._messages = messages

    async def next(self) -> feed_pb2.FromExporter:
        return feed_pb2.FromExporter.FromString(await asyncio.wait_for(anext(self._messages), 5))

    async def until_quiet(self) -> list[int | tuple[int, int]]:
        """Returns the sequences of the polls, and the ends of the gaps, until none is left."""
        arrived: list[int | tuple[int, int]] = []
        while (kind := (message := await self.next()).WhichOneof("message")) != "alive":
            if kind == "poll":
                arrived.append(message.poll.sequence)
            elif kind == "gap":
                arrived.append((getattr(message.gap, "from"), message.gap.to))
        return arrived


async def test_a_feed_begins_by_telling_its_stream_its_participants_and_its_cadence(caplog) -> None:
    async with Exporter(poll(), interval_seconds=15).followed() as feed:
        first = await feed.next()

    assert first.opened == feed_pb2.Opened(stream_id="s", participants=[PARTICIPANT, OTHER], poll_interval_seconds=15)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("opening", "expected"),
    [
        ({}, [1, 2, 3]),
        ({"stream_id": "s"}, [1, 2, 3]),
        ({"stream_id": "s", "after_sequence": 1}, [2, 3]),
        ({"stream_id": "s", "after_sequence": 3}, []),
        ({"stream_id": "before the restart", "after_sequence": 2}, [1, 2, 3]),
        ({"after_sequence": 2}, [1, 2, 3]),
    ],
)
async def test_a_follower_goes_on_where_it_was_in_this_stream_and_begins_in_another(opening, expected) -> None:
    async with Exporter(poll(seconds=0), poll(seconds=15), poll(seconds=30)).followed(**opening) as feed:
        assert await feed.until_quiet() == expected


async def test_a_follower_is_sent_the_participants_that_it_asks_for_and_that_are_polled_here(caplog) -> None:
    exporter = Exporter(poll(sequence=1), poll(sequence=2, participant=OTHER), poll(sequence=3))

    async with exporter.followed(participants=[OTHER, "00000000"]) as feed:
        assert list((await feed.next()).opened.participants) == [OTHER]
        assert await feed.until_quiet() == [2]

    assert ("a reconciler asks for participants that are not polled here", "00000000") in logged(caplog, "participants")


async def test_a_gap_is_told_once_and_before_the_polls_that_follow_it() -> None:
    exporter = Exporter(poll(seconds=0), poll(seconds=15), poll(seconds=300, sequence=3), keep_seconds=60)

    async with exporter.followed(stream_id="s", after_sequence=1) as feed:
        assert await feed.until_quiet() == [(2, 2), 3]
        assert await feed.until_quiet() == []


async def test_polls_that_are_dropped_while_a_follower_is_slow_are_a_gap() -> None:
    exporter = Exporter(poll(seconds=0), keep_seconds=60)

    async with exporter.followed() as feed:
        assert await feed.until_quiet() == [1]
        exporter.put(poll(seconds=15), poll(seconds=300, sequence=3))

        assert await feed.until_quiet() == [(2, 2), 3]


async def test_a_poll_that_is_made_while_the_feed_waits_is_sent_at_once() -> None:
    exporter = Exporter(interval_seconds=60)

    async with exporter.followed() as feed:
        assert (await feed.next()).HasField("opened")
        waiting = asyncio.create_task(feed.next())
        await asyncio.sleep(0)
        exporter.put(poll())

        assert (await waiting).poll.sequence == 1


async def test_a_feed_on_which_only_others_are_polled_is_kept_alive() -> None:
    exporter = Exporter(poll(participant=OTHER))

    async with exporter.followed(participants=[PARTICIPANT]) as feed:
        assert await feed.until_quiet() == []
        exporter.put(poll(seconds=15, participant=OTHER))

        assert await feed.until_quiet() == []


@pytest.mark.parametrize("requests", [[], [feed_pb2.FromReconciler(report=feed_pb2.Report())]])
async def test_a_feed_that_does_not_begin_with_open_is_refused(requests) -> None:
    async def arriving() -> AsyncIterator[feed_pb2.FromReconciler]:
        for request in requests:
            yield request

    with pytest.raises(ValueError, match="a feed begins with Open") as refusal:
        await anext(Exporter().server._watch(arriving(), Context()))

    assert refusal.value.args[0] is grpc.StatusCode.INVALID_ARGUMENT


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 100), st.sampled_from([PARTICIPANT, OTHER])), max_size=4), max_size=4),
    st.integers(0, 100),
    st.integers(0, 3),
)
def test_a_follower_is_sent_every_poll_of_its_participants_once_and_in_order_or_a_gap_that_holds_it(
    rounds, keep_seconds: int, after: int
) -> None:
    async def run() -> None:
        exporter, seconds, owners, arrived = Exporter(keep_seconds=keep_seconds), 0, [], []
        async with exporter.followed(participants=[PARTICIPANT], stream_id="s", after_sequence=after) as feed:
            for steps in rounds:
                for wait, participant in steps:
                    seconds += wait
                    owners.append(participant)
                    exporter.put(poll(seconds=seconds, sequence=len(owners), participant=participant))
                arrived += await feed.until_quiet()

        polls = [one for one in arrived if isinstance(one, int)]
        missed = [n for one in arrived if isinstance(one, tuple) for n in range(one[0], one[1] + 1)]
        expected = {n for n, owner in enumerate(owners, 1) if owner == PARTICIPANT and n > after}
        assert polls == sorted(expected - set(missed))
        assert len(missed) == len(set(missed))
        assert not {sequence for sequence, _, _ in exporter.backlog.after(0)} & set(missed)

    asyncio.run(run())


# Reports


async def test_a_report_is_counted_as_it_was_made() -> None:
    silent = Transition(
        alert("Silent", policy=None, severity=Severity.INFO, state=AlertState.RESOLVED), at(0), None, None, None
    )
    report = Report(
        sequence=1,
        transitions=(FIRED, silent),
        series=[(Severity.WARNING, True), (Severity.INFO, False)],
        outbox_pending=3,
        outbox_oldest_age_seconds=12.5,
    )

    assert await Exporter().hear(report) == [
        ("transition", PARTICIPANT, POLICY, Severity.WARNING, AlertState.FIRING),
        ("transition", PARTICIPANT, None, Severity.INFO, AlertState.RESOLVED),
        ("series", [(Severity.WARNING, True), (Severity.INFO, False)]),
        ("outbox", 3, 12.5),
    ]


async def test_a_report_of_nothing_counts_nothing() -> None:
    assert await Exporter().hear(Report(sequence=1)) == []


async def test_what_the_database_knows_of_a_category_is_handed_on() -> None:
    known = Category("A", at(0), "B")

    assert await Exporter().hear(Report(categories={PARTICIPANT: known})) == [("remember", PARTICIPANT, known)]


async def test_an_empty_outbox_is_shown_without_an_age() -> None:
    assert await Exporter().hear(Report(outbox_pending=0)) == [("outbox", 0, None)]


@pytest.mark.parametrize(("sequences", "counted"), [([1, 2], 2), ([2, 2], 1), ([2, 1], 1), ([0, 0], 2), ([2, 0, 2], 2)])
async def test_transitions_of_a_report_that_is_sent_again_are_counted_once(sequences, counted) -> None:
    calls = await Exporter().hear(*(Report(sequence=n, transitions=(FIRED,)) for n in sequences))

    assert len(calls) == counted


async def test_a_report_of_another_release_is_passed_over_whole_and_the_next_counts(caplog) -> None:
    strange = report_message(Report(sequence=1, transitions=(FIRED,), outbox_pending=3))
    strange.transitions.add(participant=PARTICIPANT, severity="apocalyptic", state="firing")

    calls = await Exporter().hear(strange, Report(sequence=1, transitions=(FIRED,)))

    assert calls == [("transition", PARTICIPANT, POLICY, Severity.WARNING, AlertState.FIRING)]
    assert [error for _, error in logged(caplog, "error")] == ["'apocalyptic' is not a valid Severity"]


async def test_what_no_reconciler_tells_of_the_outbox_any_more_is_withdrawn() -> None:
    exporter = Exporter(interval_seconds=0.05)
    async with exporter.followed() as feed:
        await exporter.hear(Report(outbox_pending=3))
        for _ in range(3):
            await feed.next()

        assert exporter.counted.calls == [("outbox", 3, None), ("outbox withdrawn",)]


async def test_the_outbox_is_withdrawn_when_the_last_follower_leaves() -> None:
    exporter = Exporter()

    async with exporter.followed() as first:
        await first.next()
        async with exporter.followed() as second:
            await second.next()
        assert exporter.counted.calls == []

    assert exporter.counted.calls == [("outbox withdrawn",)]


async def test_nothing_is_left_of_a_follower_that_leaves() -> None:
    async with Exporter().followed() as feed:
        await feed.next()

    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})
