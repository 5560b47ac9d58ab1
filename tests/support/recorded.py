"""A database with a past: polls taken through rules and committed, as the reconciler does it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from exporter.config import DatabaseSettings, Secret
from exporter.reconciler import BATCH_POLLS, Followed, decide
from exporter.store import partitions
from exporter.store.database import Database
from exporter.store.lease import Lease
from exporter.store.reader import Reader
from exporter.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from exporter.alerts.alert import Rule
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Poll
    from exporter.store.reconciliation import Reconciliation

_HOLDER = "test"
_RENEW_EVERY_COMMITS = 20


class Recorder:
    """Commits polls with what rules make of them."""

    def __init__(self, database: Database, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self._database = database
        self._writer = Writer(database, heartbeat_seconds=900)
        self._lease = Lease(database, _HOLDER, ttl_seconds=600)
        self._followed: dict[Ispb, Followed] = {}
        self._batch: list[Reconciliation] = []
        self._month: tuple[int, int] | None = None
        self._commits = 0

    async def take(self, polls: Iterable[Poll]) -> None:
        for poll in polls:
            followed = self._followed.get(poll.participant, Followed())
            self._followed[poll.participant], decided = decide(followed, poll, self.rules)
            await self._room_for(poll)
            if decided is not None:
                self._batch.append(decided)
            if len(self._batch) >= BATCH_POLLS:
                await self.flush()

    async def flush(self) -> None:
        if self._commits % _RENEW_EVERY_COMMITS == 0:
            await self._lease.acquire()
        self._commits += 1
        assert self._lease.epoch is not None
        refused = await self._writer.commit(self._batch, epoch=self._lease.epoch, holder=_HOLDER)
        assert not refused
        self._batch = []

    async def _room_for(self, poll: Poll) -> None:
        """Makes the partitions of a month that the test's clock has come to."""
        month = (poll.polled_at.year, poll.polled_at.month)
        if month != self._month:
            await partitions.maintain(self._database, 120, at=poll.polled_at - timedelta(days=1))
            self._month = month


@asynccontextmanager
async def recorder(dsn: str, rules: Sequence[Rule]) -> AsyncIterator[Recorder]:
    async with Database(DatabaseSettings(dsn=Secret(dsn))) as database:
        made = Recorder(database, rules)
        yield made
        await made.flush()


@asynccontextmanager
async def reader(dsn: str) -> AsyncIterator[Reader]:
    async with Database(DatabaseSettings(dsn=Secret(dsn))) as database:
        yield Reader(database)
