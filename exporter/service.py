"""Composition: builds the parts of a role from the settings, runs its tasks, shuts down in order.

A task that ends unexpectedly ends the process, with a message and a non-zero
exit: a supervisor restarts it, and nothing serves old numbers meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from exporter.bridge.client import BridgeClient
from exporter.config.settings import Settings
from exporter.feed.backlog import Backlog, Stream
from exporter.feed.server import FeedServer
from exporter.health import Dependency, Readiness
from exporter.metrics import Metrics
from exporter.poller.polling import Polling
from exporter.runner import Running, run_until_stopped
from exporter.web.app import create_app
from exporter.web.server.server import WebServer
from exporter.web.sources import Sources

if TYPE_CHECKING:
    from exporter.feed.client import FeedClient
    from exporter.reconciler.reconciler import Reconciler


async def run_exporter(
    settings: Settings, *, stop: asyncio.Event | None = None, started: Callable[[Running], None] | None = None
) -> None:
    """Polls, serves metrics and the feed, until SIGTERM or SIGINT. Raises DictRateLimitError."""
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        client = BridgeClient(settings.bridge)
        stack.push_async_callback(client.close)
        stream = Stream()
        polling = Polling(settings, metrics, client, lambda: stream)
        if settings.feed.listen_address is not None:
            backlog = Backlog(settings.feed.backlog)
            stream = Stream(backlog.put)
            feed = FeedServer(
                backlog,
                metrics,
                polling.learn_category,
                stream_id=stream.stream_id,
                participants=settings.participants,
                poll_interval_seconds=settings.poll.interval,
            )
            await feed.start(settings.feed)
            stack.push_async_callback(feed.stop)
        polling.start()
        stack.push_async_callback(polling.stop)
        sources = Sources(
            metrics=metrics,
            views=lambda: polling.views,
            readiness=lambda: Readiness(polling.polled_once, [_bridge_dependency(polling)]),
        )
        running = await _serve(settings, sources, stack)
        await run_until_stopped(stop, started, running, polling.ended())


async def run_reconciler(
    settings: Settings, *, stop: asyncio.Event | None = None, started: Callable[[Running], None] | None = None
) -> None:
    """Follows exporters' feeds, until SIGTERM or SIGINT. Raises DictRateLimitError."""
    from exporter.reconciler.reconciler import Reconciler

    metrics = Metrics()
    async with AsyncExitStack() as stack:
        reconciler = await Reconciler.build(settings, metrics, _holder(), stack)
        for client in _feed_clients(settings, metrics, reconciler):
            reconciler.follow(client)
        running = await _serve(settings, _sources(reconciler), stack)
        reload = reconciler.rules.reload_soon
        await run_until_stopped(stop, started, running, reconciler.run(None), on_hangup=reload)


async def run_both(
    settings: Settings, *, stop: asyncio.Event | None = None, started: Callable[[Running], None] | None = None
) -> None:
    """Exporter and reconciler in one process, until SIGTERM or SIGINT. Raises DictRateLimitError."""
    from exporter.reconciler.reconciler import Reconciler

    metrics = Metrics()
    async with AsyncExitStack() as stack:
        reconciler = await Reconciler.build(settings, metrics, _holder(), stack)
        client = BridgeClient(settings.bridge)
        stack.push_async_callback(client.close)
        feed = reconciler.follow_own()
        polling = Polling(settings, metrics, client, lambda: Stream(feed.put), reconciler.loop.clock)
        feed.learn_category = polling.learn_category
        stack.push_async_callback(polling.stop)

        def readiness() -> Readiness:
            dependencies = [_bridge_dependency(polling), *reconciler.dependencies]
            return Readiness(polling.polled_once and reconciler.ready, dependencies)

        sources = replace(_sources(reconciler), views=lambda: polling.views, readiness=readiness)
        running = await _serve(settings, sources, stack)
        reload = reconciler.rules.reload_soon
        await run_until_stopped(stop, started, running, reconciler.run(polling), polling.ended(), on_hangup=reload)


def _holder() -> str:
    """Returns the name under which this process holds the lease."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"


def _bridge_dependency(polling: Polling) -> Dependency:
    views = polling.views
    down = sorted(participant for participant, view in views.items() if not view.up)
    if not views:
        return Dependency("bridge", ok=True, message="not polled")
    message = f"{len(views) - len(down)} of {len(views)} participants answered"
    if down:
        message += f"; not answered: {', '.join(down[:5])}{' ...' if len(down) > 5 else ''}"
    if (reads_off := polling.reads_off) is not None:
        message += f"; no reads between polls: {reads_off}"
    return Dependency("bridge", ok=not down, message=message)


def _sources(reconciler: Reconciler) -> Sources:
    return Sources(
        metrics=reconciler.metrics,
        views=lambda: reconciler.loop.views,
        readiness=lambda: Readiness(reconciler.ready, reconciler.dependencies),
        open_alerts=lambda: reconciler.loop.open_alerts,
        rules=lambda: reconciler.rule_groups,
        reload=reconciler.rules.reload,
        utilization=reconciler.utilization,
        record=reconciler.timeline,
        why=reconciler.explain,
    )


async def _serve(settings: Settings, sources: Sources, stack: AsyncExitStack) -> Running:
    server = WebServer(create_app(sources, settings.web), settings.web)
    await server.start()
    stack.push_async_callback(server.stop)
    return Running(server.addresses, sources.views)


def _feed_clients(settings: Settings, metrics: Metrics, reconciler: Reconciler) -> list[FeedClient]:
    from exporter.feed.client import FeedClient
    from exporter.feed.ownership import Ownership
    from exporter.grpc_tls import ChannelSource, read_pem

    if not settings.feed.insecure:
        read_pem(settings.feed.tls)  # an error is raised at the start; later a file may be half written
    ownership = Ownership(metrics.feed.refused, most=settings.limits.participants)
    return [
        FeedClient(
            target,
            channels=ChannelSource(target, settings.feed.tls, insecure=settings.feed.insecure),
            inbox=reconciler.inbox,
            ownership=ownership,
            follower=reconciler.loop,
            settings=settings,
            metrics=metrics.feed,
        )
        for target in settings.feed.targets
    ]
