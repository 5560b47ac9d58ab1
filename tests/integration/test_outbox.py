"""The outbox: which sequence ids events are given."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pytest

from exporter.store.outbox import DeliveryResults, Refused
from tests.support.relaying import Stage, staged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.store.outbox import OutboxRow

pytestmark = pytest.mark.postgres


@pytest.fixture
async def stage(database_dsn: str) -> AsyncIterator[Stage]:
    async with staged(database_dsn) as made:
        yield made


async def take(stage: Stage, producer: str = "this", **given: object) -> list[OutboxRow]:
    return await stage.outbox.take(50, stage.fence, producer=producer, **given)


async def commit_receipts(stage: Stage, results: DeliveryResults) -> None:
    await stage.outbox.commit_receipts(results, stage.fence)


async def test_a_sequence_id_is_never_given_to_another_event(stage: Stage) -> None:
    stage.write(1, 2, 3)
    first, second, third = await take(stage)

    await commit_receipts(
        stage, DeliveryResults(refused=[Refused(first.id, "no receipt", dead=False)], unsent=[second.id, third.id])
    )
    others = await take(stage, quarantined=[first.fingerprint])

    # The broker may have been slow only: an event with a reused id would be dropped as a repeat of the other.
    assert [row.sequence_id for row in (first, second, third)] == [1, 2, 3]
    assert [(row.id, row.sequence_id, row.sent_before) for row in others] == [
        (second.id, 4, False),
        (third.id, 5, False),
    ]
    assert [(row.id, row.sequence_id) for row in await take(stage)][-1] == (first.id, 6)


async def test_what_was_taken_before_keeps_its_id_and_comes_first(stage: Stage) -> None:
    stage.write(1, 2)
    before = await take(stage)
    stage.write(3)

    rows = await take(stage)

    assert [(row.id, row.sequence_id, row.sent_before) for row in rows] == [
        (before[0].id, 1, True),
        (before[1].id, 2, True),
        (before[1].id + 1, 3, False),
    ]


async def test_another_producer_gives_ids_of_its_own(stage: Stage) -> None:
    stage.write(1, 2)
    await take(stage)

    rows = await take(stage, "that")

    assert [(row.sequence_id, row.sent_before) for row in rows] == [(3, False), (4, False)]


async def test_a_changed_installation_id_is_another_one(stage: Stage) -> None:
    before = await stage.outbox.installation_id()

    await stage.outbox.change_installation_id(stage.fence)

    assert await stage.outbox.installation_id() not in (before, UUID(int=0))


async def test_what_is_published_is_not_given_again_and_goes_when_it_is_old(stage: Stage) -> None:
    stage.write(1, 2, 3)
    ids = [row.id for row in await take(stage)]

    await commit_receipts(stage, DeliveryResults(published=ids))

    assert await take(stage) == []
    assert await stage.outbox.prune(3600, stage.fence) == 0
    # The last that was given a sequence id stays, and says so.
    assert await stage.outbox.prune(0, stage.fence) == 2
    assert [row["id"] for row in stage.rows("published")] == ids[-1:]
    assert await stage.outbox.highest_sequence_id() == 3


async def test_a_database_whose_rows_were_restored_has_another_identity(stage: Stage, superuser_dsn: str) -> None:
    before = await stage.outbox.installation_id()
    assert await stage.outbox.installation_id() == before

    with psycopg.connect(superuser_dsn) as connection:
        connection.execute("UPDATE dict_rate_limit_installation SET id = id")  # the same value, written anew

    assert await stage.outbox.installation_id() != before
