"""A stored history: the simulator's `demo` scenario on a clock of its own, committed as the reconciler does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

from exporter.bridge.client import Fetched
from exporter.clock import Clock
from exporter.config.settings import BridgeSettings, Settings
from exporter.feed.backlog import Stream
from exporter.metrics import Metrics
from exporter.poller.poller import Poller
from exporter.poller.reads_off import ReadsOff
from exporter.reconciler.decide import ParticipantState, decide
from exporter.reconciler.loop import BATCH_POLLS
from exporter.simulator import scenario
from exporter.simulator.world import World, ispbs
from exporter.store.database import Database
from exporter.store.lease import Lease
from exporter.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.alerts.rule import Rule
    from exporter.bridge.client import BridgeClient
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Poll
    from exporter.config.settings import DatabaseSettings
    from exporter.store.reconciliation import Reconciliation

BEGAN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""Yesterday: a fresh database has partitions from the month before to three months ahead."""

HOLDER = "benchmark"


class _Bridge:
    """Answers polls from a world of this process, at a time that only `record` moves."""

    def __init__(self, participants: Sequence[Ispb]) -> None:
        self.world = World(scenario.load("demo"), participants, 1, BEGAN)
        self.seconds = BEGAN.timestamp()

    def time(self) -> float:
        return self.seconds

    async def fetch(self, participant: Ispb, **_: object) -> Fetched:
        return Fetched(self.world.answer(participant, datetime.fromtimestamp(self.seconds, UTC)), 1)


async def record(database: DatabaseSettings, rules: Sequence[Rule], *, hours: float, participants: int) -> None:
    """Fills an empty database, polling every 15 s."""
    names = ispbs(participants)
    bridge = _Bridge(names)
    polls: list[Poll] = []
    settings = Settings(bridge=BridgeSettings(target="bridge:1", retries=0))
    stream, metrics = Stream(polls.append), Metrics()
    off = ReadsOff(metrics.polls.reads_off)
    clock = Clock(bridge.time, bridge.time)
    client = cast("BridgeClient", bridge)
    pollers = [
        Poller(name, client=client, settings=settings, sink=stream, metrics=metrics, clock=clock, reads_off=off)
        for name in names
    ]
    interval_seconds = settings.poll.interval
    followed = dict.fromkeys(names, ParticipantState())
    async with Database(database) as connected:
        writer = Writer(connected, heartbeat_seconds=900)
        fence = await Lease(connected, HOLDER, ttl_seconds=86_400).acquire()
        assert fence is not None
        batch: list[Reconciliation] = []
        for _ in range(round(hours * 3600 / interval_seconds)):
            for poller in pollers:
                await poller.poll(interval_seconds)
                bridge.seconds += interval_seconds / len(pollers)
            for poll in polls:
                followed[poll.participant], decided = decide(followed[poll.participant], poll, rules)
                if decided is not None:
                    batch.append(decided)
            polls.clear()
            if len(batch) >= BATCH_POLLS:
                assert not await writer.commit(batch, fence)
                batch.clear()
        if batch:
            assert not await writer.commit(batch, fence)
