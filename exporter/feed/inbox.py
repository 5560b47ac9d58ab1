"""Polls that wait to be reconciled: bounded, the oldest dropped first."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from exporter.alerts.alert import Severity, Transition
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Category, Poll

log = logging.getLogger(__name__)

ROOM = 256
"""Polls that may wait here before feeds are held up, which keep what follows in much less memory."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a reconciler has committed, for the exporter's counters.

    ``sequence`` is the last poll's (0: none of this stream). ``series`` are the
    (severity, per policy) that loaded rules can produce; None: as told before.
    ``outbox_oldest_age_seconds`` is None where nothing waits. ``categories`` are those of which the database
    knows more than the exporter, which has started since.
    """

    sequence: int = 0
    transitions: tuple[Transition, ...] = ()
    series: Collection[tuple[Severity, bool]] | None = None
    outbox_pending: int | None = None
    outbox_oldest_age_seconds: float | None = None
    categories: Mapping[Ispb, Category] = field(default_factory=dict)


class Inbox:
    """Polls in order of arrival. At most ``capacity``; ``dropped`` is told of each poll that had to go.

    What was taken stays in the queue until ``done``: a commit that failed is
    tried again with the same polls.
    """

    def __init__(self, capacity: int, dropped: Callable[[int], None]) -> None:
        self._polls: deque[Poll] = deque()
        self._capacity = capacity
        self._enough = min(capacity // 2, ROOM)
        self._dropped = dropped
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._full = False

    def __len__(self) -> int:
        return len(self._polls)

    def put(self, poll: Poll) -> None:
        self._polls.append(poll)
        self._arrived.set()
        if len(self._polls) > self._enough:
            self._room.clear()
        if len(self._polls) > self._capacity:
            self._polls.popleft()
            self._dropped(1)
            if not self._full:
                log.error("the queue of polls is full (%d): the oldest are dropped", self._capacity)
            self._full = True

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
        self._settle()

    def clear(self) -> None:
        self._polls.clear()
        self._settle()

    async def room(self) -> None:
        """Waits until no more than half of the queue is used, nor more than ``ROOM``."""
        await self._room.wait()

    def _settle(self) -> None:
        self._full = len(self._polls) >= self._capacity
        if len(self._polls) <= self._enough:
            self._room.set()
