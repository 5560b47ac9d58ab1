"""The feed within one process: from its exporter to its reconciler."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter

from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category, Poll
from exporter.feed.backlog import Deflation, Stream
from exporter.feed.inbox import ROOM, Inbox, Overflow
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import Report, poll_of
from exporter.store.writer import LastPoll


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

    While the database is away they wait here. A reconciler that takes up its
    work goes on from where the database stands, so that polls that a database
    lost by becoming an older copy of itself are written once more: ``last_polls`` returns
    where it stood when this process began to lead, and waits for that. ``dropped``
    counts polls that had to go before the reconciler had them.
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

    def stream(self) -> Stream:
        """Returns a new stream, for an exporter that begins to poll."""
        return Stream(self.put)

    def report(self, report: Report) -> None:
        """Passes on categories that the exporter does not know."""
        for participant, category in report.categories.items():
            self.learn_category(participant, category)

    def owns(self, _participant: str) -> bool:
        return True

    def put(self, poll: Poll) -> None:
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
        """Hands polls to the inbox, but for those of which the database knows, and whose figures are stale."""
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
        return poll_of(message.poll, kept.stream_id)
