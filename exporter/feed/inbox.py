"""Polls that wait to be reconciled: bounded, the oldest dropped first."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass

from prometheus_client import Counter

from exporter.buckets.observation import Poll

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

    What was taken stays in the queue until ``done``: a commit that failed is
    tried again with the same polls.
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
