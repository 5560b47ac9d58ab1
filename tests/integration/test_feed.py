"""In one process or two: the same polls give the same rows and the same events."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import pytest

from exporter.buckets.observation import Failure, view_after
from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings, FeedSettings, Settings, TlsSettings
from exporter.durations import Duration
from exporter.feed.backlog import Backlog
from exporter.feed.inbox import Inbox
from exporter.feed.ownership import Ownership
from exporter.feed.server import FeedServer
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import Report, poll_message
from exporter.metrics import Metrics
from exporter.reconciler.feeds import Feeds
from exporter.reconciler.loop import ReconcileLoop
from exporter.reconciler.rules_in_force import alert_series
from exporter.rules.files import loading
from exporter.store.database import Database
from exporter.store.lease import Lease
from exporter.store.writer import Writer
from tests.support import truth
from tests.support.certificates import Authority
from tests.support.conditions import until
from tests.support.feeds import FAST_SECONDS, INSECURE, client, following
from tests.support.metrics import Increments
from tests.support.postgres import cloned, dsn_as
from tests.support.program import RULES
from tests.support.simulated import Simulation
from tests.support.stored import until_connected

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.buckets.observation import Poll, View

pytestmark = pytest.mark.postgres

TABLES = {
    "dict_rate_limit_policies": "*",
    "dict_rate_limit_states": "*",
    "dict_rate_limit_reconciliations": "to_jsonb(t) - 'recorded_at'",
    "dict_rate_limit_alerts": "to_jsonb(t) - 'id' - 'closed_at'",
    "dict_rate_limit_alert_transitions": "*",
    "dict_rate_limit_outbox": "to_jsonb(t) - 'id' - 'created_at'",
}


def everything(dsn: str) -> dict[str, list]:
    with truth.rows(dsn) as query:
        return {
            table: sorted(map(str, query(f"SELECT {columns} FROM {table} AS t"))) for table, columns in TABLES.items()
        }


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture
def certificates(tmp_path) -> TlsSettings:
    return Authority(_folder(tmp_path / "ours")).tls("peer", "localhost")


@pytest.fixture
def others(tmp_path) -> TlsSettings:
    return Authority(_folder(tmp_path / "theirs")).tls("peer", "localhost")


class Following:
    """A reconciler of the test's own, with the database and an inbox."""

    def __init__(self, dsn: str, participants, feeds: Feeds | None = None) -> None:
        self.metrics = Metrics()
        self.inbox = Inbox(1000)
        self.database = Database(DatabaseSettings(dsn=Secret(dsn)))
        self.rules = loading.load([str(RULES)])
        self.loop = ReconcileLoop(
            self.inbox,
            Writer(self.database, 900),
            feeds=feeds or Feeds(),
            rules=self.rules,
            observer=self,
            settings=Settings(participants=tuple(participants)),
            metrics=self.metrics,
        )

    def on_transitions_committed(self) -> None: ...
    def on_database_unusable(self, error: Exception) -> None: ...

    async def __aenter__(self) -> Self:
        await self.database.open()
        await until_connected(self.database)
        fence = await Lease(self.database, "test").acquire()
        assert fence is not None
        self.task = asyncio.create_task(self.loop.run(fence))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.database.close()


class Heard:
    """An inbox, and how many polls came to it."""

    def __init__(self, inbox: Inbox) -> None:
        self.polls = 0
        self.room = inbox.room
        self._inbox = inbox

    def put(self, poll: Poll) -> None:
        self.polls += 1
        self._inbox.put(poll)


@pytest.fixture
async def simulation() -> Simulation:
    """Half an hour of the demo's traffic, polled every ten seconds."""
    simulated = Simulation("demo", participants=2, interval_seconds=10)
    await simulated.run(1800)
    return simulated


@asynccontextmanager
async def serving(simulation: Simulation, settings: FeedSettings = INSECURE, keep_seconds: float = 36_000, **given):
    """Yields the backlog to fill and the server that sends it."""
    backlog = Backlog(keep_seconds)
    server = FeedServer(
        backlog,
        simulation.metrics,
        lambda *_: None,
        stream_id=simulation.stream.stream_id,
        participants=[poller.participant for poller in simulation.pollers],
        poll_interval_seconds=given.pop("interval_seconds", 10),
    )
    await server.start(settings)
    try:
        yield backlog, server
    finally:
        await server.stop()


async def test_no_host_means_every_interface_of_both_families(simulation) -> None:
    async with serving(simulation, FeedSettings(listen_address=":0", insecure=True)) as (_, server):
        for host in ("127.0.0.1", "::1"):
            _, writer = await asyncio.open_connection(host, server.port)
            writer.close()


async def test_two_processes_give_the_same_rows_and_events_as_one(
    simulation, database_dsn, postgres_admin_dsn, postgres_template, certificates
) -> None:
    participants = [poller.participant for poller in simulation.pollers]
    async with Following(database_dsn, participants) as alone:
        for poll in simulation.polls:
            alone.inbox.put(poll)
        await until(lambda: not len(alone.inbox))

    settings = FeedSettings(listen_address="localhost:0", tls=certificates)
    feeds = Feeds()
    with cloned(postgres_admin_dsn, postgres_template) as name:
        other_dsn = dsn_as("writer", postgres_admin_dsn, name)
        async with (
            serving(simulation, settings) as (backlog, server),
            Following(other_dsn, participants, feeds) as two,
        ):
            feeds.clients.append(client(server.port, two.inbox, settings))
            async with following(*feeds.clients):
                for poll in simulation.polls:
                    backlog.put(poll)
                await until(lambda: truth.count(other_dsn, "dict_rate_limit_reconciliations") == len(simulation.polls))
        in_two = everything(other_dsn)

    in_one = everything(database_dsn)
    assert len(in_one["dict_rate_limit_outbox"]) >= 4
    for table in TABLES:
        assert in_two[table] == in_one[table], table


async def test_what_was_committed_is_reported_back_and_counted(simulation, database_dsn) -> None:
    feeds = Feeds()
    async with serving(simulation) as (backlog, server), Following(database_dsn, [], feeds) as split:
        feeds.clients.append(client(server.port, split.inbox, INSECURE))
        feeds.report_series(alert_series(split.rules.rules))
        feeds.report_outbox(3, 12.5)
        async with following(*feeds.clients):
            for poll in simulation.polls:
                backlog.put(poll)
            await until(lambda: truth.count(database_dsn, "dict_rate_limit_reconciliations") == len(simulation.polls))
            fired = truth.count(database_dsn, "dict_rate_limit_outbox", "type LIKE '%firing'")
            await until(lambda: counted(simulation.metrics, "dict_rate_limit_alerts_created_total") == fired)
            page = simulation.metrics.exposition()

    assert fired >= 2
    assert b"dict_rate_limit_outbox_pending 3.0" in page


async def test_a_report_of_another_release_is_passed_over_and_the_next_one_counts(
    simulation, database_dsn, caplog
) -> None:
    async with serving(simulation) as (_, server), Following(database_dsn, []) as split:
        reconciler = client(server.port, split.inbox, INSECURE)
        reconciler.report(Report(series=frozenset({("apocalyptic", False)})))
        async with following(reconciler):
            await until(lambda: "'apocalyptic' is not a valid Severity" in caplog.text)
            reconciler.report(Report(series=frozenset(), outbox_pending=3))

            await until(lambda: b"dict_rate_limit_outbox_pending 3.0" in simulation.metrics.exposition())


def counted(metrics: Metrics, name: str) -> float:
    lines = [line for line in metrics.exposition().decode().splitlines() if line.startswith(name + "{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


async def test_a_reconciler_that_comes_back_goes_on_where_it_was(simulation, database_dsn) -> None:
    half = len(simulation.polls) // 2
    async with serving(simulation) as (backlog, server):
        for polls, wanted in ((simulation.polls[:half], half), (simulation.polls[half:], len(simulation.polls))):
            async with Following(database_dsn, []) as split, following(client(server.port, split.inbox, INSECURE)):
                for poll in polls:
                    backlog.put(poll)
                await until(
                    lambda wanted=wanted: truth.count(database_dsn, "dict_rate_limit_reconciliations") == wanted
                )

    found = await asyncio.to_thread(truth.check, database_dsn)
    assert not found.gaps()


async def test_reads_arrive_between_the_polls_and_both_sides_show_the_same(database_dsn) -> None:
    simulation = Simulation("demo", reads=True)
    await simulation.run(120)
    shown = None
    for poll in simulation.polls:
        shown = view_after(shown, poll)
    assert any(poll.is_read for poll in simulation.polls)

    async with serving(simulation) as (backlog, server), Following(database_dsn, []) as split:
        for poll in simulation.polls:
            backlog.put(poll)
        heard = Heard(split.inbox)
        async with following(client(server.port, heard, INSECURE, follower=split.loop)):
            await until(lambda: list(split.loop.views.values()) == [shown])

    assert heard.polls == len(simulation.polls)


async def test_a_reconciler_that_takes_over_hears_only_what_was_not_reconciled_or_can_still_be_seen(
    simulation, database_dsn
) -> None:
    half = len(simulation.polls) // 2
    async with Following(database_dsn, []) as before:
        for poll in simulation.polls[:half]:
            before.inbox.put(poll)
        await until(lambda: not len(before.inbox))
    seen: dict[str, View] = {}
    for poll in simulation.polls:
        seen[poll.participant] = view_after(seen.get(poll.participant), poll)

    async with serving(simulation) as (backlog, server), Following(database_dsn, []) as split:
        for poll in simulation.polls:
            backlog.put(poll)
        heard = Heard(split.inbox)
        async with following(client(server.port, heard, INSECURE, follower=split.loop)):
            await until(lambda: split.loop.views == seen)

    staleness = {poll.staleness_seconds for poll in simulation.polls}.pop()
    needed = [
        poll
        for poll in simulation.polls
        if (simulation.polls[half - 1].polled_at - poll.polled_at).total_seconds() < staleness
    ]
    assert len(needed) <= heard.polls <= len(needed) + 2 < len(simulation.polls)
    found = await asyncio.to_thread(truth.check, database_dsn)
    assert not found.gaps()


async def test_what_the_backlog_no_longer_holds_is_told_as_a_gap(simulation, caplog) -> None:
    inbox = Inbox(1000)
    async with serving(simulation, keep_seconds=60) as (backlog, server):
        for poll in simulation.polls:
            backlog.put(poll)
        async with following(client(server.port, inbox, INSECURE)):
            await until(lambda: len(inbox) > 0)

    first = (await inbox.take(1))[0].sequence
    assert first > 100
    assert "polls are no longer in the exporter's backlog" in caplog.text
    assert f"first_sequence=1 last_sequence={first - 1}" in caplog.text


async def test_a_feed_that_is_lost_is_a_failed_poll_of_each_participant(simulation) -> None:
    inbox = Inbox(1000)
    metrics = Metrics()
    async with serving(simulation, interval_seconds=FAST_SECONDS) as (backlog, server):
        backlog.put(simulation.polls[0])
        backlog.put(simulation.polls[1])
        follower = client(
            server.port,
            inbox,
            INSECURE,
            interval_seconds=FAST_SECONDS,
            metrics=metrics.feed,
        )
        async with following(follower):
            await until(lambda: len(inbox) == 2)
            while_followed = metrics.feed.connected.labels(follower.target)._value.get()
            await server.stop()
            await until(lambda: len(inbox) >= 4)

    polls = await inbox.take(10)
    assert {poll.result.code for poll in polls[2:]} == {"FEED_LOST"}
    assert {poll.participant for poll in polls[2:]} == {poll.participant for poll in polls[:2]}
    assert all(poll.sequence == 0 for poll in polls[2:])
    assert while_followed == 1
    assert metrics.feed.connected.labels(follower.target)._value.get() == 0


async def test_a_quiet_feed_is_kept_alive(simulation) -> None:
    inbox = Inbox(1000)
    async with serving(simulation, interval_seconds=FAST_SECONDS) as (backlog, server):
        backlog.put(simulation.polls[0])
        follower = client(server.port, inbox, INSECURE, interval_seconds=FAST_SECONDS)
        async with following(follower):
            await until(lambda: len(inbox) == 1)
            heard: set[float] = set()
            await until(lambda: heard.add(follower._silence._heard_at) or len(heard) > 4)

    assert len(inbox) == 1


async def test_a_second_exporter_of_a_participant_is_refused(simulation, caplog) -> None:
    refused = Increments()
    ownership = Ownership(refused)
    inbox = Inbox(1000)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            backlog, server = await stack.enter_async_context(serving(simulation))
            backlog.put(simulation.polls[0])
            await stack.enter_async_context(following(client(server.port, inbox, INSECURE, ownership)))
            await until(lambda: len(inbox) == 1)
        await until(lambda: len(refused) >= 2)

    assert len(inbox) == 1
    assert "two exporters poll one participant" in caplog.text


@pytest.mark.parametrize("wrong", ["no client certificate", "another authority"])
async def test_a_feed_with_tls_refuses_strangers(simulation, certificates, others, wrong) -> None:
    tls = TlsSettings(ca_file=certificates.ca_file)
    if wrong == "another authority":
        tls = TlsSettings(ca_file=certificates.ca_file, cert_file=others.cert_file, key_file=others.key_file)
    inbox = Inbox(1000)
    async with serving(simulation, FeedSettings(listen_address="localhost:0", tls=certificates)) as (backlog, server):
        backlog.put(simulation.polls[0])
        follower = client(
            server.port, inbox, FeedSettings(tls=tls), participants=["12345678"], interval_seconds=FAST_SECONDS
        )
        async with following(follower):
            await until(lambda: len(inbox) > 0)

    assert {poll.result.code for poll in await inbox.take(10)} == {"FEED_LOST"}


def test_the_backlog_keeps_a_poll_in_a_quarter_of_its_size(simulation) -> None:
    failed = replace(simulation.polls[0], sequence=0, result=Failure("UNAVAILABLE", "not there yet"))
    polls = [failed, *simulation.polls]
    plain = [feed_pb2.FromExporter(poll=poll_message(poll)).SerializeToString() for poll in polls]
    backlog = Backlog(Duration(36_000))
    for poll in polls:
        backlog.put(poll)

    kept = [deflated for _, _, deflated in backlog.after(-1)]

    assert [backlog.deflation.inflated(deflated) for deflated in kept] == plain
    assert sum(map(len, kept)) < sum(map(len, plain)) / 4


def test_the_backlog_keeps_polls_for_its_time(simulation) -> None:
    backlog = Backlog(Duration(60))
    for poll in simulation.polls:
        backlog.put(poll)

    kept = [sequence for sequence, _, _ in backlog.after(0)]

    assert kept[-1] == simulation.polls[-1].sequence
    assert backlog.gap_after(0) == (1, kept[0] - 1)
    assert backlog.gap_after(kept[0]) is None
