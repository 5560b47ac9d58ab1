"""The reconciler's side of the feed: follows one exporter, and says so when it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import grpc

from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Failure, Poll
from exporter.errors import ConfigurationError
from exporter.feed.inbox import Report
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import poll_of, report_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from datetime import datetime

    from google.protobuf.message import Message

    from exporter.feed.inbox import Inbox
    from exporter.feed.ownership import Claims

    Call = grpc.aio.StreamStreamCall[Message, feed_pb2.FromExporter]

log = logging.getLogger(__name__)

SILENT_INTERVALS = 3
"""A feed that is silent for so many poll intervals is lost."""

CONNECT_SECONDS = 10.0
"""A connection may take so long to open, where intervals are short."""


class Channels(Protocol):
    """Makes a channel with the certificates as they are now."""

    def channel(self) -> grpc.aio.Channel: ...


class FeedClient:
    """Follows one exporter's feed into an inbox. ``run`` ends only by cancellation.

    ``begins_after`` tells of a stream, and participants, the poll after which
    to begin where the stream was not followed by this process.
    """

    def __init__(
        self,
        target: str,
        *,
        channels: Channels,
        inbox: Inbox,
        claims: Claims,
        begins_after: Callable[[str, Collection[str]], Awaitable[int]],
        now: Callable[[], datetime],
        participants: Collection[str],
        interval_seconds: float,
        staleness_seconds: float,
        connected: Callable[[str, bool], None],
        unreadable: Callable[[], None],
    ) -> None:
        self.target = target
        self.connected = False
        self._channels = channels
        self._inbox = inbox
        self._claims = claims
        self._begins_after = begins_after
        self._now = now
        self._asked = tuple(participants)
        self._participants = set(participants)
        self._interval_seconds = interval_seconds
        self._staleness_seconds = staleness_seconds
        self._note = connected
        self._unreadable = unreadable
        self._stream_id = ""
        self._after_sequence = 0
        self._last: dict[str, Poll] = {}
        self._reports: deque[Report] = deque()
        self._latest = Report()
        self._reported = asyncio.Event()
        self._heard_at = 0.0
        self._unusable = ""

    def report(self, report: Report) -> None:
        """Tells the exporter what was committed: at once, or when it is back.

        What is not a transition is told as it is then.
        """
        if report.series is not None:
            self._latest = replace(self._latest, series=report.series)
        if report.outbox_pending is not None:
            self._latest = replace(
                self._latest,
                outbox_pending=report.outbox_pending,
                outbox_oldest_age_seconds=report.outbox_oldest_age_seconds,
            )
        if report.transitions or self.connected:
            self._reports.append(report)
            self._reported.set()

    def forget(self) -> None:
        """Knows no stream any more: another reconciler led meanwhile, and the database tells how far it came."""
        self._stream_id, self._after_sequence = "", 0
        self._reports.clear()
        self._latest = Report(series=self._latest.series)
        self._last.clear()

    @property
    def stream_id(self) -> str:
        """The stream that is followed, or was last; empty: none yet."""
        return self._stream_id

    @property
    def participants(self) -> Collection[str]:
        """Those that the feed carries, or carried when it was lost; before: those asked for."""
        return self._participants

    def carries(self, participant: str) -> bool:
        return participant in self._participants and not self._claims.taken(participant, self.target)

    async def run(self) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        watching = asyncio.create_task(self._watch_silence())
        try:
            while True:
                again_at_once = await self._follow()
                if not again_at_once:
                    # Several reconcilers that lost one exporter come back spread out.
                    await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311
        finally:
            watching.cancel()

    async def _follow(self) -> bool:
        """Follows until the feed breaks off; returns whether it is to be opened again at another poll."""
        try:
            channel = self._channels.channel()
        except ConfigurationError as error:
            # Half of a pair may be written: they are read again at the next attempt.
            level = logging.DEBUG if str(error) == self._unusable else logging.WARNING
            log.log(level, "changed certificates cannot be used: %s", error, extra={"target": self.target})
            self._unusable = str(error)
            return False
        self._unusable = ""
        sending: asyncio.Task[None] | None = None
        try:
            watch = channel.stream_stream(
                "/dict_rate_limit.v1.PollFeed/Watch",
                request_serializer=feed_pb2.FromReconciler.SerializeToString,
                response_deserializer=feed_pb2.FromExporter.FromString,
            )
            call = watch()
            sending = asyncio.create_task(self._send(call))
            while True:
                # Of a host that vanished, TCP would tell nothing for a quarter of an hour.
                async with asyncio.timeout(self._patience_seconds):
                    message = await call.read()
                if not isinstance(message, feed_pb2.FromExporter):
                    break  # the end
                # What holds us up (the database is away, the queue full) is no silence of the exporter, which keeps
                # what is not sent.
                self._heard_at = float("inf")
                if message.WhichOneof("message") == "opened" and await self._began_before(message.opened):
                    return True
                self._hear(message)
                await self._inbox.room()
                self._heard_at = asyncio.get_running_loop().time()
        except TimeoutError:
            log.log(
                logging.WARNING if self.connected else logging.DEBUG,
                "the feed is silent: it is connected to afresh",
                extra={"target": self.target},
            )
        except grpc.aio.AioRpcError as error:
            level = logging.WARNING if self.connected else logging.DEBUG
            log.log(
                level,
                "the feed broke off: %s",
                error.details(),
                extra={"target": self.target, "code": error.code().name},
            )
        finally:
            if sending is not None:
                sending.cancel()
            self._heard_at = min(self._heard_at, asyncio.get_running_loop().time())
            self._connected(is_so=False)
            await channel.close()
        return False

    @property
    def _patience_seconds(self) -> float:
        silent_seconds = SILENT_INTERVALS * self._interval_seconds
        return silent_seconds if self.connected else max(silent_seconds, CONNECT_SECONDS)

    async def _send(self, call: Call) -> None:
        opening = feed_pb2.Open(
            participants=self._asked, stream_id=self._stream_id, after_sequence=self._after_sequence
        )
        # Why the call is over is told to whoever reads from it.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(feed_pb2.FromReconciler(open=opening))
            while not self.connected:
                await self._news()
            await call.write(feed_pb2.FromReconciler(report=report_message(self._latest)))
            while True:
                while not self._reports:
                    await self._news()
                report = self._reports[0]
                await call.write(feed_pb2.FromReconciler(report=report_message(report)))
                self._reports.popleft()

    async def _news(self) -> None:
        self._reported.clear()
        await self._reported.wait()

    def _hear(self, message: feed_pb2.FromExporter) -> None:
        kind = message.WhichOneof("message")
        if kind == "opened":
            self._opened(message.opened)
        elif kind == "gap":
            gap = message.gap
            first = getattr(gap, "from")
            log.error(
                "polls %d to %d are no longer in the exporter's backlog: those that are not in the database are a gap",
                first,
                gap.to,
                extra={"target": self.target},
            )
            self._after_sequence = gap.to
        elif kind == "poll":
            self._after_sequence = message.poll.sequence
            if self._claims.claim(message.poll.participant, self.target):
                self._take(message.poll)

    def _take(self, message: feed_pb2.Poll) -> None:
        try:
            poll = poll_of(message, self._stream_id)
        except (ValueError, OverflowError) as error:
            # Of another release, perhaps. After a restart it would come again: no reason to end.
            self._unreadable()
            log.error(  # noqa: TRY400 - the sentence is enough
                "a poll that cannot be is passed over: %s",
                error,
                extra={"target": self.target, "participant": message.participant, "sequence": message.sequence},
            )
            return
        self._participants.add(poll.participant)
        self._last[poll.participant] = poll
        self._inbox.put(poll)

    async def _began_before(self, opened: feed_pb2.Opened) -> bool:
        """Returns whether a stream that is new to this process is known to the database, to go on with."""
        if opened.stream_id == self._stream_id:
            return False
        mine = [p for p in opened.participants if not self._claims.taken(p, self.target)]
        self._begin(opened.stream_id, await self._begins_after(opened.stream_id, mine))
        return self._after_sequence > 0

    def _begin(self, stream_id: str, after_sequence: int) -> None:
        self._stream_id, self._after_sequence = stream_id, after_sequence
        # Sequences of a stream that has ended would hide those of the new one.
        self._reports = deque(replace(report, sequence=0) for report in self._reports)

    def _opened(self, opened: feed_pb2.Opened) -> None:
        self._interval_seconds = opened.poll_interval_seconds or self._interval_seconds
        self._claims.release(self.target, keep=opened.participants)
        self._participants = {p for p in opened.participants if self._claims.claim(p, self.target)}
        self._connected(is_so=True)
        log.info("following", extra={"target": self.target, "participants": len(opened.participants)})

    def _connected(self, *, is_so: bool) -> None:
        self.connected = is_so
        self._note(self.target, is_so)
        self._reported.set()

    async def _watch_silence(self) -> None:
        """Makes a failed poll of each participant at each interval in which the feed is lost."""
        loop = asyncio.get_running_loop()
        while True:
            left = self._heard_at + SILENT_INTERVALS * self._interval_seconds - loop.time()
            if left > 0:
                await asyncio.sleep(min(left, self._interval_seconds))
                continue
            # Another exporter that polls them may carry them from now on.
            self._claims.release(self.target)
            for participant in filter(self.carries, sorted(self._participants)):
                self._inbox.put(self._lost(participant))
            await asyncio.sleep(self._interval_seconds)

    def _lost(self, participant: str) -> Poll:
        failure = Failure(
            "FEED_LOST", f"the exporter at {self.target} has been silent for {SILENT_INTERVALS} intervals"
        )
        last = self._last.get(participant)
        if last is not None:
            # The exporter's clock may be ahead of ours, and what lies before an evaluated poll would not be evaluated.
            silent = timedelta(seconds=asyncio.get_running_loop().time() - self._heard_at)
            at = max(self._now(), last.polled_at + silent)
            return replace(last, sequence=0, polled_at=at, result=failure, duration_seconds=0.0, traceparent=None)
        return Poll(
            stream_id=self._stream_id,
            sequence=0,
            participant=Ispb(participant),
            polled_at=self._now(),
            interval_seconds=self._interval_seconds,
            staleness_seconds=self._staleness_seconds,
            result=failure,
        )
