"""Polls wait in order, at most so many, until they are committed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.feed.inbox import Inbox
from tests.support.builders import poll
from tests.support.logs import logged

if TYPE_CHECKING:
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
