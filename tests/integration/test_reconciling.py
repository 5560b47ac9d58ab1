"""A reconciler with all its parts, and what it shows when it no longer leads."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from exporter.buckets.observation import Category, Observation
from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings, RulesSettings, Settings
from exporter.durations import Duration
from exporter.metrics import Metrics
from exporter.reconciler.leadership import RENEW_SECONDS, LeadershipState
from exporter.reconciler.reconciler import Reconciler
from exporter.store import migrations
from tests.support import truth
from tests.support.builders import bucket, poll
from tests.support.conditions import until
from tests.support.program import RULES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.buckets.observation import Poll
    from exporter.feed.inbox import LocalFeed
    from exporter.feed.wire import Report

pytestmark = pytest.mark.postgres

EVENTS = "SELECT event_id FROM dict_rate_limit_outbox ORDER BY event_id"


def low_now(ahead_seconds: float = 0, tokens: int = 100) -> Poll:
    """A poll of this moment, or of one that lies ahead; so few tokens make two alerts fire."""
    now = datetime.now(UTC) + timedelta(seconds=ahead_seconds)
    return poll(bucket(tokens), seconds=(now - poll().polled_at).total_seconds(), sequence=1)


async def test_who_no_longer_leads_shows_nothing_of_what_was(database_dsn, superuser_dsn) -> None:
    settings = Settings(database=DatabaseSettings(dsn=Secret(database_dsn)), rules=RulesSettings(files=(str(RULES),)))
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        reconciling = await Reconciler.build(settings, metrics, "this", stack, renew_seconds=0.05)
        task = asyncio.create_task(reconciling.run(None))
        reconciling.inbox.put(low_now())
        await until(lambda: reconciling.loop.open_alerts)
        await until(lambda: b"\ndict_rate_limit_outbox_pending " in metrics.exposition())
        await until(lambda: b"\ndict_rate_limit_partitions_ready_months " in metrics.exposition())
        metrics.feed.connected.labels("exporter:9863").set(0)

        with psycopg.connect(superuser_dsn) as connection:
            connection.execute(
                "UPDATE dict_rate_limit_lease SET holder = 'other', epoch = epoch + 1, expires_at = now() + '1 hour'"
            )
        await until(lambda: reconciling.leadership.state is LeadershipState.WAITING)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert not reconciling.loop.open_alerts
    assert not reconciling.loop.views
    assert {rule.health for group in reconciling.rule_groups for rule in group.rules} == {"unknown"}
    assert b"\ndict_rate_limit_outbox_" not in metrics.exposition()
    assert b"\ndict_rate_limit_partitions_" not in metrics.exposition()
    assert b"\ndict_rate_limit_feed_connected{" not in metrics.exposition()


async def test_a_commit_in_hand_is_finished_when_the_process_is_asked_to_end(database_dsn, superuser_dsn) -> None:
    settings = Settings(database=DatabaseSettings(dsn=Secret(database_dsn)), rules=RulesSettings(files=(str(RULES),)))
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with AsyncExitStack() as stack:
        reconciling = await Reconciler.build(settings, Metrics(), "this", stack)
        task = asyncio.create_task(reconciling.run(None))
        await until(lambda: reconciling.leadership and reconciling.leadership.state is LeadershipState.LEADING)
        with psycopg.connect(superuser_dsn) as other:
            other.execute("LOCK TABLE dict_rate_limit_alerts IN SHARE MODE")
            reconciling.inbox.put(low_now())
            await until(lambda: other.execute(waiting).fetchall())
            task.cancel()
            ended, _ = await asyncio.wait({task}, timeout=0.5)
            other.rollback()
        await asyncio.gather(task, return_exceptions=True)

    assert not ended
    assert truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 2


async def test_what_waits_to_share_a_commit_is_committed_when_the_process_is_asked_to_end(
    database_dsn, monkeypatch
) -> None:
    settings = Settings(database=DatabaseSettings(dsn=Secret(database_dsn)), rules=RulesSettings(files=(str(RULES),)))
    monkeypatch.setattr("exporter.reconciler.loop.COMMIT_EVERY_SECONDS", 1.0)
    async with AsyncExitStack() as stack:
        reconciling = await Reconciler.build(settings, Metrics(), "this", stack)
        task = asyncio.create_task(reconciling.run(None))
        reconciling.inbox.put(low_now())
        await until(lambda: reconciling.loop.open_alerts)
        reconciling.inbox.put(replace(low_now(), sequence=2))
        for _ in range(5):  # it is noticed
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert truth.count(database_dsn, "dict_rate_limit_reconciliations") == 2


def rows(dsn: str, query: str) -> list[tuple[object, ...]]:
    with truth.rows(dsn) as ask:
        found: list[tuple[object, ...]] = ask(query)
    return found


@asynccontextmanager
async def leading(dsn: str, renew_seconds: float = RENEW_SECONDS) -> AsyncIterator[tuple[Reconciler, LocalFeed]]:
    """A process that leads, and the feed of its own polls."""
    settings = Settings(
        database=DatabaseSettings(dsn=Secret(dsn), connect_timeout=Duration(1)),
        rules=RulesSettings(files=(str(RULES),)),
    )
    async with AsyncExitStack() as stack:
        reconciling = await Reconciler.build(settings, Metrics(), "this", stack, renew_seconds=renew_seconds)
        feed = reconciling.follow_own()
        task = asyncio.create_task(reconciling.run(None))
        try:
            await until(lambda: reconciling.leadership and reconciling.leadership.state is LeadershipState.LEADING)
            yield reconciling, feed
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_lease_that_the_database_lost_makes_the_leader_give_it_again_what_it_lost(
    outage_postgres, tmp_path
) -> None:
    dsn, copy = outage_postgres.database_dsn, tmp_path / "copy"
    outage_postgres.stop("fast")
    outage_postgres.put_away(copy)
    outage_postgres.start()

    async with leading(dsn, renew_seconds=0.05) as (_, feed):
        feed.put(low_now())
        await until(lambda: truth.count(dsn, "dict_rate_limit_alerts", "state = 'firing'") == 2)
        before = rows(dsn, EVENTS)
        outage_postgres.stop("fast")
        outage_postgres.put_back(copy)
        outage_postgres.start()
        # No further poll is needed.
        await until(lambda: truth.count(dsn, "dict_rate_limit_alerts", "state = 'firing'") == 2)

    assert len(before) == 2
    assert rows(dsn, EVENTS) == before


async def test_a_commit_that_the_database_lost_between_two_renewals_is_made_again(
    outage_postgres, tmp_path, caplog
) -> None:
    dsn, copy = outage_postgres.database_dsn, tmp_path / "copy"
    one, two, three = (replace(low_now(seconds), sequence=number) for number, seconds in ((1, 0), (2, 1), (3, 2)))

    async with leading(dsn, renew_seconds=3600) as (_, feed):
        feed.put(one)
        await until(lambda: truth.count(dsn, "dict_rate_limit_reconciliations") == 1)
        outage_postgres.stop("fast")
        outage_postgres.put_away(copy)
        outage_postgres.start()
        feed.put(two)
        await until(lambda: truth.count(dsn, "dict_rate_limit_reconciliations") == 2)
        outage_postgres.stop("fast")
        outage_postgres.put_back(copy)
        outage_postgres.start()
        feed.put(three)
        await until(lambda: truth.count(dsn, "dict_rate_limit_reconciliations") == 3)

    assert rows(dsn, "SELECT sequence, evaluated FROM dict_rate_limit_reconciliations ORDER BY 1") == [
        (1, True),
        (2, True),
        (3, True),
    ]
    assert "the database has become an older copy of itself: the reconciler has committed 2 times" in caplog.text


async def test_a_leader_that_cannot_make_partitions_says_why_and_works_all_the_same(
    database_dsn, superuser_dsn, caplog
) -> None:
    with psycopg.connect(superuser_dsn) as other:
        other.execute("SELECT pg_advisory_lock(hashtext('dict_rate_limit_maintain_partitions'))")
        async with leading(database_dsn) as (reconciling, feed):
            await until(lambda: "waiting=partitions" in caplog.text)
            feed.put(low_now())
            await until(lambda: reconciling.loop.open_alerts)

    assert "lock timeout" in caplog.text


async def test_a_partition_that_is_missing_is_made_at_once_and_no_poll_is_lost(database_dsn, superuser_dsn) -> None:
    async with leading(database_dsn) as (reconciling, feed):
        await until(lambda: b"\ndict_rate_limit_partitions_ready_months 3" in reconciling.metrics.exposition())
        with psycopg.connect(superuser_dsn) as connection:
            for table in ("state_rows", "reconciliation_rows"):
                drop = f"DROP TABLE dict_rate_limit_{table}_{datetime.now(UTC):%Y_%m}"
                await asyncio.to_thread(connection.execute, drop)
        feed.put(low_now())
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 2)

    assert truth.count(database_dsn, "dict_rate_limit_reconciliations") == 1


async def test_a_missing_partition_that_cannot_be_made_is_told_and_waited_for(
    database_dsn, superuser_dsn, caplog
) -> None:
    month = f"dict_rate_limit_state_rows_{datetime.now(UTC):%Y_%m}"
    async with leading(database_dsn) as (reconciling, feed):
        await until(lambda: b"\ndict_rate_limit_partitions_ready_months 3" in reconciling.metrics.exposition())
        with psycopg.connect(superuser_dsn, autocommit=True) as connection:
            detach = f"ALTER TABLE dict_rate_limit_state_rows DETACH PARTITION {month}"
            await asyncio.to_thread(connection.execute, detach)
            feed.put(low_now())
            await until(lambda: b"\ndict_rate_limit_partitions_ready_months -1" in reconciling.metrics.exposition())
            await until(lambda: any(getattr(r, "table", None) == month for r in caplog.records))
            await asyncio.to_thread(connection.execute, f"DROP TABLE {month}")
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 2)

    assert "waiting=polls" in caplog.text
    assert "a partition is missing" in caplog.text


TABLES = (
    *("policies", "state_rows", "reconciliation_rows", "chunks", "alerts", "alert_transitions", "outbox", "lease"),
    "commits",
)
BREAKS = [
    *[
        pytest.param(
            f"ALTER TABLE dict_rate_limit_{name} RENAME TO away",
            f"ALTER TABLE away RENAME TO dict_rate_limit_{name}",
            "run `dict-rate-limit migrate up`",
            id=f"{name} is absent",
        )
        for name in TABLES
    ],
    *[
        pytest.param(
            f"REVOKE ALL ON dict_rate_limit_{name} FROM dict_rate_limit_writer",
            (migrations.directory() / "grants.sql").read_text(),
            f"the database user may not do this (permission denied for table dict_rate_limit_{name})",
            id=f"{name} may not be used",
        )
        for name in TABLES
    ],
    pytest.param(
        "ALTER TABLE dict_rate_limit_alerts RENAME COLUMN value TO figure",
        "ALTER TABLE dict_rate_limit_alerts RENAME COLUMN figure TO value",
        "run `dict-rate-limit migrate up`",
        id="a column has another name",
    ),
    pytest.param(
        "ALTER TABLE dict_rate_limit_policies ALTER COLUMN changed_at TYPE integer USING 0",
        "ALTER TABLE dict_rate_limit_policies ALTER COLUMN changed_at TYPE timestamptz USING to_timestamp(changed_at)",
        "run `dict-rate-limit migrate up`",
        id="a column has another type",
    ),
]


@pytest.mark.parametrize(("breaks", "mends", "said"), BREAKS)
async def test_whatever_is_taken_from_a_leader_is_told_and_waited_for(
    database_dsn, superuser_dsn, caplog, breaks, mends, said
) -> None:
    async with leading(database_dsn, renew_seconds=0.05) as (_, feed):
        with psycopg.connect(superuser_dsn, autocommit=True) as connection:
            # In a thread: the reconciler may hold what these wait for.
            await asyncio.to_thread(connection.execute, breaks)
            feed.put(low_now())
            await until(lambda: said in caplog.text)
            await asyncio.to_thread(connection.execute, mends)
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 2)
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_outbox") == 2)


class Listener:
    """Follows a stream, and keeps what it is told."""

    stream_id = "new"
    target = "exporter:9863"
    connected = False
    participants = ()

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def report(self, report: Report) -> None:
        self.reports.append(report)

    def owns(self, _participant: str) -> bool:
        return True

    def reset(self) -> None: ...

    async def run(self) -> None:
        await asyncio.Event().wait()


async def test_the_sequences_of_a_stream_that_ended_are_not_told_to_the_next(database_dsn) -> None:
    settings = Settings(database=DatabaseSettings(dsn=Secret(database_dsn)), rules=RulesSettings(files=(str(RULES),)))
    listener = Listener()
    async with AsyncExitStack() as stack:
        reconciling = await Reconciler.build(settings, Metrics(), "this", stack)
        reconciling.follow(listener)  # type: ignore[arg-type]
        reconciling.inbox.put(replace(low_now(), stream_id="old", sequence=5000))
        task = asyncio.create_task(reconciling.run(None))
        await until(lambda: reconciling.loop.open_alerts)
        reconciling.inbox.put(replace(low_now(), stream_id="new", sequence=7))
        await until(lambda: any(report.sequence for report in listener.reports))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    of_polls = [report for report in listener.reports if report.outbox_pending is None and report.series is None]
    assert [report.sequence for report in of_polls] == [0, 7]
    assert of_polls[0].transitions


async def test_a_leader_names_the_exporter_that_it_cannot_follow(database_dsn) -> None:
    settings = Settings(database=DatabaseSettings(dsn=Secret(database_dsn)), rules=RulesSettings(files=(str(RULES),)))
    listener = Listener()
    seen: list[tuple[bool, str]] = []

    def feed_is() -> str:
        (feed,) = [needed for needed in reconciling.dependencies if needed.name == "feed"]
        if (feed.ok, feed.message) not in seen[-1:]:
            seen.append((feed.ok, feed.message))
        return feed.message

    async with AsyncExitStack() as stack:
        reconciling = await Reconciler.build(settings, Metrics(), "this", stack)
        reconciling.feeds.clients.append(listener)  # type: ignore[arg-type]
        feed_is()
        task = asyncio.create_task(reconciling.run(None))
        await until(lambda: feed_is().startswith("0 of 1"))
        listener.connected = True
        feed_is()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert seen == [
        (True, "another process follows, or none does yet"),
        (False, "0 of 1 exporters followed; not followed: exporter:9863"),
        (True, "1 of 1 exporters followed"),
    ]


async def test_alerts_of_a_removed_participant_resolve_though_the_clock_is_behind_their_polls(database_dsn) -> None:
    database, rules = DatabaseSettings(dsn=Secret(database_dsn)), RulesSettings(files=(str(RULES),))
    for participants, done in (
        ((), "state = 'firing'"),
        (("87654321",), "state = 'resolved' AND reason = 'participant_removed'"),
    ):
        settings = Settings(participants=participants, database=database, rules=rules)
        async with AsyncExitStack() as stack:
            reconciling = await Reconciler.build(settings, Metrics(), "this", stack)
            if not participants:
                reconciling.inbox.put(low_now(ahead_seconds=60))
            task = asyncio.create_task(reconciling.run(None))
            try:
                await until(lambda done=done: truth.count(database_dsn, "dict_rate_limit_alerts", done) == 2)
                if participants:
                    await until(lambda made=reconciling: b'participant="12345678"' not in made.metrics.exposition())
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


async def test_a_clock_that_is_behind_the_last_poll_does_not_keep_rules_from_being_evaluated(database_dsn) -> None:
    settings = Settings(database=DatabaseSettings(dsn=Secret(database_dsn)), rules=RulesSettings(files=(str(RULES),)))
    for firing in (2, 0):
        async with AsyncExitStack() as stack:
            reconciling = await Reconciler.build(settings, Metrics(), "this", stack)
            task = asyncio.create_task(reconciling.run(None))
            await until(lambda made=reconciling: made.leadership and made.leadership.state is LeadershipState.LEADING)
            if firing:
                reconciling.inbox.put(low_now(ahead_seconds=60))
            else:
                await until(lambda made=reconciling: made.loop.open_alerts)
                full = replace(low_now(tokens=36_000), stream_id="another")
                reconciling.inbox.put(replace(full, polled_at=reconciling.loop.clock.now()))
            try:
                await until(
                    lambda wanted=firing: (
                        truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == wanted
                    )
                )
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    assert truth.count(database_dsn, "dict_rate_limit_alerts", "reason = 'recovered'") == 2


async def test_a_clock_that_is_months_ahead_costs_nothing_and_leaves_nothing_behind(database_dsn, caplog) -> None:
    states = "SELECT count(*) FROM dict_rate_limit_states WHERE observed_at > now() + interval '1 minute'"
    async with leading(database_dsn) as (reconciling, feed):
        feed.put(low_now(ahead_seconds=300 * 86_400))
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 2)
        feed.put(replace(low_now(tokens=36_000), stream_id="of the clock that was set right"))
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "reason = 'recovered'") == 2)
        shown = reconciling.metrics.exposition()

    assert b'dict_rate_limit_polls_ahead_total{participant="12345678"} 1.0' in shown
    assert b"dict_rate_limit_polls_late" in shown
    assert b"polls_late_total{" not in shown
    assert not re.search(rb"snapshots_dropped_total\{.*\} [^0]", shown)
    assert rows(database_dsn, states) == [(0,)]
    assert "polls are ahead of the database's clock, and take its time" in caplog.text


async def test_a_last_poll_that_lies_weeks_ahead_in_the_database_does_not_stand_against_those_of_now(
    database_dsn, superuser_dsn, caplog
) -> None:
    async with leading(database_dsn) as (_, feed):
        feed.put(low_now())
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 2)
    with psycopg.connect(superuser_dsn) as connection:
        connection.execute("UPDATE dict_rate_limit_reconciliation_rows SET polled_at = polled_at + interval '45 days'")

    async with leading(database_dsn) as (_, feed):
        feed.put(replace(low_now(tokens=36_000), stream_id="of the clock that was set right"))
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "reason = 'recovered'") == 2)

    assert "last poll in the database is ahead of the database's clock" in caplog.text


def of_category(name: str, stream_id: str) -> Poll:
    made = replace(low_now(tokens=36_000), stream_id=stream_id, category=Category(name))
    assert isinstance(made.result, Observation)
    return replace(made, result=replace(made.result, category=name))


async def test_a_category_that_changed_while_nobody_polled_is_told_and_handed_to_who_polls(database_dsn) -> None:
    learned: list[Category] = []
    async with leading(database_dsn) as (_, feed):
        feed.put(of_category("E", "before"))
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_reconciliations") == 1)

    async with leading(database_dsn) as (_, feed):
        feed.learn_category = lambda _, category: learned.append(category)
        feed.put(of_category("F", "after"))
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 1)

    ((summary, event),) = rows(
        database_dsn,
        "SELECT a.annotations ->> 'summary', o.body -> 'labels' FROM dict_rate_limit_alerts AS a"
        " JOIN dict_rate_limit_outbox AS o USING (fingerprint)",
    )
    assert summary == "12345678: BACEN changed the category from E to F"
    assert event == {
        "alertname": "DictRateLimitCategoryChanged",
        "severity": "info",
        "participant": "12345678",
        "psp_category": "F",
        "previous_psp_category": "E",
    }
    assert (learned[-1].name, learned[-1].previous) == ("F", "E")


async def test_an_open_alert_about_a_change_of_category_outlives_a_restart(database_dsn) -> None:
    changed = datetime.now(UTC) - timedelta(minutes=10)
    async with leading(database_dsn) as (_, feed):
        feed.put(replace(of_category("F", "before"), category=Category("F", changed, "E")))
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 1)

    async with leading(database_dsn) as (reconciling, feed):
        feed.put(of_category("F", "after"))
        await until(lambda: truth.count(database_dsn, "dict_rate_limit_reconciliations") == 2)
        await until(lambda: reconciling.loop.views)  # after the commit
        (view,) = reconciling.loop.views.values()

    assert truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 1
    assert view.poll.category == Category("F", changed, "E")
