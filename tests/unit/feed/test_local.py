"""A process's own polls reach its reconciler, and are kept for a database that loses them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from exporter.buckets.observation import Category
from exporter.feed.inbox import ROOM, Inbox
from exporter.feed.local import LocalFeed
from exporter.feed.wire import Report
from exporter.store.writer import LastPoll
from tests.support.builders import PARTICIPANT, at, bucket, failed, poll
from tests.support.conditions import until
from tests.support.logs import logged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.buckets.observation import Poll


def last(sequence: int, stream_id: str = "stream", *, stale: int = 0, seconds: float = 0) -> LastPoll:
    """Where the database stands."""
    return LastPoll(PARTICIPANT, at(seconds), stream_id, sequence, stale_sequence=stale)


class Fed:
    """A feed with these polls put, by their numbers, one each 15 seconds, and where the database stands."""

    def __init__(self, *numbers: int, capacity: int = 100, known: LastPoll | None = None, room: int = ROOM) -> None:
        self.known = known
        self.inbox = Inbox(1000, room=room)
        self.feed = LocalFeed(self.inbox, self.last_polls, capacity=capacity)
        self.put(*numbers)

    @property
    def dropped(self) -> int:
        return self.feed.overflow.polls

    def put(self, *numbers: int, stream_id: str = "stream") -> None:
        for number in numbers:
            self.feed.put(self.poll(number, stream_id))

    @staticmethod
    def poll(number: int, stream_id: str = "stream") -> Poll:
        return poll(bucket(number), seconds=15 * number, sequence=number, stream_id=stream_id)

    async def taken(self) -> list[Poll]:
        return await self.inbox.take(1000) if len(self.inbox) else []

    async def numbers(self) -> list[int]:
        return [made.sequence for made in await self.taken()]

    @asynccontextmanager
    async def led(self, polls: int) -> AsyncIterator[None]:
        """Leads with an inbox that begins empty, until so many polls are in it."""
        self.inbox.clear()
        task = asyncio.create_task(self.feed.run())
        try:
            await until(lambda: len(self.inbox) >= polls)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def last_polls(self) -> dict:
        return {PARTICIPANT: self.known} if self.known else {}


async def test_polls_arrive_as_they_were_made_and_in_order() -> None:
    fed = Fed(1, 2)
    lost = failed(45, sequence=3)

    async with fed.led(2):
        fed.feed.put(lost)
        await until(lambda: len(fed.inbox) == 3)
        polls = await fed.taken()

    assert polls == [fed.poll(1), fed.poll(2), lost]


async def test_a_poll_is_shared_with_the_exporter_and_the_same_when_it_is_handed_again() -> None:
    fed = Fed()
    made = fed.poll(1)
    fed.feed.put(made)

    async with fed.led(1):
        (first,) = await fed.taken()
    async with fed.led(1):
        (second,) = await fed.taken()

    assert first is made
    assert second == made
    assert second is not made


async def test_of_polls_that_wait_only_some_are_kept_as_they_are() -> None:
    made = [Fed.poll(number) for number in range(1, ROOM + 2)]
    fed = Fed(capacity=1000)
    for each in made:
        fed.feed.put(each)

    async with fed.led(ROOM + 1):
        polls = await fed.taken()

    assert polls == made
    assert [number for number, (a, b) in enumerate(zip(polls, made, strict=True)) if a is not b] == [ROOM]


async def test_a_reconciler_that_begins_again_is_handed_what_the_database_lost() -> None:
    fed = Fed(1, 2, 3, 4)
    async with fed.led(4):
        pass
    fed.known = last(2, stale=2)

    async with fed.led(2):
        assert await fed.numbers() == [3, 4]


async def test_a_database_that_knows_nothing_of_a_stream_is_handed_all_of_it() -> None:
    fed = Fed(1, 2, known=last(700, "another", stale=700))

    async with fed.led(2):
        assert await fed.numbers() == [1, 2]


async def test_what_another_has_gone_past_is_forgotten_and_what_follows_is_kept() -> None:
    fed = Fed(1, 2, 3)

    fed.feed.trim({PARTICIPANT: last(9, "another", seconds=30)})

    async with fed.led(1):
        assert await fed.numbers() == [3]


async def test_what_no_other_has_gone_past_waits_until_this_process_leads_again() -> None:
    fed = Fed(1, 2)

    fed.feed.trim({PARTICIPANT: last(9, "another", seconds=14)})

    fed.put(1, stream_id="next")
    async with fed.led(3):
        assert [(p.stream_id, p.sequence) for p in await fed.taken()] == [("stream", 1), ("stream", 2), ("next", 1)]


async def test_beyond_its_capacity_the_oldest_are_dropped_and_counted_and_told_once(caplog) -> None:
    fed = Fed(1, 2, 3, 4, 5, capacity=3)

    assert fed.dropped == 2
    assert logged(caplog, "capacity") == [("poll queue is full, dropping the oldest", 3)]
    async with fed.led(3):
        assert await fed.numbers() == [3, 4, 5]


async def test_what_the_reconciler_had_is_not_counted_when_it_goes() -> None:
    fed = Fed(1, 2, 3, capacity=3)
    async with fed.led(3):
        pass

    fed.put(4, 5)

    assert fed.dropped == 0
    assert (len(fed.feed), fed.feed.waiting) == (3, 2)


async def test_a_full_inbox_holds_the_feed_up_and_loses_nothing() -> None:
    fed = Fed(*range(1, 11), room=2)

    async with fed.led(3):
        seen = []
        while len(seen) < 10:
            assert len(fed.inbox) <= 3
            polls = await fed.taken()
            seen += [made.sequence for made in polls]
            fed.inbox.done(polls)
            await asyncio.sleep(0)

    assert seen == list(range(1, 11))


@pytest.mark.parametrize("polls", [0, 3])
def test_what_waits_is_what_the_reconciler_did_not_have(polls: int) -> None:
    assert Fed(*range(polls)).feed.waiting == polls


def test_what_the_database_knows_of_a_category_is_handed_on() -> None:
    learned: list[object] = []

    feed = Fed().feed
    feed.learn_category = lambda *category: learned.append(category)

    feed.report(Report(sequence=3, categories={PARTICIPANT: Category("A")}))
    feed.report(Report(sequence=4))

    assert learned == [(PARTICIPANT, Category("A"))]
