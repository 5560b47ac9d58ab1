"""The exporter's side of the feed: sends polls, hears what was committed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection

import grpc

from exporter.addresses import grpc_listen_address, listen_failure
from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category
from exporter.config.settings import FeedSettings, TlsSettings
from exporter.errors import ConfigurationError
from exporter.feed.backlog import Backlog
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import categories_of
from exporter.grpc_tls import server_credentials
from exporter.metrics import Metrics

log = logging.getLogger(__name__)

OUTBOX_STALE_SECONDS = 20.0
"""A reconciler reports its outbox every five seconds; what is older is no longer known."""


class FeedServer:
    """Serves ``PollFeed.Watch`` of one stream to any number of reconcilers.

    What these report goes to ``metrics``; categories that only the database knows, to ``learn_category``.
    """

    def __init__(
        self,
        backlog: Backlog,
        metrics: Metrics,
        learn_category: Callable[[Ispb, Category], None],
        *,
        stream_id: str,
        participants: Collection[str],
        poll_interval_seconds: float,
        outbox_stale_seconds: float = OUTBOX_STALE_SECONDS,
    ) -> None:
        self._backlog = backlog
        self._metrics = metrics
        self._learn_category = learn_category
        self._stream_id = stream_id
        self._participants = frozenset(participants)
        self._poll_interval_seconds = poll_interval_seconds
        self._counted_sequence = 0
        self._outbox_reported_at: float | None = None
        self._outbox_stale_seconds = outbox_stale_seconds
        self._followers = 0
        self._server: grpc.aio.Server | None = None
        self.port = 0

    async def start(self, settings: FeedSettings) -> None:
        """Listens. Raises ConfigurationError where it cannot."""
        address = settings.listen_address
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
            if settings.insecure:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, _credentials(settings.tls))
        except RuntimeError as error:
            why = listen_failure(address)
            raise ConfigurationError(f"feed.listen_address: cannot listen on {address}: {why}") from error
        await server.start()
        self._server = server
        log.info("feed listening", extra={"address": address, "port": self.port})

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
        requested = frozenset(first.open.participants) or self._participants
        unknown = requested - self._participants
        if unknown:
            fields = {"participants": ", ".join(sorted(unknown))}
            log.warning("a reconciler asks for participants that are not polled here", extra=fields)
        participants, interval_seconds = requested & self._participants, self._poll_interval_seconds
        after = first.open.after_sequence if first.open.stream_id == self._stream_id else 0
        peer = context.peer()  # asked now: of a call that has ended, it crashes the interpreter
        log.info("reconciler connected", extra={"peer": peer, "after_sequence": after})
        receiving = asyncio.create_task(self._receive(requests))
        self._followers += 1
        try:
            opened = feed_pb2.Opened(
                stream_id=self._stream_id, participants=sorted(participants), poll_interval_seconds=interval_seconds
            )
            yield feed_pb2.FromExporter(opened=opened).SerializeToString()
            loop = asyncio.get_running_loop()
            sent_at = loop.time()
            while True:
                self._withdraw_stale_outbox()
                gap = self._backlog.gap_after(after)
                if gap is not None:
                    yield feed_pb2.FromExporter(gap=feed_pb2.Gap(**{"from": gap[0], "to": gap[1]})).SerializeToString()
                    after = gap[1]
                polls = self._backlog.after(after)
                for sequence, participant, deflated in polls:
                    after = sequence
                    if participant in participants:
                        yield self._backlog.deflation.inflated(deflated)
                        sent_at = loop.time()
                quiet_seconds = loop.time() - sent_at
                # Where some were sent, more may have come meanwhile.
                if quiet_seconds < interval_seconds and (
                    polls or await self._backlog.wait(interval_seconds - quiet_seconds)
                ):
                    continue
                sent_at = loop.time()
                yield feed_pb2.FromExporter(alive=feed_pb2.Alive()).SerializeToString()
        finally:
            receiving.cancel()
            self._followers -= 1
            if not self._followers:
                self._metrics.outbox.withdraw()  # what the last one reported grows old
            log.info("reconciler disconnected", extra={"peer": peer})

    def _withdraw_stale_outbox(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._outbox_reported_at is not None and now - self._outbox_reported_at > self._outbox_stale_seconds:
            self._metrics.outbox.withdraw()
            self._outbox_reported_at = None

    async def _receive(self, requests: AsyncIterator[feed_pb2.FromReconciler]) -> None:
        async for request in requests:
            if request.WhichOneof("message") == "report":
                try:
                    self._count(request.report)
                except ValueError as error:
                    fields = {"error": str(error)}
                    log.warning("report ignored: it is not valid, perhaps of another release", extra=fields)

    def _count(self, report: feed_pb2.Report) -> None:
        transitions = [
            (message.participant, message.policy or None, Severity(message.severity), AlertState(message.state))
            for message in report.transitions
            if message.participant in self._participants
        ]
        series = [(Severity(s.severity), s.per_policy) for s in report.series]
        categories = categories_of(report)
        # A report sent again after a broken connection is counted once.
        if not report.sequence or report.sequence > self._counted_sequence:
            for transition in transitions:
                self._metrics.count_transition(*transition)
        self._counted_sequence = max(self._counted_sequence, report.sequence)
        if series:
            self._metrics.declare_alert_counters(series)
        for participant, category in categories.items():
            self._learn_category(participant, category)
        if report.HasField("outbox_pending"):
            age = report.outbox_oldest_age_seconds if report.HasField("outbox_oldest_age_seconds") else None
            self._metrics.outbox.set(report.outbox_pending, age)
            self._outbox_reported_at = asyncio.get_running_loop().time()


def _credentials(tls: TlsSettings) -> grpc.ServerCredentials:
    try:
        return server_credentials(tls)
    except ConfigurationError as error:
        raise ConfigurationError(f"feed.{error}") from error
