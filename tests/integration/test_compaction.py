"""History is the same in chunks as it was in rows, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from exporter.buckets.bucket import Ispb
from exporter.errors import DatabaseUnavailable, LeaseLost, ReconciliationRefused
from exporter.metrics import Metrics
from exporter.reconciler.compaction import CompactionJob
from exporter.store.chunks import Compacted, DueHour, compact, due_hours
from exporter.store.database import DatabaseOutage
from exporter.store.lease import Lease
from exporter.store.reader import Reader
from tests.support.builders import PARTICIPANT, POLICY, START, at, bucket, failed, observed, poll
from tests.support.conditions import until
from tests.support.postgres import HOSTILE_SETTINGS
from tests.support.stored import Store, connected, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from exporter.buckets.observation import Poll
    from tests.support.postgres import OutagePostgres

pytestmark = pytest.mark.postgres

HOUR = DueHour(PARTICIPANT, START, 0.0)
DAY_SECONDS = 86_400.0
ROWS = "SELECT count(*) FROM dict_rate_limit_{}_rows"


@pytest.fixture
async def store(database_dsn: str) -> AsyncIterator[Store]:
    async with stored(database_dsn) as made:
        yield made


async def read(store: Store) -> list[Poll]:
    return [found async for found in store.reader.polls(PARTICIPANT)]


def levels(*tokens: int, began: float = 0) -> list[Poll]:
    """Polls that show one bucket at these levels."""
    return [poll(bucket(left), seconds=began + 15 * n) for n, left in enumerate(tokens)]


def metric(metrics: Metrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"dict_rate_limit_{name}")


def hours_ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def poll_at(instant: datetime, left: int, sequence: int, participant: str = PARTICIPANT) -> Poll:
    made = poll(bucket(left), sequence=sequence, participant=participant)
    answer = replace(made.result, observed_at=instant)
    return replace(made, polled_at=instant, last_success_at=instant, result=answer)


@pytest.mark.parametrize(("scenario", "reads"), [("demo", True), ("steady", False), ("outage", True)])
async def test_six_hours_of_a_scenario_are_the_same_to_the_bit_and_a_tenth_as_large(recorded, scenario, reads) -> None:
    past = await recorded(scenario, interval_seconds=15, reads=reads)
    async with connected(past.dsn) as database:
        fence = await Lease(database, "test", ttl_seconds=600).acquire()
        assert fence is not None
        kept = Store(database, fence)
        rows, polls = await kept.everything(), [found async for found in kept.reader.polls(past.participant)]
        size = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('dict_rate_limit_{}') WHERE isleaf"
        before = sum([await kept.value(size.format(table)) for table in ("state_rows", "reconciliation_rows")])

        await kept.compact()

        assert await kept.everything() == rows
        assert [found async for found in kept.reader.polls(past.participant)] == polls
        assert await kept.value(ROWS.format("reconciliation")) == 0
        buckets = await kept.value("SELECT count(*) FROM dict_rate_limit_policies")
        assert await kept.value(ROWS.format("state")) == buckets, "the newest state of each bucket"
        assert await kept.value(size.format("chunks")) < before / 10
        # What can be computed is not kept.
        assert await kept.value(
            "SELECT sum(states) > 20 * sum((SELECT count(*) FROM unnest(rates) AS r WHERE r IS NOT NULL))"
            " FROM dict_rate_limit_chunks"
        )


async def test_what_rules_of_the_database_cannot_compute_is_kept_as_it_is(store: Store) -> None:
    odd = [1e-300, 0.1, math.pi, 1e300, math.inf, math.nan, 0.0, None]
    polls = [
        poll(replace(observed(bucket(n), rate=one, empty=other, share=one), error_429_rate=other), seconds=n)
        for n, (one, other) in enumerate(itertools.product(odd, odd))
    ]
    await store.commit(*polls)
    before = await store.everything()

    await store.compact()

    assert await store.everything() == before
    assert [repr(found) for found in await read(store)] == [repr(made) for made in polls]


async def test_each_hour_is_a_chunk_of_its_own_and_the_hours_around_stay_rows(store: Store) -> None:
    polls = [*levels(1, 2, 3), *levels(4, 5, 6, began=3585), *levels(7, 8, began=7200)]
    await store.commit(*polls)

    done = await compact(store.fence, replace(HOUR, hour=at(3600)))

    assert done == Compacted(polls=2, states=2)
    assert await store.rows("SELECT participant, hour, polls, states FROM dict_rate_limit_chunks") == [
        (PARTICIPANT, at(3600), 2, 2)
    ]
    assert await store.value(ROWS.format("reconciliation")) == len(polls) - 2
    assert await read(store) == polls


async def test_a_poll_that_comes_late_joins_the_chunk_of_its_hour(store: Store) -> None:
    first, late, last = levels(1, 2, 3)
    await store.commit(first, last)
    await store.compact()
    await store.commit(late)
    assert await store.value(ROWS.format("reconciliation")) == 1
    before = await store.everything()

    await store.compact()

    assert await store.everything() == before
    assert await store.rows("SELECT polls FROM dict_rate_limit_chunks") == [(3,)]


async def test_a_poll_that_was_compacted_is_known_and_not_written_again(store: Store) -> None:
    polls = [*levels(1, 2, 3), failed(60)]
    await store.commit(*polls)
    await store.compact()
    before = await store.everything()

    store.restart()
    assert await store.commit(*polls) == []

    assert await store.everything() == before


async def test_the_newest_state_of_a_bucket_stays_a_row_where_the_last_one_is_looked_for(store: Store) -> None:
    await store.commit(*levels(1, 2, 3))
    latest = await store.rows("SELECT available_tokens, observed_at FROM v_dict_rate_limit_latest_states")
    assert latest == [(3, at(30))]

    await store.compact()

    assert await store.rows("SELECT available_tokens, observed_at FROM dict_rate_limit_state_rows") == latest
    assert await store.rows("SELECT available_tokens, observed_at FROM v_dict_rate_limit_latest_states") == latest


async def test_compacting_an_hour_twice_or_one_without_polls_changes_nothing(store: Store) -> None:
    await store.commit(*levels(1, 2, 3))
    await store.compact()
    before = await store.everything()

    assert await compact(store.fence, HOUR) == Compacted(polls=3, states=2)
    assert await compact(store.fence, replace(HOUR, hour=at(-3600))) == Compacted(polls=0, states=0)

    assert await store.everything() == before
    assert await store.value("SELECT count(*) FROM dict_rate_limit_chunks") == 1


async def test_a_state_that_belongs_to_no_poll_of_its_hour_stays_a_row(store: Store, superuser_dsn: str) -> None:
    await store.commit(*levels(1, 2, 3))
    with psycopg.connect(superuser_dsn, autocommit=True) as admin:
        admin.execute("DELETE FROM dict_rate_limit_reconciliation_rows WHERE polled_at = %s", (at(0),))
    before = await store.everything()

    await store.compact()

    assert await store.everything() == before
    assert await store.rows("SELECT observed_at FROM dict_rate_limit_state_rows ORDER BY 1") == [(at(0),), (at(30),)]


async def test_an_hour_that_would_not_come_back_as_it_was_is_refused_and_stays(store: Store) -> None:
    # Further apart than a chunk can hold.
    await store.commit(poll(bucket(1), seconds=0, sequence=1), poll(bucket(2), seconds=15, sequence=2**60))
    before = await store.everything()

    with pytest.raises(ReconciliationRefused, match="integer out of range"):
        await store.compact()

    assert await store.everything() == before
    assert await store.value("SELECT count(*) FROM dict_rate_limit_chunks") == 0


async def test_a_chunk_that_gives_back_anything_else_is_not_committed(store: Store, superuser_dsn: str) -> None:
    await store.commit(*levels(1, 2, 3))
    before = await store.everything()
    with psycopg.connect(superuser_dsn, autocommit=True) as admin:
        ((definition,),) = admin.execute("SELECT pg_get_functiondef('dict_rate_limit_states_of'::regproc)").fetchall()
        wrong = definition.replace("q.available - q.lowest", "q.available - q.lowest + 1").replace(
            "c.participant, p.policy, q.category,", "c.participant, p.policy, coalesce(q.category, 'B') || '!',"
        )
        assert wrong != definition
        admin.execute(wrong.encode())

    with pytest.raises(ReconciliationRefused, match="does not come back from its chunk as it was"):
        await store.compact()

    assert await store.everything() == before


async def test_a_process_that_lost_the_lease_compacts_nothing(store: Store) -> None:
    await store.commit(*levels(1, 2, 3))
    async with store.database.transaction() as connection:
        await connection.execute("UPDATE dict_rate_limit_lease SET expires_at = '-infinity'")
    assert await Lease(store.database, "second").acquire() is not None

    with pytest.raises(LeaseLost):
        await store.compact()

    assert await store.value("SELECT count(*) FROM dict_rate_limit_chunks") == 0


async def test_the_lease_can_be_renewed_while_an_hour_is_compacted(store: Store, superuser_dsn: str) -> None:
    await store.commit(*levels(1, 2, 3))
    lease = Lease(store.database, "first", ttl_seconds=600)
    fence = await lease.acquire()
    assert fence is not None
    async with await psycopg.AsyncConnection.connect(superuser_dsn) as other:
        await other.execute("LOCK TABLE dict_rate_limit_chunks IN SHARE MODE")
        compacting = asyncio.create_task(compact(fence, HOUR))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'dict_rate_limit_chunks'::regclass"
        async with asyncio.timeout(60):
            while await store.value(waiting) == 0:
                await asyncio.sleep(0.01)

        await lease.renew()

        assert not compacting.done()
        await other.rollback()
    assert await compacting == Compacted(polls=3, states=2)


async def test_an_hour_that_waits_too_long_for_a_lock_says_so_in_a_line(store: Store, superuser_dsn: str) -> None:
    await store.commit(*levels(1, 2, 3))
    async with await psycopg.AsyncConnection.connect(superuser_dsn) as other:
        await other.execute("LOCK TABLE dict_rate_limit_chunks IN SHARE MODE")

        with pytest.raises(DatabaseUnavailable) as raised:
            await store.compact()

        await other.rollback()
    assert str(raised.value) == "PostgreSQL answers: canceling statement due to lock timeout"
    assert await store.value("SELECT count(*) FROM dict_rate_limit_chunks") == 0
    await store.compact()


async def test_a_span_of_time_is_read_from_both_forms_and_from_its_own_chunks_alone(store: Store) -> None:
    polls = [*levels(*range(1, 8), began=3540), *levels(9, 8, began=7200), *levels(5, 6, began=14_400)]
    await store.commit(*polls)
    for hour in (0, 3600, 7200):
        await compact(store.fence, replace(HOUR, hour=at(hour)))

    for since, until_ in itertools.combinations([-9000, 0, 3555, 3600, 7200, 7215, 14_400, 20_000], 2):
        span = {"since": at(since), "until": at(until_)}
        for name, column in (("states", "observed_at"), ("reconciliations", "polled_at")):
            between = f"SELECT s::text FROM dict_rate_limit_{name}_between(%(since)s, %(until)s) AS s ORDER BY 1"
            view = (
                f"SELECT s::text FROM dict_rate_limit_{name} AS s"
                f" WHERE {column} >= %(since)s AND {column} < %(until)s ORDER BY 1"
            )
            assert await store.rows(between, **span) == await store.rows(view, **span)


@pytest.mark.parametrize("name", ["states", "reconciliations"])
@pytest.mark.parametrize("span", ["", "_between('-infinity', 'infinity')"])
async def test_no_chunk_of_another_participant_is_opened(store: Store, name: str, span: str) -> None:
    plan = await store.value(
        f"EXPLAIN (FORMAT JSON) SELECT * FROM dict_rate_limit_{name}{span} WHERE participant = '{PARTICIPANT}'"
    )

    def scans(node: dict[str, Any]) -> Iterator[str]:
        if node.get("Relation Name", "").startswith("dict_rate_limit_chunks"):
            yield node.get("Index Cond", "") + node.get("Filter", "") + node.get("Recheck Cond", "")
        for child in node.get("Plans", []):
            yield from scans(child)

    found = list(scans(plan[0]["Plan"]))
    assert found
    assert all(f"(participant = '{PARTICIPANT}'::text)" in condition for condition in found)


async def test_a_chunk_means_the_same_in_every_session(store: Store, superuser_dsn: str) -> None:
    await store.commit(*[poll(observed(bucket(n), rate=n / 3, empty=math.inf), seconds=n) for n in range(9)])
    await store.compact()

    def told(**settings: str) -> list[object]:
        with psycopg.connect(superuser_dsn) as connection:
            for name, value in settings.items():
                connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            connection.execute("CREATE TEMPORARY TABLE found AS SELECT * FROM public.dict_rate_limit_states")
            connection.execute("CREATE TEMPORARY TABLE polls AS SELECT * FROM public.dict_rate_limit_reconciliations")
            connection.execute("RESET ALL")
            return [
                connection.execute(f"SELECT t::text FROM pg_temp.{table} AS t ORDER BY polled_at".encode()).fetchall()
                for table in ("found", "polls")
            ]

    assert told(**{name: value for name, value in HOSTILE_SETTINGS.items() if "read_only" not in name}) == told()


async def test_a_process_of_the_release_before_writes_on(store: Store) -> None:
    made, again = levels(1, 2)
    await store.commit(made)
    async with store.database.transaction() as connection:
        for _ in range(2):
            await connection.execute(
                "INSERT INTO dict_rate_limit_reconciliations (participant, stream_id, sequence, polled_at, answered,"
                " interval_seconds, staleness_seconds, duration_seconds, observed_at, category, correlation_id,"
                " evaluated, complete, states_written, transitions, is_read, last_success_at)"
                " VALUES (%s, 'stream', 2, %s, true, 15, 300, 0, %s, 'A', 'c-1', true, false, 1, 0, false, %s)"
                " ON CONFLICT DO NOTHING",
                (PARTICIPANT, again.polled_at, again.polled_at, again.polled_at),
            )
            await connection.execute(
                "INSERT INTO dict_rate_limit_states (participant, observed_at, polled_at, category, policy,"
                " available_tokens, capacity, refill_tokens, refill_period_seconds, utilization_percent,"
                " recovery_eta_seconds) VALUES (%s, %s, %s, 'A', %s, 2, 36000, 1200, 60, 99.9, 1799.9)"
                " ON CONFLICT DO NOTHING",
                (PARTICIPANT, again.polled_at, again.polled_at, POLICY),
            )

    assert await read(store) == [made, again]
    assert await store.value("SELECT count(recorded_at) FROM dict_rate_limit_reconciliations") == 2


async def test_an_hour_is_due_when_it_is_that_old_by_the_last_answered_poll(store: Store) -> None:
    now = datetime.now(UTC).replace(minute=30)
    away, silent = "00000002", "00000003"
    await store.commit(
        *[poll_at(now - timedelta(hours=hours), hours, 9 - hours) for hours in (5, 4, 3, 0)],
        # Polled no more, and answered no more.
        *[poll_at(now - timedelta(hours=hours), hours, 9 - hours, away) for hours in (6, 5)],
        poll_at(now - timedelta(hours=8), 1, 1, silent),
        replace(failed(0, participant=silent, sequence=9), polled_at=now),
    )

    due = await due_hours(store.database, 3 * 3600, {})

    whole = now.replace(minute=0, second=0, microsecond=0)
    assert [(hour.participant, hour.hour) for hour in due] == [(PARTICIPANT, whole - timedelta(hours=5))]
    assert due[0].age_seconds == pytest.approx((datetime.now(UTC) - due[0].hour).total_seconds(), abs=60)
    await compact(store.fence, due[0])
    (second,) = await due_hours(store.database, 3 * 3600, {})
    assert second.hour == whole - timedelta(hours=4)
    assert await due_hours(store.database, 3 * 3600, {PARTICIPANT: whole - timedelta(hours=3)}) == []


def job_of(store: Store, metrics: Metrics) -> CompactionJob:
    return CompactionJob(store.database, DAY_SECONDS, metrics.reconciler, DatabaseOutage(), interval_seconds=0.05)


async def test_the_job_compacts_what_is_due_and_says_so(store: Store, caplog) -> None:
    caplog.set_level(logging.INFO)
    polls = [poll_at(hours_ago(hours), hours, 99 - hours) for hours in (30, 29, 28, 2, 1)]
    await store.commit(*polls)
    metrics = Metrics()
    running = asyncio.create_task(job_of(store, metrics).run(store.fence))

    await until(lambda: metric(metrics, "compacted_states_total") == 3)
    await until(lambda: metric(metrics, "compaction_oldest_age_seconds") == 0)
    running.cancel()

    assert await store.value(ROWS.format("reconciliation")) == 2
    assert await read(store) == polls
    assert metric(metrics, "compaction_refused_total") == 0
    assert "history compacted" in caplog.text


async def test_the_job_passes_over_an_hour_that_is_refused_and_tells_of_it_once(store: Store, caplog) -> None:
    bad = [poll_at(hours_ago(40), 1, 1), poll_at(hours_ago(40) + timedelta(microseconds=1), 2, 2**60)]
    good = [poll_at(hours_ago(hours), hours, 99 - hours) for hours in (30, 1)]
    other = [poll_at(hours_ago(hours), hours, 99 - hours, "00000002") for hours in (41, 1)]
    await store.commit(*bad, *good, *other)
    metrics = Metrics()
    running = asyncio.create_task(job_of(store, metrics).run(store.fence))

    await until(lambda: metric(metrics, "compacted_states_total") == 2)
    await until(lambda: metric(metrics, "compaction_oldest_age_seconds") == 0)
    running.cancel()

    assert metric(metrics, "compaction_refused_total") == 1
    (line,) = [r for r in caplog.records if r.getMessage().startswith("history not compacted")]
    assert line.participant == PARTICIPANT
    assert line.error.endswith("integer out of range")
    assert await read(store) == [*bad, *good]


async def test_the_job_waits_while_the_database_is_away(outage_postgres: OutagePostgres, caplog) -> None:
    async with stored(outage_postgres.database_dsn, at_time=datetime.now(UTC)) as store:
        await store.commit(*[poll_at(hours_ago(hours), hours, 99 - hours) for hours in (30, 1)])
        outage_postgres.stop()
        metrics = Metrics()
        running = asyncio.create_task(job_of(store, metrics).run(store.fence))
        await until(lambda: "database unusable" in caplog.text)
        assert metric(metrics, "compaction_oldest_age_seconds") is None

        outage_postgres.start()

        await until(lambda: metric(metrics, "compacted_states_total") == 1)
        running.cancel()


async def test_writer_and_reader_may_do_what_they_need_and_no_more(store: Store, reader_dsn: str) -> None:
    await store.commit(*levels(1, 2, 3))
    await store.compact()  # as the writer, who may not delete

    async with connected(reader_dsn) as database:
        assert [found async for found in Reader(database).polls(Ispb(PARTICIPANT))] == await read(store)
        for name in ("states", "reconciliations"):
            query = f"SELECT count(*) FROM dict_rate_limit_{name}_between('-infinity', 'infinity')".encode()
            assert await database.fetch(query, {}) == [(3,)]
    with psycopg.connect(reader_dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SELECT dict_rate_limit_compact(%s, %s)", (PARTICIPANT, START))
