"""The exporter's side of the feed: sends polls, hears what was committed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import grpc

from exporter.addresses import grpc_listen_address
from exporter.alerts.alert import AlertState, Severity
from exporter.errors import ConfigurationError
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import categories_of
from exporter.grpc_tls import server_credentials
from exporter.sockets import why_not

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Category
    from exporter.config import FeedSettings
    from exporter.feed.backlog import Backlog

log = logging.getLogger(__name__)

OUTBOX_STALE_SECONDS = 20.0
"""A reconciler tells of its outbox each five seconds; what is older is not known any more."""


class ReportSink(Protocol):
    """What hears a reconciler's reports: the metrics, and who polls."""

    def count_transition(self, participant: str, policy: str | None, severity: Severity, state: AlertState) -> None: ...
    def announce(self, series: Collection[tuple[Severity, bool]]) -> None: ...
    def show_outbox(self, pending: int, oldest_age_seconds: float | None) -> None: ...
    def withdraw_outbox(self) -> None: ...
    def remember(self, participant: Ispb, category: Category) -> None: ...


class FeedServer:
    """Serves ``PollFeed.Watch`` of one stream to any number of reconcilers."""

    def __init__(
        self,
        backlog: Backlog,
        reports: ReportSink,
        *,
        stream_id: str,
        participants: Collection[str],
        poll_interval_seconds: float,
        settings: FeedSettings,
        outbox_stale_seconds: float = OUTBOX_STALE_SECONDS,
    ) -> None:
        self._backlog = backlog
        self._reports = reports
        self._stream_id = stream_id
        self._participants = frozenset(participants)
        self._poll_interval_seconds = poll_interval_seconds
        self._settings = settings
        self._counted_sequence = 0
        self._outbox_told_at: float | None = None
        self._outbox_stale_seconds = outbox_stale_seconds
        self._followers = 0
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listens. Raises ConfigurationError where it cannot."""
        address = self._settings.listen_address
        if address is None:
            raise ConfigurationError("feed.listen_address: not set; write it as 0.0.0.0:9863")
        address = grpc_listen_address("feed.listen_address", address)
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.keepalive_time_ms", 10_000)])
        handler = grpc.stream_stream_rpc_method_handler(
            self._watch, request_deserializer=feed_pb2.FromReconciler.FromString, response_serializer=bytes
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("dict_rate_limit.v1.PollFeed", {"Watch": handler}),)
        )
        try:
            if self._settings.insecure:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, self._credentials())
        except RuntimeError as error:
            raise ConfigurationError(f"feed.listen_address: cannot listen on {address}: {why_not(address)}") from error
        await server.start()
        self._server = server
        log.info("the feed listens", extra={"address": address, "port": self.port})

    def _credentials(self) -> grpc.ServerCredentials:
        try:
            return server_credentials(self._settings.tls)
        except ConfigurationError as error:
            raise ConfigurationError(f"feed.{error}") from error

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=1)

    async def _watch(
        self,
        requests: AsyncIterator[feed_pb2.FromReconciler],
        context: grpc.aio.ServicerContext[feed_pb2.FromReconciler, bytes],
    ) -> AsyncIterator[bytes]:
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("message") != "open":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a feed begins with Open")
        asked = frozenset(first.open.participants) or self._participants
        unknown = asked - self._participants
        if unknown:
            names = ", ".join(sorted(unknown))
            log.warning("a reconciler asks for participants that are not polled here: %s", names)
        wanted = asked & self._participants
        after = first.open.after_sequence if first.open.stream_id == self._stream_id else 0
        peer = context.peer()  # asked now: of a call that has ended, it crashes the interpreter
        log.info("a reconciler follows", extra={"peer": peer, "after_sequence": after})
        hearing = asyncio.create_task(self._hear(requests))
        self._followers += 1
        try:
            yield feed_pb2.FromExporter(
                opened=feed_pb2.Opened(
                    stream_id=self._stream_id,
                    participants=sorted(wanted),
                    poll_interval_seconds=self._poll_interval_seconds,
                )
            ).SerializeToString()
            loop = asyncio.get_running_loop()
            said_at = loop.time()
            while True:
                self._forget_old_outbox()
                gap = self._backlog.gap_after(after)
                if gap is not None:
                    yield feed_pb2.FromExporter(gap=feed_pb2.Gap(**{"from": gap[0], "to": gap[1]})).SerializeToString()
                    after = gap[1]
                found = self._backlog.after(after)
                for sequence, participant, deflated in found:
                    after = sequence
                    if participant in wanted:
                        yield self._backlog.inflated(deflated)
                        said_at = loop.time()
                quiet_seconds = loop.time() - said_at
                # Where some were found, more may have come while they were sent.
                if quiet_seconds < self._poll_interval_seconds and (
                    found or await self._backlog.wait(self._poll_interval_seconds - quiet_seconds)
                ):
                    continue
                said_at = loop.time()
                yield feed_pb2.FromExporter(alive=feed_pb2.Alive()).SerializeToString()
        finally:
            hearing.cancel()
            self._followers -= 1
            if not self._followers:
                self._reports.withdraw_outbox()  # what the last one said grows old
            log.info("a reconciler no longer follows", extra={"peer": peer})

    def _forget_old_outbox(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._outbox_told_at is not None and now - self._outbox_told_at > self._outbox_stale_seconds:
            self._reports.withdraw_outbox()
            self._outbox_told_at = None

    async def _hear(self, requests: AsyncIterator[feed_pb2.FromReconciler]) -> None:
        async for request in requests:
            if request.WhichOneof("message") == "report":
                try:
                    self._count(request.report)
                except ValueError as error:
                    log.warning("a reconciler's report is passed over; is it of another release? %s", error)

    def _count(self, report: feed_pb2.Report) -> None:
        transitions = [
            (told.participant, told.policy or None, Severity(told.severity), AlertState(told.state))
            for told in report.transitions
            if told.participant in self._participants
        ]
        series = [(Severity(s.severity), s.per_policy) for s in report.series]
        categories = categories_of(report)
        # A report sent again after a broken connection is counted once.
        if not report.sequence or report.sequence > self._counted_sequence:
            for transition in transitions:
                self._reports.count_transition(*transition)
        self._counted_sequence = max(self._counted_sequence, report.sequence)
        if series:
            self._reports.announce(series)
        for participant, category in categories.items():
            self._reports.remember(participant, category)
        if report.HasField("outbox_pending"):
            age = report.outbox_oldest_age_seconds if report.HasField("outbox_oldest_age_seconds") else None
            self._reports.show_outbox(report.outbox_pending, age)
            self._outbox_told_at = asyncio.get_running_loop().time()
