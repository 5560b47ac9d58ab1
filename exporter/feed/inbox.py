"""Polls that wait to be reconciled, bounded, the oldest dropped first: the inbox, and the feed within one process."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter

from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category, Poll
from exporter.feed.backlog import Deflation
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import Report, carried_poll, poll_of
from exporter.store.writer import LastPoll

log = logging.getLogger(__name__)

ROOM = 256
"""Polls that may wait here before feeds are held up, which keep what follows in much less memory."""


@dataclass(slots=True)
class Overflow:
    """Counts polls that a full queue had to drop, also in ``counter`` by reason; logs once until there is room."""

    capacity: int
    counter: Counter | None = None
    polls: int = 0
    _is_full: bool = False

    def drop(self) -> None:
        self.polls += 1
        if self.counter is not None:
            self.counter.labels("queue_full").inc()
        if not self._is_full:
            log.error("poll queue is full, dropping the oldest", extra={"capacity": self.capacity})
        self._is_full = True

    def end(self) -> None:
        """Notes that there is room again."""
        self._is_full = False


class Inbox:
    """Polls in order of arrival, at most ``capacity``.

    What was taken stays in the queue until ``done``: a commit that failed is tried again with the same polls.
    """

    def __init__(self, capacity: int, dropped: Counter | None = None, *, room: int = ROOM) -> None:
        self.overflow = Overflow(capacity, dropped)
        self._polls: deque[Poll] = deque()
        self._capacity = capacity
        self._enough = min(capacity // 2, room)
        self._arrived = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._polls)

    def put(self, poll: Poll) -> None:
        self._polls.append(poll)
        self._arrived.set()
        if len(self._polls) > self._enough:
            self._has_room.clear()
        if len(self._polls) > self._capacity:
            self._polls.popleft()
            self.overflow.drop()

    async def take(self, most: int) -> list[Poll]:
        """Returns the oldest polls, at least one and at most ``most``; they stay queued until ``done``."""
        while not self._polls:
            self._arrived.clear()
            await self._arrived.wait()
        return [self._polls[i] for i in range(min(most, len(self._polls)))]

    def done(self, polls: list[Poll]) -> None:
        """Removes polls that were taken (those that overflow has not dropped meanwhile)."""
        taken = {id(poll) for poll in polls}
        while self._polls and id(self._polls[0]) in taken:
            self._polls.popleft()
        self._update_room()

    def clear(self) -> None:
        self._polls.clear()
        self._update_room()

    async def room(self) -> None:
        """Waits until no more than half of the queue is used, nor more than ``ROOM``."""
        await self._has_room.wait()

    def _update_room(self) -> None:
        if len(self._polls) < self._capacity:
            self.overflow.end()
        if len(self._polls) <= self._enough:
            self._has_room.set()


@dataclass(slots=True)
class _Kept:
    """``poll`` is there until it is handed over, so that the exporter and the reconciler share it."""

    stream_id: str
    sequence: int
    participant: Ispb
    polled_at: datetime
    deflated: bytes
    poll: Poll | None

    def is_needed(self, last: LastPoll | None) -> bool:
        """Returns whether a reconciler must see it, where ``last`` is the participant's last in the database."""
        return last is None or self.stream_id != last.stream_id or self.sequence > last.stale_sequence

    def is_ahead_of(self, last: LastPoll | None) -> bool:
        return last is None or self.polled_at > last.polled_at


class LocalFeed:
    """Hands this process's own polls to its reconciler, and keeps the last ``capacity`` of them, committed or not.

    While the database is away they wait here, reads only as long as half of the room is free. A reconciler that takes
    up its work goes on from where the database stands, so that polls that a database lost by becoming an older copy of
    itself are written once more: ``last_polls`` returns where it stood when this process began to lead, and waits for
    that. ``dropped`` counts polls that had to go before the reconciler had them.
    """

    stream_id = ""
    """No sequences are reported: nothing counts them here."""

    def __init__(
        self,
        inbox: Inbox,
        last_polls: Callable[[], Awaitable[Mapping[Ispb, LastPoll]]],
        *,
        capacity: int,
        dropped: Counter | None = None,
    ) -> None:
        self.learn_category: Callable[[Ispb, Category], None] = lambda *_: None
        """Takes over categories that the database knows and the exporter does not."""
        self.overflow = Overflow(capacity, dropped)
        self._inbox = inbox
        self._last_polls = last_polls
        self._capacity = capacity
        self._deflation = Deflation()
        self._polls: deque[_Kept] = deque()
        self._handed = 0
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._polls)

    @property
    def waiting(self) -> int:
        """How many polls the reconciler did not have yet."""
        return len(self._polls) - self._handed

    def report(self, report: Report) -> None:
        """Passes on categories that the exporter does not know."""
        for participant, category in report.categories.items():
            self.learn_category(participant, category)

    def owns(self, _participant: str) -> bool:
        return True

    def put(self, poll: Poll) -> None:
        if poll.is_read and self.waiting > self._capacity // 2:
            return
        deflated = self._deflation.deflated(poll)
        shared = poll if self.waiting < ROOM else None
        self._polls.append(_Kept(poll.stream_id, poll.sequence, poll.participant, poll.polled_at, deflated, shared))
        self._arrived.set()
        if len(self._polls) > self._capacity:
            self._polls.popleft()
            if self._handed:
                self._handed -= 1
            else:
                self.overflow.drop()

    async def run(self) -> None:
        """Hands polls to the inbox, except those of which nothing can be seen any more: see ``LastPoll``."""
        self._handed = 0
        last_polls = await self._last_polls()
        while True:
            await self._inbox.room()
            if self._handed < len(self._polls):
                kept = self._polls[self._handed]
                self._handed += 1
                shared, kept.poll = kept.poll, None
                if kept.is_needed(last_polls.get(kept.participant)):
                    self._inbox.put(shared or self._inflated(kept))
            else:
                self.overflow.end()
                self._arrived.clear()
                await self._arrived.wait()

    def trim(self, last_polls: Mapping[Ispb, LastPoll]) -> None:
        """Keeps only the polls after those that another reconciler has committed."""
        self._polls = deque(kept for kept in self._polls if kept.is_ahead_of(last_polls.get(kept.participant)))
        self._handed = 0

    def _inflated(self, kept: _Kept) -> Poll:
        message = feed_pb2.FromExporter.FromString(self._deflation.inflated(kept.deflated))
        return poll_of(carried_poll(message), kept.stream_id)
