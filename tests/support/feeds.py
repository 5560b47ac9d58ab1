"""A reconciler's side of feeds, as tests follow exporters with it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.config.settings import FeedSettings, PollSettings, Settings
from exporter.durations import Duration
from exporter.feed.client import FeedClient
from exporter.feed.ownership import Ownership
from exporter.grpc_tls import ChannelSource
from exporter.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from exporter.feed.client import Follower
    from exporter.feed.inbox import Inbox
    from exporter.metrics.own_metrics import FeedMetrics

INSECURE = FeedSettings(listen_address="localhost:0", insecure=True)
FAST_SECONDS = 1.0
"""A feed is lost after three intervals of silence: a busy machine is not silent for that long."""


class FromTheBeginning:
    """A reconciler whose database knows no stream."""

    def __init__(self, at: datetime | None = None) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at or datetime.now(UTC)

    async def resume_after(self, _stream_id: str, _participants: Collection[str]) -> int:
        return 0


def client(
    port: int,
    inbox: Inbox,
    settings: FeedSettings = INSECURE,
    ownership: Ownership | None = None,
    *,
    participants: Collection[str] = (),
    interval_seconds: float = 10,
    follower: Follower | None = None,
    metrics: FeedMetrics | None = None,
) -> FeedClient:
    return FeedClient(
        f"localhost:{port}",
        channels=ChannelSource(f"localhost:{port}", settings.tls, insecure=settings.insecure),
        inbox=inbox,
        ownership=ownership or Ownership(),
        follower=follower or FromTheBeginning(),
        settings=Settings(
            participants=tuple(participants),
            poll=PollSettings(interval=Duration(interval_seconds), staleness=Duration(300)),
        ),
        metrics=metrics or Metrics().feed,
    )


@asynccontextmanager
async def following(*clients: FeedClient) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.create_task(one.run()) for one in clients]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
