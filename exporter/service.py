"""Composition: builds the parts of a role from the settings, runs them in one TaskGroup, shuts down in order.

A task that ends unexpectedly ends the process, with a message and a non-zero
exit: a supervisor restarts it, and nothing serves old numbers meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exporter.errors import first_of
from exporter.feed.backlog import Backlog, Stream
from exporter.health import Dependency, Readiness
from exporter.metrics import Metrics
from exporter.poller.polling import Polling
from exporter.web.app import create_app
from exporter.web.server.server import WebServer
from exporter.web.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from exporter.bridge.client import BridgeClient
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View
    from exporter.config import Settings
    from exporter.feed.client import FeedClient
    from exporter.reconciler.assembly import Reconciling

log = logging.getLogger(__name__)

GRACE_SECONDS = 6.0
"""How long parts that are asked to end may take; none of what they finish first takes as long."""

END_SECONDS = 20.0
"""How long a process that is asked to end may take at most, whatever hangs."""


@dataclass(frozen=True, slots=True)
class Running:
    """A service that has started: the addresses it listens on, and what it sees."""

    addresses: Sequence[str]
    views: Callable[[], Mapping[Ispb, View]]


async def run_exporter(
    settings: Settings, *, stop: asyncio.Event | None = None, started: Callable[[Running], None] | None = None
) -> None:
    """Polls, serves metrics and the feed, until SIGTERM or SIGINT. Raises DictRateLimitError."""
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        client = await _bridge(settings, stack)
        backlog: Backlog | None = None
        stream = Stream()
        polling = Polling(settings, metrics, client, lambda: stream)
        if settings.feed.listen_address is not None:
            from exporter.feed.server import FeedServer

            backlog = Backlog(settings.feed.backlog)
            stream = Stream(backlog.put)
            feed = FeedServer(
                backlog,
                _Heard(metrics, polling),
                stream_id=stream.stream_id,
                participants=settings.participants,
                poll_interval_seconds=settings.poll.interval,
                settings=settings.feed,
            )
            await feed.start()
            stack.push_async_callback(feed.stop)
        polling.start()
        stack.push_async_callback(polling.stop)
        sources = Sources(
            metrics=metrics,
            views=lambda: polling.views,
            readiness=lambda: Readiness(polling.polled_once, _bridge_dependencies(polling.views)),
        )
        addresses = await _serve(settings, sources, stack)
        await _until_stopped(stop, started, Running(addresses, sources.views), _await(polling.died))


async def run_reconciler(
    settings: Settings, *, stop: asyncio.Event | None = None, started: Callable[[Running], None] | None = None
) -> None:
    """Follows exporters' feeds, until SIGTERM or SIGINT. Raises DictRateLimitError."""
    from exporter.reconciler.assembly import Reconciling

    metrics = Metrics()
    async with AsyncExitStack() as stack:
        reconciling = await Reconciling.build(settings, metrics, holder(), stack)
        for client in _feed_clients(settings, metrics, reconciling):
            reconciling.follow(client)
        sources = Sources(
            metrics=metrics,
            views=lambda: reconciling.reconciler.views,
            open_alerts=lambda: reconciling.reconciler.open_alerts,
            rules=reconciling.rule_groups,
            readiness=lambda: Readiness(reconciling.ready, reconciling.dependencies()),
            reload=reconciling.reload,
            past=reconciling.past,
            record=reconciling.record,
            why=reconciling.why,
        )
        addresses = await _serve(settings, sources, stack)
        await _until_stopped(
            stop, started, Running(addresses, sources.views), reconciling.run(None), on_hangup=reconciling.on_hangup
        )


async def run_both(
    settings: Settings, *, stop: asyncio.Event | None = None, started: Callable[[Running], None] | None = None
) -> None:
    """Exporter and reconciler in one process, until SIGTERM or SIGINT. Raises DictRateLimitError."""
    from exporter.reconciler.assembly import Reconciling

    metrics = Metrics()
    async with AsyncExitStack() as stack:
        reconciling = await Reconciling.build(settings, metrics, holder(), stack)
        client = await _bridge(settings, stack)
        feed = reconciling.follow_own()
        polling = Polling(settings, metrics, client, feed.stream, reconciling.clock)
        feed.remember = polling.remember
        stack.push_async_callback(polling.stop)
        sources = Sources(
            metrics=metrics,
            views=lambda: polling.views,
            open_alerts=lambda: reconciling.reconciler.open_alerts,
            rules=reconciling.rule_groups,
            readiness=lambda: Readiness(
                polling.polled_once and reconciling.ready,
                [*_bridge_dependencies(polling.views), *reconciling.dependencies()],
            ),
            reload=reconciling.reload,
            past=reconciling.past,
            record=reconciling.record,
            why=reconciling.why,
        )
        addresses = await _serve(settings, sources, stack)
        await _until_stopped(
            stop,
            started,
            Running(addresses, sources.views),
            reconciling.run(polling),
            _await(polling.died),
            on_hangup=reconciling.on_hangup,
        )


class _Heard:
    """What an exporter makes of a reconciler's reports."""

    def __init__(self, metrics: Metrics, polling: Polling) -> None:
        self.count_transition = metrics.count_transition
        self.announce = metrics.announce
        self.show_outbox = metrics.show_outbox
        self.withdraw_outbox = metrics.withdraw_outbox
        self.remember = polling.remember


def holder() -> str:
    """Returns the name under which this process holds the lease."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


async def _bridge(settings: Settings, stack: AsyncExitStack) -> BridgeClient:
    from exporter.bridge.client import BridgeClient

    client = BridgeClient(settings.bridge)
    stack.push_async_callback(client.close)
    return client


def _bridge_dependencies(views: dict[Ispb, View]) -> list[Dependency]:
    down = sorted(participant for participant, view in views.items() if not view.up)
    if not views:
        return [Dependency("bridge", ok=True, message="not polled")]
    message = f"{len(views) - len(down)} of {len(views)} participants answered"
    if down:
        message += f"; not answered: {', '.join(down[:5])}{' ...' if len(down) > 5 else ''}"
    return [Dependency("bridge", ok=not down, message=message)]


async def _serve(settings: Settings, sources: Sources, stack: AsyncExitStack) -> Sequence[str]:
    """Returns the addresses that are listened on."""
    server = WebServer(create_app(sources, settings.web), settings.web)
    await server.start()
    stack.push_async_callback(server.stop)
    return server.addresses


async def _await(future: asyncio.Future[None]) -> None:
    await future


async def _until_stopped(
    stop: asyncio.Event | None,
    started: Callable[[Running], None] | None,
    running: Running,
    *work: Coroutine[object, object, None],
    on_hangup: Callable[[], None] | None = None,
) -> None:
    """Runs ``work`` until ``stop``. A part that fails ends the rest; its error is raised.

    Without ``stop`` the signals are the service's own: SIGTERM and SIGINT stop it.
    """
    loop = asyncio.get_running_loop()
    own_signals = stop is None
    if stop is None:
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        loop.add_signal_handler(signal.SIGHUP, on_hangup or _nothing_to_read_again)
    # Who reads this may send a signal at once.
    log.info("listening", extra={"addresses": ", ".join(running.addresses)})
    # What lives for good is not looked at again and again: a full collection would hold the loop up.
    gc.collect()
    gc.freeze()
    if started is not None:
        started(running)
    tasks = [asyncio.create_task(part) for part in work]
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping" if stopping in done else "a part of the process ended")
    if own_signals:
        _end_by_force_after(END_SECONDS)
    await _end({*tasks, stopping})
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, ExceptionGroup):
            raise first_of(result)
        if isinstance(result, Exception):
            raise result


async def _end(tasks: set[asyncio.Task[Any]], grace_seconds: float = GRACE_SECONDS) -> None:
    """Cancels ``tasks``, and those that go on after ``grace_seconds`` again: libraries may lose a cancellation."""
    left = tasks
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=grace_seconds)
        if left:
            log.warning("a part of the process does not end, and is asked again")


def _end_by_force_after(seconds: float) -> None:
    def end() -> None:
        log.critical("the process did not end within %g s: it is ended by force", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True  # gone with the process that ends in time
    timer.start()


def _nothing_to_read_again() -> None:
    """Of an exporter, which has no rules, SIGHUP is no reason to end."""
    log.info("SIGHUP: nothing to read again; changed certificates are seen")


def _feed_clients(settings: Settings, metrics: Metrics, reconciling: Reconciling) -> list[FeedClient]:
    from exporter.feed.client import FeedClient
    from exporter.feed.ownership import Claims
    from exporter.grpc_tls import ChannelSource, read_pem

    if not settings.feed.insecure:
        read_pem(settings.feed.tls)  # said at the start; later a file may be half written
    claims = Claims(lambda target: metrics.feed_refused.labels(target).inc(), most=settings.limits.participants)
    return [
        FeedClient(
            target,
            channels=ChannelSource(target, settings.feed.tls, insecure=settings.feed.insecure),
            inbox=reconciling.inbox,
            claims=claims,
            begins_after=reconciling.reconciler.begins_after,
            now=reconciling.clock.now,
            participants=settings.participants,
            interval_seconds=settings.poll.interval,
            staleness_seconds=settings.poll.staleness,
            connected=lambda target, is_so: metrics.feed_connected.labels(target).set(is_so),
            unreadable=metrics.snapshots_dropped.labels("unreadable").inc,
        )
        for target in settings.feed.targets
    ]
