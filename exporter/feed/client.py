"""The reconciler's side of the feed: follows one exporter, and says so when it is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

import grpc
from google.protobuf.message import Message

from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Failure, Poll
from exporter.config.settings import Settings
from exporter.errors import ConfigurationError
from exporter.feed.backlog import ReportQueue
from exporter.feed.inbox import Inbox
from exporter.feed.ownership import Ownership
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import Report, carried_poll, poll_of, report_message
from exporter.grpc_tls import ChannelSource
from exporter.metrics.own_metrics import FeedMetrics

log = logging.getLogger(__name__)

Call = grpc.aio.StreamStreamCall[Message, feed_pb2.FromExporter]

SILENT_INTERVALS: Final = 3
"""A feed that is silent for this many poll intervals is lost."""

CONNECT_SECONDS: Final = 10.0
"""A connection may take this long to open, where intervals are short."""


class Follower(Protocol):
    """The reconciler, as a feed that it follows sees it."""

    def now(self) -> datetime: ...

    async def resume_after(self, stream_id: str, participants: Collection[str]) -> int:
        """Returns the poll of a stream after which to follow it; 0: from its beginning. Waits for the database."""


class FeedClient:
    """Follows one exporter's feed into an inbox. ``run`` ends only by cancellation."""

    def __init__(
        self,
        target: str,
        *,
        channels: ChannelSource,
        inbox: Inbox,
        ownership: Ownership,
        follower: Follower,
        settings: Settings,
        metrics: FeedMetrics,
    ) -> None:
        self.target = target
        self.connected = False
        self.stream_id = ""
        """The stream that is followed, or was last, and whose sequences are reported; empty: none yet."""
        self._channels = channels
        self._inbox = inbox
        self._ownership = ownership
        self._follower = follower
        self._metrics = metrics
        self._requested = settings.participants
        self.participants = set(settings.participants)
        """Those that the feed carries, or carried when it was lost; before: those asked for."""
        self._after_sequence = 0
        self._reports = ReportQueue()
        self._silence = Silence(target, settings.poll.interval, settings.poll.staleness)
        self._certificate_error = ""

    def report(self, report: Report) -> None:
        """Reports to the exporter what was committed: at once, or when it is back."""
        self._reports.put(report, connected=self.connected)

    def reset(self) -> None:
        """Drops what is known of the stream: another reconciler led meanwhile, the database knows where to go on."""
        self.stream_id, self._after_sequence = "", 0
        self._reports.reset()
        self._silence.last_polls.clear()

    def owns(self, participant: str) -> bool:
        """Returns whether the feed carries the participant, and no other exporter owns it."""
        return participant in self.participants and self._ownership.may_own(participant, self.target)

    async def run(self) -> None:
        self._silence.heard()
        watching = asyncio.create_task(self._watch_silence())
        try:
            while True:
                reopen = await self._follow()
                if not reopen:
                    # Several reconcilers that lost one exporter come back spread out.
                    await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311
        finally:
            watching.cancel()

    async def _follow(self) -> bool:
        """Follows until the feed breaks off; returns whether it is to be opened again at another poll."""
        channel = self._channel()
        if channel is None:
            return False
        watch = channel.stream_stream(
            "/dict_rate_limit.v1.PollFeed/Watch",
            request_serializer=feed_pb2.FromReconciler.SerializeToString,
            response_deserializer=feed_pb2.FromExporter.FromString,
        )
        call = watch()
        sending = asyncio.create_task(self._send(call))
        try:
            return await self._receive_all(call)
        except TimeoutError:
            self._log_end("feed timed out, reconnecting")
        except grpc.aio.AioRpcError as error:
            self._log_end("feed broke off, reconnecting", error=error.details(), code=error.code().name)
        finally:
            sending.cancel()
            self._silence.unpause()
            self._set_connected(connected=False)
            await channel.close()
        return False

    def _channel(self) -> grpc.aio.Channel | None:
        try:
            channel = self._channels.channel()
        except ConfigurationError as error:
            # Half of a pair may be written: they are read again at the next attempt.
            level = logging.DEBUG if str(error) == self._certificate_error else logging.WARNING
            log.log(level, "changed certificates cannot be used", extra={"target": self.target, "error": str(error)})
            self._certificate_error = str(error)
            return None
        self._certificate_error = ""
        return channel

    async def _receive_all(self, call: Call) -> bool:
        """Returns when the exporter ends the feed, or whether it is to be opened again at another poll."""
        while True:
            # Of a host that vanished, TCP would say nothing for a quarter of an hour.
            async with asyncio.timeout(self._silence.timeout_seconds(connected=self.connected)):
                message = await call.read()
            if not isinstance(message, feed_pb2.FromExporter):
                return False  # the end
            self._silence.pause()
            if message.WhichOneof("message") == "opened" and await self._resumes(message.opened):
                return True
            self._receive(message)
            await self._inbox.room()
            self._silence.heard()

    def _log_end(self, event: str, **fields: str | None) -> None:
        level = logging.WARNING if self.connected else logging.DEBUG
        log.log(level, event, extra={"target": self.target, **fields})

    async def _send(self, call: Call) -> None:
        opening = feed_pb2.Open(
            participants=self._requested, stream_id=self.stream_id, after_sequence=self._after_sequence
        )
        # The task that reads from the call hears why it ended.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(feed_pb2.FromReconciler(open=opening))
            while not self.connected:
                await self._reports.changed()
            await call.write(feed_pb2.FromReconciler(report=report_message(self._reports.latest)))
            while True:
                report = await self._reports.first()
                await call.write(feed_pb2.FromReconciler(report=report_message(report)))
                self._reports.sent()

    def _receive(self, message: feed_pb2.FromExporter) -> None:
        match message.WhichOneof("message"):
            case "opened":
                self._open(message.opened)
            case "gap":
                gap = message.gap
                log.error(
                    "polls are no longer in the exporter's backlog: those that are not in the database are a gap",
                    extra={"target": self.target, "first_sequence": getattr(gap, "from"), "last_sequence": gap.to},
                )
                self._after_sequence = gap.to
            case "poll" | "read":
                poll = carried_poll(message)
                self._after_sequence = poll.sequence
                if self._ownership.acquire(poll.participant, self.target):
                    self._receive_poll(poll)

    def _receive_poll(self, message: feed_pb2.Poll) -> None:
        try:
            poll = poll_of(message, self.stream_id)
        except (ValueError, OverflowError) as error:
            # Of another release, perhaps. After a restart it would come again: no reason to end.
            self._metrics.dropped.labels("unreadable").inc()
            fields = {"target": self.target, "participant": message.participant, "sequence": message.sequence}
            fields |= {"error": str(error)}
            log.error("poll skipped: it is not valid", extra=fields)  # noqa: TRY400 - the sentence is enough
            return
        self.participants.add(poll.participant)
        self._silence.last_polls[poll.participant] = poll
        self._inbox.put(poll)

    async def _resumes(self, opened: feed_pb2.Opened) -> bool:
        """Returns whether a stream that is new to this process is known to the database, to go on with."""
        if opened.stream_id == self.stream_id:
            return False
        own = [p for p in opened.participants if self._ownership.may_own(p, self.target)]
        after_sequence = await self._follower.resume_after(opened.stream_id, own)
        self.stream_id, self._after_sequence = opened.stream_id, after_sequence
        self._reports.reset_sequences()
        return after_sequence > 0

    def _open(self, opened: feed_pb2.Opened) -> None:
        self._silence.interval_seconds = opened.poll_interval_seconds or self._silence.interval_seconds
        self._ownership.release(self.target, keep=opened.participants)
        self.participants = {p for p in opened.participants if self._ownership.acquire(p, self.target)}
        self._set_connected(connected=True)
        log.info("following an exporter", extra={"target": self.target, "participants": len(opened.participants)})

    def _set_connected(self, *, connected: bool) -> None:
        self.connected = connected
        self._metrics.connected.labels(self.target).set(connected)
        self._reports.wake()

    async def _watch_silence(self) -> None:
        """Makes a failed poll of each participant at each interval in which the feed is lost."""
        while True:
            left_seconds = self._silence.left_seconds
            if left_seconds > 0:
                await asyncio.sleep(min(left_seconds, self._silence.interval_seconds))
                continue
            # Another exporter that polls them may carry them from now on.
            self._ownership.release(self.target)
            for participant in filter(self.owns, sorted(self.participants)):
                self._inbox.put(self._silence.failed_poll(participant, self.stream_id, self._follower.now()))
            await asyncio.sleep(self._silence.interval_seconds)


@dataclass(slots=True)
class Silence:
    """How long one feed has been silent. ``interval_seconds`` is the exporter's poll interval, as far as is known."""

    target: str
    interval_seconds: float
    staleness_seconds: float
    last_polls: dict[str, Poll] = field(default_factory=dict)
    """By participant: a failed one that stands in continues it."""
    _heard_at: float = 0.0

    def heard(self) -> None:
        """Notes that the feed was heard just now."""
        self._heard_at = asyncio.get_running_loop().time()

    def pause(self) -> None:
        """Counts no silence until `heard`: the reconciler is held up, and the exporter keeps what it does not send."""
        self._heard_at = float("inf")

    def unpause(self) -> None:
        """Counts silence from now on where it was paused."""
        self._heard_at = min(self._heard_at, asyncio.get_running_loop().time())

    @property
    def left_seconds(self) -> float:
        """How long until the feed is lost; 0 or less: it is."""
        return self._heard_at + SILENT_INTERVALS * self.interval_seconds - asyncio.get_running_loop().time()

    def timeout_seconds(self, *, connected: bool) -> float:
        """Returns how long to wait for the next message."""
        silent_seconds = SILENT_INTERVALS * self.interval_seconds
        return silent_seconds if connected else max(silent_seconds, CONNECT_SECONDS)

    def failed_poll(self, participant: str, stream_id: str, now: datetime) -> Poll:
        """Returns a failed poll in place of the one that the exporter may have made."""
        message = f"the exporter at {self.target} has been silent for {SILENT_INTERVALS} intervals"
        failure = Failure("FEED_LOST", message)
        last = self.last_polls.get(participant)
        if last is not None:
            # The exporter's clock may be ahead of ours, and what lies before an evaluated poll would not be evaluated.
            silent = timedelta(seconds=asyncio.get_running_loop().time() - self._heard_at)
            at = max(now, last.polled_at + silent)
            return replace(last, sequence=0, polled_at=at, result=failure, duration_seconds=0.0, traceparent=None)
        return Poll(
            stream_id=stream_id,
            sequence=0,
            participant=Ispb(participant),
            polled_at=now,
            interval_seconds=self.interval_seconds,
            staleness_seconds=self.staleness_seconds,
            result=failure,
        )
