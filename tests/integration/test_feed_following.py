"""A feed between processes that come, go, and share participants."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.alerts.alert import Severity, Transition
from exporter.config.settings import FeedSettings, TlsSettings
from exporter.feed.backlog import Backlog
from exporter.feed.inbox import Inbox
from exporter.feed.ownership import Ownership
from exporter.feed.server import FeedServer
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import Report
from exporter.metrics import Metrics
from tests.support.builders import alert, at, bucket, poll
from tests.support.certificates import Authority
from tests.support.conditions import until
from tests.support.feeds import FAST_SECONDS, INSECURE, FromTheBeginning, client, following
from tests.support.metrics import Increments
from tests.support.ports import free_port
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from exporter.feed.client import FeedClient


class Reported:
    """What an exporter was reported, in order."""

    def __init__(self) -> None:
        self.pending: list[int] = []
        self.series: list[set] = []
        self.transitions: list[str] = []
        self.outbox = self

    def count_transition(self, participant, _policy, _severity, _state) -> None:
        self.transitions.append(participant)

    def declare_alert_counters(self, series) -> None:
        self.series.append(set(series))

    def set(self, pending, _oldest_age_seconds) -> None:
        self.pending.append(pending)

    def withdraw(self) -> None:
        self.pending.clear()


@asynccontextmanager
async def exporting(*participants: str, port: int = 0, stream_id: str = "s", interval_seconds: float = 10):
    """Yields a backlog to fill, the server that sends it, and what the server is told."""
    backlog, told = Backlog(3600), Reported()
    server = FeedServer(
        backlog,
        told,
        lambda *_: None,
        stream_id=stream_id,
        participants=participants,
        poll_interval_seconds=interval_seconds,
    )
    await server.start(FeedSettings(listen_address=f"localhost:{port}", insecure=True))
    try:
        yield backlog, server, told
    finally:
        await server.stop()


def fired(participant: str) -> Transition:
    return Transition(alert(participant=participant), at(0), "A", None, None)


async def test_an_exporter_that_starts_again_is_told_again_what_rules_can_produce() -> None:
    follower: FeedClient | None = None
    series = {(Severity.WARNING, True)}
    async with AsyncExitStack() as stack:
        async with exporting("12345678", stream_id="first") as (_, server, told):
            port = server.port
            follower = client(port, Inbox(10), INSECURE)
            follower.reset()
            follower.report(Report(series=series))
            follower.reset()
            await stack.enter_async_context(following(follower))
            await until(lambda: told.series)
        async with exporting("12345678", stream_id="second", port=port) as (_, _, told_again):
            await until(lambda: told_again.series)

    assert told.series == told_again.series == [series]


async def test_while_an_exporter_is_away_only_transitions_pile_up() -> None:
    async with exporting("12345678") as (_, server, told):
        follower = client(server.port, Inbox(10), INSECURE)
        for pending in range(100):
            follower.report(Report(sequence=pending))
            follower.report(Report(outbox_pending=pending))
        follower.report(Report(transitions=(fired("12345678"),)))
        async with following(follower):
            await until(lambda: told.transitions)

            assert told.pending == [99]


async def test_nothing_is_left_behind_of_a_feed_that_broke_off() -> None:
    port = free_port()
    follower = client(port, Inbox(10), INSECURE)
    async with following(follower):
        tasks: list[int] = []
        for stream_id in ("first", "second", "third"):
            async with exporting("12345678", stream_id=stream_id, port=port):
                await until(lambda wanted=stream_id: follower.connected and follower.stream_id == wanted)
                await until(lambda: not tasks or len(asyncio.all_tasks()) <= tasks[0])
                tasks.append(len(asyncio.all_tasks()))


async def test_an_exporter_says_nothing_of_the_outbox_when_nobody_follows_it() -> None:
    async with exporting("12345678") as (_, server, told):
        follower, another = (client(server.port, Inbox(10), INSECURE) for _ in range(2))
        async with following(another):
            async with following(follower):
                await until(lambda: follower.connected and another.connected)
                follower.report(Report(outbox_pending=3))
                await until(lambda: told.pending)
            await until(lambda: server._followers == 1)
            # What is reported just as the feed opens is told with what was known before, and by itself.
            assert set(told.pending) == {3}
        await until(lambda: not told.pending)


async def test_each_of_two_exporters_answers_for_its_own_participants_only() -> None:
    inbox, ownership, both = Inbox(1000), Ownership(), ("11111111", "22222222")
    async with (
        exporting("11111111", interval_seconds=FAST_SECONDS) as (_, first, told_first),
        exporting("22222222", interval_seconds=FAST_SECONDS) as (_, second, told_second),
    ):
        followers = [
            client(server.port, inbox, INSECURE, ownership, participants=both, interval_seconds=FAST_SECONDS)
            for server in (first, second)
        ]
        async with following(*followers):
            await until(lambda: all(follower.connected for follower in followers))
            for follower in followers:
                follower.report(Report(transitions=tuple(map(fired, filter(follower.owns, both)))))
            await until(lambda: told_first.transitions and told_second.transitions)
            await first.stop()
            await until(lambda: len(inbox) >= 3)

    assert {poll.participant for poll in await inbox.take(1000)} == {"11111111"}
    assert (told_first.transitions, told_second.transitions) == (["11111111"], ["22222222"])


async def test_an_exporter_that_never_answered_is_lost_for_those_whom_no_other_polls() -> None:
    inbox, ownership, both = Inbox(1000), Ownership(), ("11111111", "22222222")
    async with exporting("22222222", interval_seconds=FAST_SECONDS) as (_, server, _):
        present = client(server.port, inbox, INSECURE, ownership, participants=both, interval_seconds=FAST_SECONDS)
        absent = client(1, inbox, INSECURE, ownership, participants=both, interval_seconds=FAST_SECONDS)
        async with following(present, absent):
            await until(lambda: len(inbox) >= 3)

    assert {poll.participant for poll in await inbox.take(1000)} == {"11111111"}


async def test_a_second_exporter_takes_over_when_the_first_is_lost_and_the_first_is_then_the_second() -> None:
    inbox, refused = Inbox(1000), Increments()
    ownership = Ownership(refused)
    async with AsyncExitStack() as stack:
        async with exporting("12345678", stream_id="first", interval_seconds=FAST_SECONDS) as (_, server, _):
            port = server.port
            first = client(port, inbox, INSECURE, ownership, interval_seconds=FAST_SECONDS)
            await stack.enter_async_context(following(first))
            await until(lambda: first.connected)
            backlog, other, told = await stack.enter_async_context(exporting("12345678", stream_id="second"))
            second = client(other.port, inbox, INSECURE, ownership)
            await stack.enter_async_context(following(second))
            await until(lambda: second.connected)
        await until(lambda: len(inbox))
        backlog.put(poll(participant="12345678"))
        await until(lambda: second.owns("12345678"))
        second.report(Report(transitions=(fired("12345678"),)))
        await until(lambda: told.transitions)
        await stack.enter_async_context(exporting("12345678", stream_id="first again", port=port))
        await until(lambda: first.connected)

        assert not first.owns("12345678")

    assert {made.stream_id for made in await inbox.take(1000) if made.answered} == {"second"}
    assert len(refused) == 2


async def test_a_lost_feed_is_no_earlier_than_its_last_poll_where_the_exporters_clock_is_ahead() -> None:
    inbox = Inbox(1000)
    async with exporting("12345678", interval_seconds=FAST_SECONDS) as (backlog, server, _):
        backlog.put(poll(participant="12345678", seconds=600))
        async with following(client(server.port, inbox, INSECURE, interval_seconds=FAST_SECONDS)):
            await until(lambda: len(inbox) == 1)
            await server.stop()
            await until(lambda: len(inbox) >= 4)

    times = [made.polled_at for made in await inbox.take(1000)]
    assert times[0] == at(600)
    assert times == sorted(set(times))


async def test_a_participant_may_move_to_another_exporter() -> None:
    inbox, ownership = Inbox(1000), Ownership()
    async with AsyncExitStack() as stack:
        async with exporting("11111111", "22222222") as (_, before, _):
            port = before.port
            follower = client(port, inbox, INSECURE, ownership)
            await stack.enter_async_context(following(follower))
            await until(lambda: follower.connected)
        await stack.enter_async_context(exporting("11111111", port=port, stream_id="without"))
        backlog, other, _ = await stack.enter_async_context(exporting("22222222", stream_id="other"))
        await until(lambda: follower.stream_id == "without")
        backlog.put(poll(participant="22222222", stream_id="other"))
        await stack.enter_async_context(following(client(other.port, inbox, INSECURE, ownership)))
        await until(lambda: len(inbox))

    assert (await inbox.take(1))[0].participant == "22222222"


async def test_a_follower_of_some_hears_from_the_exporter_while_others_are_polled() -> None:
    inbox = Inbox(10)
    async with exporting("11111111", "22222222", interval_seconds=FAST_SECONDS) as (backlog, server, _):
        follower = client(server.port, inbox, INSECURE, participants=["22222222"], interval_seconds=FAST_SECONDS)
        async with following(follower):
            sequences, heard = count(1), set()

            def another_is_polled() -> None:
                backlog.put(poll(participant="11111111", sequence=next(sequences)))
                heard.add(follower._silence._heard_at)

            await until(lambda: another_is_polled() or len(heard) > 3)

    assert not len(inbox)


async def test_a_poll_made_while_another_is_sent_does_not_wait_for_the_next() -> None:
    async def requests() -> AsyncIterator[feed_pb2.FromReconciler]:
        yield feed_pb2.FromReconciler(open=feed_pb2.Open())
        await asyncio.Event().wait()

    class Context:
        def peer(self) -> str:
            return "test"

    async with exporting("12345678") as (backlog, server, _):
        sent = server._watch(requests(), Context())
        await anext(sent)
        backlog.put(poll(seconds=0))
        await anext(sent)
        backlog.put(poll(seconds=15))
        async with asyncio.timeout(60):
            second = feed_pb2.FromExporter.FromString(await anext(sent))
        await sent.aclose()

    assert second.poll.sequence == 2


async def test_an_exporter_whose_host_vanished_is_followed_again_when_it_is_back() -> None:
    inbox = Inbox(1000)
    async with (
        exporting("12345678", interval_seconds=FAST_SECONDS) as (backlog, server, _),
        Wire(free_port(), server.port) as wire,
    ):
        follower = client(wire.port, inbox, INSECURE, interval_seconds=FAST_SECONDS)
        async with following(follower):
            await until(lambda: follower.connected)
            wire.forget()
            await until(lambda: len(inbox))
            backlog.put(poll(participant="12345678"))
            await until(lambda: wire.connections > 1 and follower._after_sequence)

    assert [made.sequence for made in await inbox.take(1000) if made.answered] == [1]


async def test_a_stream_that_the_database_knows_is_followed_from_there() -> None:
    class Known(FromTheBeginning):
        async def resume_after(self, stream_id: str, participants: Collection[str]) -> int:
            return {("first", ("12345678",)): 2}.get((stream_id, tuple(participants)), 0)

    inbox = Inbox(1000)
    async with AsyncExitStack() as stack:
        async with exporting("12345678", stream_id="first") as (backlog, server, told):
            port = server.port
            for seconds in (0, 15, 30):
                backlog.put(poll(seconds=seconds))
            follower = client(port, inbox, INSECURE, follower=Known())
            follower.report(Report(sequence=7, transitions=(fired("12345678"),)))
            await stack.enter_async_context(following(follower))
            await until(lambda: len(inbox) and told.transitions)
        backlog, _, _ = await stack.enter_async_context(exporting("12345678", stream_id="second", port=port))
        backlog.put(poll(seconds=45, sequence=1))
        await until(lambda: len(inbox) == 2)

    assert [(made.stream_id, made.sequence) for made in await inbox.take(10)] == [("first", 3), ("second", 1)]


async def test_a_poll_that_cannot_be_is_passed_over_and_counted(caplog) -> None:
    inbox, metrics = Inbox(10), Metrics()
    impossible = bucket(5)
    object.__setattr__(impossible, "capacity", 0)
    async with exporting("12345678") as (backlog, server, _):
        backlog.put(poll(impossible, seconds=0))
        backlog.put(poll(bucket(5), seconds=15))
        async with following(client(server.port, inbox, INSECURE, metrics=metrics.feed)):
            await until(lambda: len(inbox))

    assert [made.sequence for made in await inbox.take(10)] == [2]
    assert metrics.feed.dropped.labels("unreadable")._value.get() == 1
    assert "capacity 0 is below 1" in caplog.text


async def test_certificates_that_are_half_written_do_not_end_the_following(tmp_path, caplog) -> None:
    tls: TlsSettings = Authority(tmp_path).tls("peer", "localhost")
    follower = client(1, Inbox(10), FeedSettings(tls=tls))
    await asyncio.to_thread(Path(tls.key_file or "").write_text, "half of a")
    async with following(follower) as (task,):
        await until(lambda: task.done() or caplog.messages)

        assert not task.done()
    assert "changed certificates cannot be used" in caplog.text
