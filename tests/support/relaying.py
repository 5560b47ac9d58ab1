"""The relay on a stage: a database with the lease taken, events to send, and what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from exporter.config.settings import PulsarSettings
from exporter.metrics import Metrics
from exporter.relay.relay import TIMING, Relay, Timing
from exporter.store.lease import Lease
from exporter.store.outbox import Outbox
from tests.support.conditions import until
from tests.support.stored import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from exporter.store.lease import Fence


@dataclass
class Stage:
    """A database, the lease on it, and what the relay counts."""

    dsn: str
    outbox: Outbox
    metrics: Metrics
    fence: Fence
    wake: asyncio.Event

    def write(self, *numbers: int, alerts: int = 3, size: int = 10) -> None:
        """Writes the events with these numbers, of so many alerts."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for number in numbers:
                connection.execute(
                    "INSERT INTO dict_rate_limit_outbox (event_id, fingerprint, type, event_time, subject, body) "
                    "VALUES (gen_random_uuid(), %s, 'dict.rate_limit.alert.firing', now(), '12345678/P/A', %s)",
                    (f"f{number % alerts}", json.dumps({"number": number, "text": os.urandom(size).hex()})),
                )
        self.wake.set()

    def rows(self, state: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.dsn, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(
                "SELECT *, (body ->> 'number')::int AS number FROM dict_rate_limit_outbox WHERE state = %s ORDER BY id",
                (state,),
            ).fetchall()

    def count(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(f"dict_rate_limit_{name}_total") or 0.0

    def release(self) -> None:
        """Lets others take the lease."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute("UPDATE dict_rate_limit_lease SET expires_at = '-infinity'")

    def relay(
        self, url: str | None, topic: str, outbox: Outbox | None = None, timing: Timing = TIMING, **settings: Any
    ) -> Relay:
        return Relay(
            PulsarSettings(service_url=url, topic=topic, **settings),
            outbox or self.outbox,
            metrics=self.metrics.relay,
            wake=self.wake,
            fence=self.fence,
            timing=timing,
        )

    @asynccontextmanager
    async def relaying(
        self, url: str, topic: str, outbox: Outbox | None = None, timing: Timing = TIMING, **settings: Any
    ) -> AsyncIterator[Relay]:
        made = self.relay(url, topic, outbox, timing, **settings)
        async with running(made):
            yield made

    async def until_all_published(self, seconds: float = 60) -> None:
        await until(lambda: not self.rows("pending"), seconds=seconds)


@asynccontextmanager
async def running(made: Relay) -> AsyncIterator[None]:
    task = asyncio.create_task(made.run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def staged(dsn: str) -> AsyncIterator[Stage]:
    async with connected(dsn) as database:
        fence = await Lease(database, "first", ttl_seconds=600).acquire()
        assert fence is not None
        yield Stage(dsn, Outbox(database), Metrics(), fence, asyncio.Event())


async def _relay_until_killed(dsn: str, url: str, topic: str) -> None:
    async with connected(dsn) as database:
        lease = Lease(database, f"process {os.getpid()}", ttl_seconds=0.1)
        while (fence := await lease.acquire()) is None:
            await asyncio.sleep(0.01)
        stage = Stage(dsn, Outbox(database), Metrics(), fence, asyncio.Event())
        await stage.relay(url, topic).run()


if __name__ == "__main__":
    asyncio.run(_relay_until_killed(*sys.argv[1:]))
