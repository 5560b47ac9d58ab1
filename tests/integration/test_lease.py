"""One reconciler works, others wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from exporter.errors import DatabaseReverted, DatabaseUnavailable, LeaseLost, StoreError
from exporter.store.database import queries
from exporter.store.lease import Lease
from tests.support.stored import connected, until_available

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.store.database import Database
    from exporter.store.lease import Component
    from tests.support.postgres import OutagePostgres

pytestmark = pytest.mark.postgres


@pytest.fixture
async def database(database_dsn: str) -> AsyncIterator[Database]:
    async with connected(database_dsn, max_size=12) as made:
        yield made


@pytest.fixture
async def look(superuser_dsn: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection of somebody who looks on, and lets time pass."""
    async with await psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True) as connection:
        yield connection


async def epoch(lease: Lease) -> int | None:
    """Asks for the lease."""
    fence = await lease.acquire()
    return None if fence is None else fence.epoch


async def expire(look: psycopg.AsyncConnection) -> None:
    await look.execute("UPDATE dict_rate_limit_lease SET expires_at = now() - interval '1 ms'")


async def test_the_lease_is_taken_by_one_and_not_by_another(database: Database) -> None:
    first, second = Lease(database, "first"), Lease(database, "second")

    assert await epoch(first) == 1
    assert await epoch(second) is None


async def test_of_many_who_ask_at_once_exactly_one_gets_it(database: Database) -> None:
    leases = [Lease(database, f"holder {number}") for number in range(10)]

    epochs = await asyncio.gather(*(epoch(lease) for lease in leases))

    assert [number for number in epochs if number is not None] == [1]


async def test_a_lease_that_was_given_back_is_free_at_once(database: Database) -> None:
    first, second = Lease(database, "first"), Lease(database, "second")
    await first.acquire()

    await first.release()

    assert await epoch(second) == 2
    assert first.epoch is None
    await first.release()
    assert await first.acquire() is None


async def test_a_lease_that_expired_is_free(database: Database, look: psycopg.AsyncConnection) -> None:
    first, second = Lease(database, "first"), Lease(database, "second")
    await first.acquire()

    await expire(look)

    assert await epoch(second) == 2
    with pytest.raises(LeaseLost, match=r"first no longer holds the lease \(epoch 1\); second took it"):
        await first.renew()
    assert first.epoch is None


async def test_a_lease_expires_by_the_databases_clock(database: Database) -> None:
    await Lease(database, "first", ttl_seconds=0.05).acquire()
    second = Lease(database, "second")

    async with asyncio.timeout(30):
        while await second.acquire() is None:
            pass


async def test_renewing_keeps_it(database: Database, look: psycopg.AsyncConnection) -> None:
    lease = Lease(database, "first", ttl_seconds=60)
    await lease.acquire()
    await expire(look)

    await lease.renew()

    assert await Lease(database, "second").acquire() is None


async def test_a_lease_that_was_never_taken_cannot_be_renewed(database: Database) -> None:
    with pytest.raises(LeaseLost):
        await Lease(database, "first").renew()


async def test_a_holder_that_begins_again_gets_a_new_epoch_and_its_old_self_is_fenced(database: Database) -> None:
    before, after = Lease(database, "first"), Lease(database, "first")

    old = await before.acquire()
    assert old is not None
    assert await epoch(after) == 2

    with pytest.raises(LeaseLost, match="nothing was committed"):
        async with old.transaction("relay"):
            pass


async def test_who_lost_the_lease_commits_nothing(database: Database, look: psycopg.AsyncConnection) -> None:
    first, second = Lease(database, "first"), Lease(database, "second")
    fence = await first.acquire()
    assert fence is not None
    await expire(look)
    await second.acquire()

    with pytest.raises(LeaseLost):
        async with fence.transaction("relay") as connection:
            await connection.execute("UPDATE dict_rate_limit_lease SET holder = 'who lost it'")

    assert await (await look.execute("SELECT holder FROM dict_rate_limit_lease")).fetchone() == ("second",)


async def test_a_lease_that_is_taken_while_it_is_renewed_is_lost(
    database: Database, look: psycopg.AsyncConnection
) -> None:
    lease = Lease(database, "first")
    await lease.acquire()

    async with look.transaction():
        await look.execute("UPDATE dict_rate_limit_lease SET holder = 'second', epoch = epoch + 1")
        renewing = asyncio.create_task(lease.renew())
        async with database.transaction() as other:
            while not await (await other.execute("SELECT 1 FROM pg_locks WHERE NOT granted")).fetchone():
                await asyncio.sleep(0.01)

    with pytest.raises(LeaseLost) as lost:
        await renewing
    assert not isinstance(lost.value, DatabaseReverted)
    assert lease.epoch is None


async def test_nobody_takes_over_in_the_middle_of_a_commit(database: Database, look: psycopg.AsyncConnection) -> None:
    first, second = Lease(database, "first"), Lease(database, "second")
    fence = await first.acquire()
    assert fence is not None
    await expire(look)

    async with fence.transaction("relay"):
        assert await epoch(second) is None

    assert await epoch(second) == 2


async def test_the_parts_of_a_holder_may_commit_at_once_and_it_may_renew(database: Database) -> None:
    lease = Lease(database, "first")
    fence = await lease.acquire()
    assert fence is not None

    async with fence.transaction("reconciler"), fence.transaction("relay"):
        pass
    await lease.renew()


@pytest.mark.parametrize("pipeline", [False, True])
async def test_a_holder_frozen_in_a_transaction_keeps_others_out_for_seconds_only(
    database: Database, look: psycopg.AsyncConnection, *, pipeline: bool
) -> None:
    first, second = Lease(database, "first"), Lease(database, "second")
    fence = await first.acquire()
    assert fence is not None
    await expire(look)

    async def freezes_and_wakes() -> None:
        async with fence.transaction("reconciler") as connection:
            if pipeline:
                # What the driver sends at its end makes PostgreSQL forget the idle timeout.
                async with connection.pipeline():
                    await connection.execute("SELECT 1")
            async with asyncio.timeout(30):
                while await second.acquire() is None:
                    pass
            await connection.execute("SELECT 1")

    with pytest.raises(DatabaseUnavailable, match="terminating connection"):
        await freezes_and_wakes()

    assert second.epoch == 2


async def test_a_holder_that_renewed_is_never_ended(database: Database) -> None:
    first = Lease(database, "first", ttl_seconds=60)
    fence = await first.acquire()
    assert fence is not None
    await first.renew()

    async with fence.transaction("reconciler") as connection, database.transaction() as other:
        # As old as a frozen one, and never idle.
        old = "SELECT clock_timestamp() > now() + interval '6 s'"
        while await (await connection.execute(old)).fetchone() != (True,):
            pass
        await other.execute(queries("lease")["end_frozen"])
        await connection.execute("SELECT 1")


async def test_a_database_that_is_away_is_not_a_lost_lease(outage_postgres: OutagePostgres) -> None:
    async with connected(outage_postgres.database_dsn) as database:
        lease = Lease(database, "first")
        await lease.acquire()
        outage_postgres.stop()

        with pytest.raises(DatabaseUnavailable):
            await lease.renew()

        assert lease.epoch == 1
        outage_postgres.start()
        await until_available(lease.renew, seconds=30)


# An older copy of the database


async def put_back(look: psycopg.AsyncConnection, table: str, column: str, value: str) -> None:
    """Makes a number what it was, as files that are put back do."""
    await look.execute(f"UPDATE dict_rate_limit_{table} SET {column} = {value}")


@pytest.mark.parametrize("part", ["reconciler", "relay"])
async def test_who_finds_fewer_commits_than_it_made_commits_nothing(
    database: Database, look: psycopg.AsyncConnection, part: Component
) -> None:
    fence = await Lease(database, "first").acquire()
    assert fence is not None
    for _ in range(2):
        async with fence.transaction(part):
            pass

    await put_back(look, "commits", "commits", "1")

    with pytest.raises(DatabaseReverted, match=f"the {part} has committed 2 times, and it says 1"):
        async with fence.transaction(part) as connection:
            await connection.execute("UPDATE dict_rate_limit_lease SET holder = 'nobody'")
    assert await (await look.execute("SELECT holder FROM dict_rate_limit_lease")).fetchone() == ("first",)


async def test_who_takes_the_lease_knows_how_often_others_committed(
    database: Database, look: psycopg.AsyncConnection
) -> None:
    await put_back(look, "commits", "commits", "700")
    fence = await Lease(database, "first").acquire()
    assert fence is not None

    await put_back(look, "commits", "commits", "699")

    with pytest.raises(DatabaseReverted):
        async with fence.transaction("relay"):
            pass


async def test_a_commit_that_failed_is_none_that_was_lost(database: Database) -> None:
    fence = await Lease(database, "first").acquire()
    assert fence is not None

    with pytest.raises(StoreError):
        async with fence.transaction("relay") as connection:
            await connection.execute("SELECT 1 / 0")

    async with fence.transaction("relay"):
        pass


async def test_who_finds_fewer_renewals_than_it_made_holds_no_lease(
    database: Database, look: psycopg.AsyncConnection
) -> None:
    lease = Lease(database, "first")
    await lease.acquire()
    await lease.renew()

    await put_back(look, "lease", "renewals", "1")

    with pytest.raises(DatabaseReverted):
        await lease.renew()
    assert lease.epoch is None


@pytest.mark.parametrize("before", ["epoch = 0, holder = NULL", "epoch = 1, holder = 'second'"])
async def test_a_lease_of_the_time_before_it_was_taken_is_that_of_an_older_copy(
    database: Database, look: psycopg.AsyncConnection, before: str
) -> None:
    lease = Lease(database, "first")
    fence = await lease.acquire()
    assert fence is not None

    await look.execute(f"UPDATE dict_rate_limit_lease SET {before}")

    with pytest.raises(DatabaseReverted):
        async with fence.transaction("reconciler"):
            pass
    with pytest.raises(DatabaseReverted):
        await lease.renew()
