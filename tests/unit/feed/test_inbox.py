"""Polls wait in order, at most so many, until they are committed; a process's own are kept longer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.observation import Category
from exporter.feed.inbox import ROOM, Inbox, LocalFeed
from exporter.feed.wire import Report
from exporter.store.writer import LastPoll
from tests.support.builders import PARTICIPANT, at, bucket, failed, poll, read
from tests.support.conditions import until
from tests.support.logs import logged

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.buckets.observation import Poll


class Queue:
    """An inbox with these polls put, by their numbers, and how many it dropped."""

    def __init__(self, *numbers: int, capacity: int = 4) -> None:
        self.inbox = Inbox(capacity)
        self.put(*numbers)

    @property
    def dropped(self) -> int:
        return self.inbox.overflow.polls

    def put(self, *numbers: int) -> None:
        for number in numbers:
            self.inbox.put(poll(sequence=number))

    async def take(self, most: int = 100) -> list[Poll]:
        return await self.inbox.take(most)

    async def waiting(self) -> list[int]:
        return [made.sequence for made in await self.take()]


async def waits(queue: Queue) -> bool:
    """Returns whether ``room`` does not return at once."""
    waiting = asyncio.create_task(queue.inbox.room())
    await asyncio.sleep(0)
    try:
        return not waiting.done()
    finally:
        waiting.cancel()


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 3])])
async def test_the_oldest_polls_are_taken_and_at_most_as_many_as_asked_for(most: int, expected: list[int]) -> None:
    queue = Queue(1, 2, 3)

    assert [made.sequence for made in await queue.take(most)] == expected


async def test_taking_waits_until_there_is_a_poll() -> None:
    queue = Queue()
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not taking.done()

    queue.put(1)

    assert [made.sequence for made in await asyncio.wait_for(taking, 5)] == [1]


async def test_taking_waits_again_when_all_is_done() -> None:
    queue = Queue(1)
    queue.inbox.done(await queue.take())
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not taking.done()

    queue.put(2)

    assert [made.sequence for made in await asyncio.wait_for(taking, 5)] == [2]


async def test_what_was_taken_is_taken_again_until_it_is_done() -> None:
    queue = Queue(1, 2, 3)
    first = await queue.take(2)

    assert await queue.take(2) == first

    queue.inbox.done(first)
    assert await queue.waiting() == [3]
    assert len(queue.inbox) == 1


async def test_polls_that_are_done_twice_take_no_others_with_them() -> None:
    queue = Queue(1, 2)
    first = await queue.take(1)

    queue.inbox.done(first)
    queue.inbox.done(first)

    assert await queue.waiting() == [2]


async def test_polls_that_look_the_same_are_done_one_by_one() -> None:
    queue = Queue(1, 1)

    queue.inbox.done(await queue.take(1))

    assert len(queue.inbox) == 1


@pytest.mark.parametrize(
    ("numbers", "expected", "dropped"),
    [([1, 2, 3], [1, 2, 3], 0), ([1, 2, 3, 4], [2, 3, 4], 1), ([1, 2, 3, 4, 5], [3, 4, 5], 2)],
    ids=["exactly full", "one beyond", "two beyond"],
)
async def test_beyond_its_capacity_the_oldest_are_dropped_and_counted(numbers, expected, dropped) -> None:
    queue = Queue(*numbers, capacity=3)

    assert await queue.waiting() == expected
    assert len(queue.inbox) == 3
    assert queue.dropped == dropped


async def test_what_overflow_dropped_meanwhile_does_not_take_others_with_it_when_done() -> None:
    queue = Queue(1, 2, 3, capacity=3)
    taken = await queue.take(2)
    queue.put(4)

    queue.inbox.done(taken)

    assert await queue.waiting() == [3, 4]
    assert queue.dropped == 1


async def test_an_overflow_is_logged_once_until_there_was_room_again(caplog) -> None:
    queue = Queue(1, 2, 3, 4, capacity=2)
    assert logged(caplog, "capacity") == [("poll queue is full, dropping the oldest", 2)]

    queue.inbox.done(await queue.take(1))
    queue.put(5)
    assert len(caplog.records) == 1
    queue.put(6)

    assert len(caplog.records) == 2


async def test_a_full_queue_of_which_nothing_is_done_has_had_no_room(caplog) -> None:
    queue = Queue(1, 2, 3, capacity=2)

    queue.inbox.done([])
    queue.put(4)

    assert len(caplog.records) == 1


@pytest.mark.parametrize(("polls", "expected"), [(0, False), (2, False), (3, True), (4, True), (5, True)])
async def test_there_is_room_while_no_more_than_half_of_the_queue_is_used(polls: int, expected: bool) -> None:  # noqa: FBT001
    assert await waits(Queue(*range(polls), capacity=4)) is expected


async def test_there_is_room_again_as_soon_as_half_of_the_queue_is_free() -> None:
    queue = Queue(1, 2, 3, 4, capacity=4)

    queue.inbox.done(await queue.take(1))
    assert await waits(queue)
    queue.inbox.done(await queue.take(1))

    assert not await waits(queue)


async def test_a_cleared_inbox_is_empty_and_has_room() -> None:
    queue = Queue(1, 2, 3, 4, capacity=4)

    queue.inbox.clear()

    assert len(queue.inbox) == 0
    assert not await waits(queue)
    queue.put(5)
    assert await queue.waiting() == [5]


steps = st.lists(st.just("put") | st.just("take") | st.just("done") | st.just("retry"), max_size=60)


@given(steps, st.integers(1, 5), st.integers(1, 5))
def test_each_poll_is_done_once_and_in_order_or_counted_as_dropped(plan, capacity: int, most: int) -> None:
    async def run() -> None:
        queue, put, done = Queue(capacity=capacity), 0, []
        taken: list[Poll] = []
        for step in [*plan, "retry", *["take", "done"] * capacity]:
            if step == "put":
                put += 1
                queue.put(put)
            elif step == "take" and not taken and len(queue.inbox):
                taken = await queue.take(most)
            elif step == "done":
                queue.inbox.done(taken)
                done += [made.sequence for made in taken]
                taken = []
            elif step == "retry":
                taken = []
            assert len(queue.inbox) <= capacity

        assert done == sorted(set(done))
        assert put - len(done) <= queue.dropped <= put
        assert len(queue.inbox) == 0

    asyncio.run(run())


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


async def test_a_read_is_the_same_when_it_is_handed_again() -> None:
    made = read(bucket(1), seconds=5, sequence=1)
    fed = Fed()
    fed.feed.put(made)

    for _ in range(2):
        async with fed.led(1):
            assert await fed.taken() == [made]


async def test_reads_are_not_kept_while_more_than_half_of_the_room_is_used() -> None:
    fed = Fed(1, 2, capacity=4)
    for sequence in (3, 4):
        fed.feed.put(read(bucket(1), seconds=30 + sequence, sequence=sequence))
    fed.put(5)

    async with fed.led(4):
        assert await fed.numbers() == [1, 2, 3, 5]
    assert fed.dropped == 0


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
