"""A store to write to and read from, with the lease taken."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from exporter.alerts.alert import AlertState, Reason, Transition, by_fingerprint
from exporter.buckets.observation import Observation
from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings
from exporter.errors import DatabaseUnavailable
from exporter.store.chunks import DueHour, compact
from exporter.store.database import Database
from exporter.store.lease import Lease
from exporter.store.partitions import maintain
from exporter.store.reader import Reader
from exporter.store.reconciliation import Reconciliation
from exporter.store.writer import Writer
from tests.support.builders import START, at, poll
from tests.support.postgres import hostile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import datetime

    from exporter.alerts.alert import Alert
    from exporter.buckets.observation import Poll
    from exporter.errors import ReconciliationRefused
    from exporter.store.lease import Fence

HEARTBEAT_SECONDS = 900.0


@dataclass
class Store:
    """``writer`` and ``reader`` as the program uses them; partitions are there around the tests' start."""

    database: Database
    fence: Fence
    writer: Writer = field(init=False)
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = Reader(self.database)
        self.restart()

    def restart(self) -> None:
        """Begins with a writer that knows nothing."""
        self.writer = Writer(self.database, HEARTBEAT_SECONDS)

    async def commit(self, *batch: Reconciliation | Poll) -> list[tuple[Reconciliation, ReconciliationRefused]]:
        made = [r if isinstance(r, Reconciliation) else Reconciliation(r, evaluated=True) for r in batch]
        return await self.writer.commit(made, self.fence)

    async def rows(self, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self.database.transaction() as connection:
            return await (await connection.execute(query.encode(), parameters)).fetchall()

    async def value(self, query: str) -> Any:
        ((value,),) = await self.rows(query)
        return value

    async def compact(self) -> None:
        """Compacts every hour that has polls as rows."""
        hours = await self.rows(
            "SELECT DISTINCT participant, date_trunc('hour', polled_at, 'UTC') AS hour"
            "  FROM dict_rate_limit_reconciliation_rows ORDER BY hour"
        )
        for participant, hour in hours:
            await compact(self.fence, DueHour(participant, hour, 0.0))

    async def everything(self) -> dict[str, list[str]]:
        """Returns what every table holds."""
        tables = ("policies", "states", "alerts", "alert_transitions", "reconciliations", "outbox")
        return {
            table: [row[0] for row in await self.rows(f"SELECT t::text FROM dict_rate_limit_{table} AS t ORDER BY 1")]
            for table in tables
        }


async def until_available(act: Callable[[], Awaitable[object]], *, seconds: float = 60) -> None:
    """Acts again and again while the database is away. Raises TimeoutError after ``seconds``."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await act()
            except DatabaseUnavailable:
                continue
            return


async def until_connected(database: Database) -> None:
    """Waits for a connection that is ready: on a busy machine that may take longer than a lease waits."""

    async def connect() -> None:
        async with database.transaction():
            pass

    await until_available(connect)


@asynccontextmanager
async def connected(dsn: str, **settings: Any) -> AsyncIterator[Database]:
    async with Database(DatabaseSettings(dsn=Secret(hostile(dsn)), **settings)) as database:
        await until_connected(database)
        yield database


@asynccontextmanager
async def stored(dsn: str, at_time: datetime = START) -> AsyncIterator[Store]:
    async with connected(dsn) as database:
        fence = await Lease(database, "first", ttl_seconds=600).acquire()
        assert fence is not None
        await maintain(database, 120, at=at_time)
        yield Store(database, fence)


def pending(alert: Alert) -> Alert:
    return replace(alert, state=AlertState.PENDING, firing_since=None)


def resolved(alert: Alert, seconds: float, reason: Reason = Reason.RECOVERED) -> Alert:
    return replace(alert, state=AlertState.RESOLVED, resolved_at=at(seconds), reason=reason)


def reconciled(
    seconds: float = 0, *, before: tuple[Alert, ...] = (), after: tuple[Alert, ...] = (), **given: Any
) -> Reconciliation:
    """A poll at ``seconds``, before and after which these alerts were open.

    What begins to fire and what is open no more makes a transition, as rules would have it.
    """
    made = given.pop("poll", None) or poll(seconds=seconds, **given)
    was, now = by_fingerprint(before), by_fingerprint(after)
    ended = [a for f, a in was.items() if f not in now or now[f].active_since != a.active_since]
    transitions = [resolved(a, seconds) for a in ended if a.state is AlertState.FIRING]
    transitions += [
        a
        for f, a in now.items()
        if a.state is AlertState.FIRING
        and (f not in was or (was[f].state, was[f].active_since) != (a.state, a.active_since))
    ]
    return Reconciliation(
        made,
        evaluated=True,
        alerts_before=was,
        alerts_after=now,
        transitions=tuple(_transition(a, made) for a in transitions),
    )


def _transition(alert: Alert, made: Poll) -> Transition:
    answer = made.result if isinstance(made.result, Observation) else None
    buckets = {o.bucket.policy: o for o in answer.buckets} if answer else {}
    return Transition(
        alert,
        made.polled_at,
        category=answer.category if answer else None,
        observation=buckets.get(alert.policy) if alert.policy else None,
        observed_at=answer.observed_at if answer else None,
    )
