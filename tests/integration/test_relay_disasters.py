"""The relay after a crash, and after its database was restored from an older copy."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.conditions import until
from tests.support.relaying import Stage, staged
from tests.support.topic import arrived, subscribe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.broker import PulsarLite, PulsarServer
    from tests.support.postgres import OutagePostgres

pytestmark = [pytest.mark.postgres, pytest.mark.broker]

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def stage(database_dsn: str) -> AsyncIterator[Stage]:
    async with staged(database_dsn) as made:
        yield made


@pytest.mark.pulsar
async def test_killing_the_relay_at_random_moments_loses_and_repeats_nothing(
    stage: Stage, pulsar_server: PulsarServer
) -> None:
    topic = pulsar_server.topic(deduplication=True)

    await killed_again_and_again(stage, pulsar_server.url, topic)

    messages = await asyncio.to_thread(arrived, pulsar_server.url, topic)
    assert [message.body["number"] for message in messages] == list(range(1, 901))


async def test_killing_the_relay_repeats_events_only_with_the_same_id(stage: Stage, pulsar_lite: PulsarLite) -> None:
    topic = pulsar_lite.topic()
    await asyncio.to_thread(subscribe, pulsar_lite.url, topic)

    await killed_again_and_again(stage, pulsar_lite.url, topic)

    messages = await asyncio.to_thread(arrived, pulsar_lite.url, topic)
    assert len(messages) > 900
    first_seen: dict[str, int] = {}
    for message in messages:
        assert first_seen.setdefault(message.event_id, message.body["number"]) == message.body["number"]
    assert list(first_seen.values()) == list(range(1, 901))


@pytest.mark.pulsar
async def test_a_database_restored_from_a_dump_is_a_new_producer_whose_events_arrive(
    outage_postgres: OutagePostgres, pulsar_server: PulsarServer, tmp_path: Path
) -> None:
    topic, dump = pulsar_server.topic(deduplication=True), tmp_path / "dump"
    whole = f"{outage_postgres.dsn} dbname=dict_rate_limit"

    before = await publish(outage_postgres, pulsar_server, topic, 1, 2, 3)
    run(outage_postgres, "pg_dump", "--format=custom", f"--file={dump}", whole)
    await publish(outage_postgres, pulsar_server, topic, 4, 5, 6)
    with psycopg.connect(whole, autocommit=True) as connection:
        connection.execute("DROP OWNED BY dict_rate_limit_migrator")
    run(outage_postgres, "pg_restore", "--single-transaction", f"--dbname={whole}", str(dump))
    after = await publish(outage_postgres, pulsar_server, topic, 7, 8, 9)

    messages = await asyncio.to_thread(arrived, pulsar_server.url, topic)
    assert [message.body["number"] for message in messages] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert before != after


@pytest.mark.pulsar
async def test_a_database_whose_files_were_put_back_is_a_new_producer_whose_events_arrive(
    outage_postgres: OutagePostgres, pulsar_server: PulsarServer, tmp_path: Path
) -> None:
    topic, copy = pulsar_server.topic(deduplication=True), tmp_path / "copy"

    before = await publish(outage_postgres, pulsar_server, topic, 1, 2, 3)
    outage_postgres.stop("fast")
    outage_postgres.put_away(copy)
    outage_postgres.start()
    await publish(outage_postgres, pulsar_server, topic, 4, 5, 6)
    outage_postgres.stop("fast")
    outage_postgres.put_back(copy)
    outage_postgres.start()
    after = await publish(outage_postgres, pulsar_server, topic, 7, 8, 9)

    messages = await asyncio.to_thread(arrived, pulsar_server.url, topic)
    assert [message.body["number"] for message in messages] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    # Only the broker tells such a copy from the original: it has ids that the copy never gave.
    assert [message.body["sequence"] for message in messages] == [1, 2, 3, 4, 5, 6, 4, 5, 6]
    assert before != after


async def killed_again_and_again(stage: Stage, url: str, topic: str) -> None:
    """Relays 900 events in a process that is killed at random moments, eight times, and then left alone."""
    chance = random.Random(8)
    stage.release()
    for life in range(9):
        stage.write(*range(100 * life + 1, 100 * life + 101), alerts=7)
        published = len(stage.rows("published"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.support.relaying", stage.dsn, url, topic, cwd=ROOT
        )
        try:
            await until(lambda so_far=published: len(stage.rows("published")) > so_far)
            if life == 8:
                await stage.until_all_published()
            else:
                await asyncio.wait([asyncio.create_task(process.wait())], timeout=chance.uniform(0, 0.1))
        finally:
            process.kill()
            await process.wait()


async def publish(database: OutagePostgres, broker: PulsarServer, topic: str, *numbers: int) -> object:
    """Writes and relays events; returns the database's identity."""
    async with staged(database.database_dsn) as stage:
        stage.write(*numbers)
        async with stage.relaying(broker.url, topic):
            await stage.until_all_published()
        return await stage.outbox.installation_id()


def run(database: OutagePostgres, program: str, *arguments: str) -> None:
    path = database._bin / program
    subprocess.run([str(path if path.exists() else program), *arguments], check=True)
