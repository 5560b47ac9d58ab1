"""A database with a past: polls taken through rules and committed, as the reconciler does it."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import make_conninfo

from exporter.reconciler.decide import ParticipantState, decide
from exporter.reconciler.loop import BATCH_POLLS
from exporter.rules.files import loading
from exporter.store import partitions
from exporter.store.lease import Lease
from exporter.store.reader import Reader
from exporter.store.writer import Writer
from tests.support.postgres import cloned, dsn_as
from tests.support.program import RULES
from tests.support.simulated import Simulation
from tests.support.stored import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence

    from exporter.alerts.rule import Rule
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Poll
    from exporter.store.database import Database
    from exporter.store.lease import Fence
    from exporter.store.reconciliation import Reconciliation

RULE_SET = loading.load([str(RULES)]).rules
SIX_HOURS_SECONDS = 6 * 3600.0

_HOLDER = "test"
_RENEW_EVERY_COMMITS = 20


class Recorder:
    """Commits polls with what rules make of them."""

    def __init__(self, database: Database, rules: Sequence[Rule]) -> None:
        self.rules = rules
        self._database = database
        self._writer = Writer(database, heartbeat_seconds=900)
        self._lease = Lease(database, _HOLDER, ttl_seconds=600)
        self._fence: Fence | None = None
        self._followed: dict[Ispb, ParticipantState] = {}
        self._batch: list[Reconciliation] = []
        self._month: tuple[int, int] | None = None
        self._commits = 0

    async def take(self, polls: Iterable[Poll]) -> None:
        for poll in polls:
            followed = self._followed.get(poll.participant, ParticipantState())
            self._followed[poll.participant], decided = decide(followed, poll, self.rules)
            await self._room_for(poll)
            if decided is not None:
                self._batch.append(decided)
            if len(self._batch) >= BATCH_POLLS:
                await self.flush()

    async def flush(self) -> None:
        if self._commits % _RENEW_EVERY_COMMITS == 0:
            self._fence = await self._lease.acquire()
        self._commits += 1
        assert self._fence is not None
        refused = await self._writer.commit(self._batch, self._fence)
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
    async with connected(dsn) as database:
        made = Recorder(database, rules)
        yield made
        await made.flush()


@asynccontextmanager
async def reader(dsn: str, **options: int) -> AsyncIterator[Reader]:
    async with connected(dsn) as database:
        yield Reader(database, **options)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A database of the test's own, and the polls that are in it, in order. ``dsn`` is its writer's."""

    dsn: str
    superuser_dsn: str
    polls: Sequence[Poll]

    @property
    def participant(self) -> Ispb:
        """The first."""
        return self.polls[0].participant


class Histories:
    """Scenarios, polled and taken through the shipped rules: recorded once, cloned for each test."""

    def __init__(self, admin_dsn: str, template: str) -> None:
        self._admin_dsn = admin_dsn
        self._template = template
        self._recorded: dict[tuple[str, int, float, float, bool], tuple[str, Sequence[Poll]]] = {}
        self._stack = ExitStack()

    async def record(
        self, scenario: str, participants: int, seconds: float, interval_seconds: float, *, reads: bool
    ) -> tuple[str, Sequence[Poll]]:
        """Returns the name of the database to clone, and the polls that are in it."""
        key = (scenario, participants, seconds, interval_seconds, reads)
        if key not in self._recorded:
            name = self._stack.enter_context(cloned(self._admin_dsn, self._template))
            simulation = Simulation(scenario, participants=participants, interval_seconds=interval_seconds, reads=reads)
            async with recorder(dsn_as("writer", self._admin_dsn, name), RULE_SET) as past:
                await past.take(await simulation.run(seconds))
            self._recorded[key] = (name, tuple(simulation.polls))
        return self._recorded[key]

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def histories(postgres_admin_dsn: str, postgres_template: str) -> Iterator[Histories]:
    found = Histories(postgres_admin_dsn, postgres_template)
    yield found
    found.close()


@pytest.fixture
def recorded(histories: Histories, postgres_admin_dsn: str) -> Iterator[Callable[..., Awaitable[Recorded]]]:
    """Lends a database with six hours, or so many ``seconds``, of a scenario, polled each 30 s or as often as said."""
    with ExitStack() as stack:

        async def lend(
            scenario: str,
            *,
            participants: int = 1,
            seconds: float = SIX_HOURS_SECONDS,
            interval_seconds: float = 30,
            reads: bool = False,
        ) -> Recorded:
            template, polls = await histories.record(scenario, participants, seconds, interval_seconds, reads=reads)
            name = stack.enter_context(cloned(postgres_admin_dsn, template))
            superuser_dsn = make_conninfo(postgres_admin_dsn, dbname=name)
            return Recorded(dsn_as("writer", postgres_admin_dsn, name), superuser_dsn, polls)

        yield lend
