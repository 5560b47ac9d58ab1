"""What each side of the feed keeps for the other: an exporter its polls, a reconciler its reports."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from uuid import uuid4

from exporter.buckets.observation import Poll
from exporter.feed.wire import Report, feed_message


class Stream:
    """Numbers the polls of one start of the exporter, and hands them to the listeners in this process."""

    def __init__(self, *listeners: Callable[[Poll], None]) -> None:
        self.stream_id = str(uuid4())
        self._listeners = listeners
        self._sequence = 0

    def next_sequence(self) -> int:
        self._sequence += 1
        return self._sequence

    def publish(self, poll: Poll) -> None:
        for listener in self._listeners:
            listener(poll)


class Deflation:
    """Makes polls small: one of 31 buckets takes 0.5 to 1 KB, a read 0.1 KB."""

    def __init__(self) -> None:
        self._example = b""

    def deflated(self, poll: Poll) -> bytes:
        message = feed_message(poll).SerializeToString()
        if not self._example and poll.answered and not poll.is_read:
            self._example = message
        # Polls are much alike: with one of them as dictionary they take half of what they take without.
        deflate = zlib.compressobj(1, zdict=self._example) if self._example else zlib.compressobj(1)
        return deflate.compress(message) + deflate.flush()

    def inflated(self, deflated: bytes) -> bytes:
        """Returns the FromExporter message of a poll."""
        return zlib.decompressobj(zdict=self._example).decompress(deflated)


class Backlog:
    """The polls of the last ``keep_seconds``, deflated."""

    def __init__(self, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._polls: deque[tuple[int, datetime, str, bytes]] = deque()
        self._dropped_to = 0
        self.deflation = Deflation()
        self._arrived = asyncio.Event()

    def put(self, poll: Poll) -> None:
        self._polls.append((poll.sequence, poll.polled_at, poll.participant, self.deflation.deflated(poll)))
        while (poll.polled_at - self._polls[0][1]).total_seconds() > self._keep_seconds:
            self._dropped_to = self._polls.popleft()[0]
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()

    def gap_after(self, sequence: int) -> tuple[int, int] | None:
        """Returns the polls after ``sequence`` that are no longer kept, both ends included."""
        return (sequence + 1, self._dropped_to) if sequence < self._dropped_to else None

    def after(self, sequence: int) -> list[tuple[int, str, bytes]]:
        """Returns ``(sequence, participant, deflated)`` of the polls after ``sequence``, in order.

        Searches from the newest backwards: a follower is usually close behind.
        """
        newer = takewhile(lambda kept: kept[0] > sequence, reversed(self._polls))
        return [(polled, participant, deflated) for polled, _, participant, deflated in newer][::-1]

    async def wait(self, timeout_seconds: float) -> bool:
        """Returns whether a poll arrived within the time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                return await self._arrived.wait()
        return False


class ReportQueue:
    """Reports that wait to be sent to one exporter. ``latest`` is the last state of all that is no transition."""

    def __init__(self) -> None:
        self.latest = Report()
        self._reports: deque[Report] = deque()
        self._changed = asyncio.Event()

    def put(self, report: Report, *, connected: bool) -> None:
        """Queues a report. While the exporter is away only transitions are: of the rest the latest state is enough."""
        if report.series is not None:
            self.latest = replace(self.latest, series=report.series)
        if report.outbox_pending is not None:
            pending, age_seconds = report.outbox_pending, report.outbox_oldest_age_seconds
            self.latest = replace(self.latest, outbox_pending=pending, outbox_oldest_age_seconds=age_seconds)
        if report.transitions or connected:
            self._reports.append(report)
            self.wake()

    async def first(self) -> Report:
        """Returns the oldest report, which stays until `sent`; waits for one."""
        while not self._reports:
            await self.changed()
        return self._reports[0]

    def sent(self) -> None:
        self._reports.popleft()

    def reset(self) -> None:
        """Drops everything but the rules' series: another reconciler has led meanwhile."""
        self._reports.clear()
        self.latest = Report(series=self.latest.series)

    def reset_sequences(self) -> None:
        """Drops the sequences: those of a stream that has ended would hide those of the new one."""
        self._reports = deque(replace(report, sequence=0) for report in self._reports)

    def wake(self) -> None:
        """Lets `changed` return."""
        self._changed.set()

    async def changed(self) -> None:
        self._changed.clear()
        await self._changed.wait()
