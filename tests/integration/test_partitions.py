"""Months come and go (simulated time)."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from exporter.errors import PartitionMissing, StoreError
from exporter.store.partitions import Maintenance, WritableMonths, maintain, readiness
from tests.support.builders import PARTICIPANT, bucket, observation, poll
from tests.support.stored import Store, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.buckets.observation import Poll

pytestmark = pytest.mark.postgres

TABLES = ("dict_rate_limit_chunks", "dict_rate_limit_reconciliation_rows", "dict_rate_limit_state_rows")
ROWS = TABLES[1:]
LAST_SECOND = datetime(2020, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
FIRST_INSTANT = datetime(2020, 2, 1, tzinfo=UTC)


@pytest.fixture
async def store(database_dsn: str) -> AsyncIterator[Store]:
    async with stored(database_dsn, at_time=LAST_SECOND) as made:
        yield made


def poll_at(instant: datetime, sequence: int) -> Poll:
    made = poll(sequence=sequence)
    answer = replace(observation(bucket(sequence)), observed_at=instant)
    return replace(made, polled_at=instant, last_success_at=instant, result=answer)


async def partitions(store: Store, table: str = ROWS[1]) -> list[str]:
    """Returns the months of ``table``, as ``2020_01``."""
    found = await store.rows(
        "SELECT right(partition, 7) FROM v_dict_rate_limit_partitions WHERE parent = %(table)s ORDER BY month",
        table=table,
    )
    return [month for (month,) in found]


async def test_rows_on_both_sides_of_a_months_end_land_in_their_partitions(store: Store) -> None:
    polls = [poll_at(LAST_SECOND, 1), poll_at(FIRST_INSTANT, 2)]

    await store.commit(*polls)

    for table in ROWS:
        found = await store.rows(f"SELECT tableoid::regclass::text FROM {table} ORDER BY polled_at")
        assert found == [(f"{table}_2020_01",), (f"{table}_2020_02",)]
    assert [found async for found in store.reader.polls(PARTICIPANT)] == polls


def execute(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)


async def test_the_month_before_and_three_ahead_are_ready(store: Store) -> None:
    for table in TABLES:
        assert set(await partitions(store, table)) >= {"2019_12", "2020_01", "2020_02", "2020_03", "2020_04"}


async def test_the_next_month_adds_one_partition_to_each_table(store: Store) -> None:
    done = await maintain(store.database, 120, at=FIRST_INSTANT)

    assert done.created == tuple(f"{table}_2020_05" for table in TABLES)
    assert done.dropped == ()
    assert done.complete


async def test_doing_it_twice_changes_nothing(store: Store) -> None:
    again = await maintain(store.database, 120, at=LAST_SECOND)

    assert again == Maintenance((), (), (), ())


async def test_ready_months_are_counted_from_the_month_asked_for(store: Store) -> None:
    months = len([month for month in await partitions(store) if month > "2020_01"])

    assert await readiness(store.database, at=LAST_SECOND) == WritableMonths(months, detached=())


@pytest.mark.parametrize("table", TABLES)
async def test_without_the_current_month_nothing_is_ready(store: Store, superuser_dsn: str, table: str) -> None:
    execute(superuser_dsn, f"DROP TABLE {table}_2020_01")

    assert (await readiness(store.database, at=LAST_SECOND)).months == -1


async def test_a_table_without_any_partition_is_not_ready(store: Store, superuser_dsn: str) -> None:
    for month in await partitions(store):
        execute(superuser_dsn, f"DROP TABLE dict_rate_limit_state_rows_{month}")

    assert (await readiness(store.database, at=LAST_SECOND)).months == -1


async def test_a_table_with_a_partitions_name_that_is_none_is_named(store: Store, superuser_dsn: str) -> None:
    execute(superuser_dsn, "ALTER TABLE dict_rate_limit_state_rows DETACH PARTITION dict_rate_limit_state_rows_2020_02")

    assert (await readiness(store.database, at=LAST_SECOND)).detached == ("dict_rate_limit_state_rows_2020_02",)


async def test_the_month_past_its_retention_goes_and_the_one_within_stays(store: Store) -> None:
    await store.commit(poll_at(LAST_SECOND, 1), poll_at(FIRST_INSTANT, 2))
    assert set(await partitions(store)) >= {"2019_12", "2020_01", "2020_02"}

    # Fourteen months on: January 2020 lies 14 months behind, February 13.
    done = await maintain(store.database, 13, at=datetime(2021, 3, 1, tzinfo=UTC))

    assert {f"{table}_{month}" for table in TABLES for month in ("2019_12", "2020_01")} == set(done.dropped)
    assert (await partitions(store))[0] == "2020_02"
    assert [found.polled_at async for found in store.reader.polls(PARTICIPANT)] == [FIRST_INSTANT]


async def commit_many(store: Store, count: int) -> None:
    """Commits polls of the last seconds of the month."""
    polls = [poll_at(LAST_SECOND - timedelta(seconds=count - n), n + 1) for n in range(count)]
    for n in range(0, count, 500):
        await store.commit(*polls[n : n + 500])


async def test_a_past_month_that_is_compacted_gives_its_space_back(store: Store) -> None:
    await commit_many(store, 9000)
    size = "SELECT pg_total_relation_size('{}_2020_01')"
    assert min([await store.value(size.format(table)) for table in ROWS]) > 1_000_000
    assert (await maintain(store.database, 120, at=FIRST_INSTANT)).shrunk == (), "rows are in it"
    await store.compact()
    everything = await store.everything()
    assert (await maintain(store.database, 120, at=LAST_SECOND)).shrunk == (), "the month goes on"

    done = await maintain(store.database, 120, at=FIRST_INSTANT)

    assert done.shrunk == tuple(f"{table}_2020_01" for table in ROWS)
    assert max([await store.value(size.format(table)) for table in ROWS]) < 100_000
    assert await store.everything() == everything
    assert (await maintain(store.database, 120, at=FIRST_INSTANT)).shrunk == ()


async def test_a_month_in_use_is_shrunk_the_next_time(store: Store, superuser_dsn: str) -> None:
    await commit_many(store, 9000)
    await store.compact()
    async with await psycopg.AsyncConnection.connect(superuser_dsn) as reading:
        await reading.execute("SELECT FROM dict_rate_limit_state_rows_2020_01")
        done = await maintain(store.database, 120, at=FIRST_INSTANT)
        await reading.rollback()

    assert done.postponed == ("dict_rate_limit_state_rows_2020_01",)
    assert not done.complete
    assert (await maintain(store.database, 120, at=FIRST_INSTANT)).shrunk == ("dict_rate_limit_state_rows_2020_01",)


async def test_a_clock_that_is_ahead_costs_no_history(store: Store) -> None:
    ahead = datetime.now(UTC) + timedelta(days=3650)

    done = await maintain(store.database, 120, at=ahead)

    assert done.dropped == ()


async def test_a_partition_in_use_is_postponed_and_goes_the_next_time(store: Store, superuser_dsn: str) -> None:
    at = datetime(2021, 3, 1, tzinfo=UTC)
    async with await psycopg.AsyncConnection.connect(superuser_dsn) as reading:
        await reading.execute("SELECT FROM dict_rate_limit_state_rows_2019_12")
        done = await maintain(store.database, 13, at=at)
        assert done.postponed == ("dict_rate_limit_state_rows_2019_12",)
        assert not done.complete
        await reading.rollback()

    assert (await maintain(store.database, 13, at=at)).dropped == ("dict_rate_limit_state_rows_2019_12",)


async def test_a_dump_that_reads_every_table_is_waited_for_once(store: Store, superuser_dsn: str) -> None:
    await maintain(store.database, 120, at=datetime(2019, 10, 1, tzinfo=UTC))
    async with await psycopg.AsyncConnection.connect(superuser_dsn) as dump:
        await dump.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS SHARE MODE")
        began = time.monotonic()
        done = await maintain(store.database, 1, at=datetime(2021, 3, 1, tzinfo=UTC))
        seconds = time.monotonic() - began
        await dump.rollback()

    assert len(done.created) == len(TABLES) * 5
    assert len(done.postponed) == len(TABLES) * 8
    # Three times the lock timeout of 1 s, on a busy machine; once for each partition it would be 24.
    assert seconds < 12
    assert len((await maintain(store.database, 1, at=datetime(2021, 3, 1, tzinfo=UTC))).dropped) == len(TABLES) * 8


async def test_partitions_are_made_while_others_write(store: Store, superuser_dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(superuser_dsn) as writing:
        await writing.execute("LOCK TABLE dict_rate_limit_state_rows IN ROW EXCLUSIVE MODE")
        await writing.execute("LOCK TABLE dict_rate_limit_reconciliation_rows IN ROW EXCLUSIVE MODE")

        done = await maintain(store.database, 120, at=FIRST_INSTANT)

        assert len(done.created) == len(TABLES)
        assert done.complete
        await writing.rollback()


async def test_a_new_partition_has_what_its_table_has(store: Store) -> None:
    await maintain(store.database, 120, at=FIRST_INSTANT)

    for table in TABLES:
        facts = (
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = %(table)s::regclass AND contype IN ('c', 'p') ORDER BY 1"
        )
        assert await store.rows(facts, table=f"{table}_2020_05") == await store.rows(facts, table=table)
        generated = (
            "SELECT attname FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attgenerated <> '' ORDER BY 1"
        )
        assert await store.rows(generated, table=f"{table}_2020_05") == await store.rows(generated, table=table)


@pytest.mark.parametrize("table", ROWS)
async def test_a_poll_of_a_month_whose_partition_is_missing_waits_for_it(
    store: Store, superuser_dsn: str, table: str
) -> None:
    now = datetime.now(UTC)
    await maintain(store.database, 120)
    execute(superuser_dsn, f"DROP TABLE {table}_{now:%Y_%m}")

    with pytest.raises(PartitionMissing):
        await store.commit(poll_at(now, 1), poll_at(now + timedelta(seconds=1), 2))

    await maintain(store.database, 120)
    assert await store.commit(poll_at(now, 1), poll_at(now + timedelta(seconds=1), 2)) == []


async def test_a_row_without_a_partition_is_refused_and_not_hidden(store: Store) -> None:
    refused = await store.commit(poll_at(datetime(1999, 1, 1, tzinfo=UTC), 1))

    assert "no partition" in str(refused[0][1])


async def test_a_retention_of_nothing_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="retention_months is 0"):
        await maintain(store.database, 0)


def test_maintenance_is_complete_when_nothing_is_postponed() -> None:
    assert Maintenance((), (), (), ()).complete
    assert not Maintenance((), (), (), ("p",)).complete
