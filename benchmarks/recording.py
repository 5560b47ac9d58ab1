"""A stored history: a scenario of the simulator on a clock of its own, committed as the reconciler does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, TypeVar, cast

from exporter.bridge.client import Fetched
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse, GetRateLimitPolicyResponse
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
    from collections.abc import AsyncIterator, Sequence

    from exporter.alerts.rule import Rule
    from exporter.bridge.client import BridgeClient
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Poll
    from exporter.config.settings import DatabaseSettings
    from exporter.store.reconciliation import Reconciliation

Response = TypeVar("Response", GetRateLimitPoliciesResponse, GetRateLimitPolicyResponse)

BEGAN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""Yesterday: a fresh database has partitions from the month before to three months ahead."""

HOLDER = "benchmark"


class _Bridge:
    """Answers from a world of this process, at a time that only `record` moves; an answer takes a while."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seconds = BEGAN.timestamp()
        self._random = Random(seed)

    def time(self) -> float:
        return self.seconds

    def _at_the_bridge(self) -> datetime:
        self.seconds += self._random.lognormvariate(-4.6, 0.4)
        return datetime.fromtimestamp(self.seconds, UTC)

    def _received(self, response: Response) -> Response:
        # The simulator's ids count up; BACEN's are random.
        response.correlation_id = f"{self._random.getrandbits(128):032x}"
        self.seconds += self._random.lognormvariate(-4.6, 0.4)
        return response

    async def fetch(self, participant: Ispb, **_: object) -> Fetched:
        return Fetched(self._received(self.world.answer(participant, self._at_the_bridge())), 1)

    async def read(self, participant: Ispb, policy: str, **_: object) -> GetRateLimitPolicyResponse:
        return self._received(self.world.answer_one(participant, policy, self._at_the_bridge()))


async def _polls(world: World, participant: Ispb, hours: float, seed: int) -> AsyncIterator[Poll]:
    """Yields the polls and reads of one participant, as its poller makes them every 15 s."""
    bridge = _Bridge(world, seed)
    polls: list[Poll] = []
    settings = Settings(bridge=BridgeSettings(target="bridge:1", retries=0))
    interval_seconds, metrics = settings.poll.interval, Metrics()
    poller = Poller(
        participant,
        client=cast("BridgeClient", bridge),
        settings=settings,
        sink=Stream(polls.append),
        metrics=metrics,
        clock=Clock(bridge.time, bridge.time),
        reads_off=ReadsOff(metrics.polls.reads_off),
    )
    due = bridge.seconds
    for _ in range(round(hours * 3600 / interval_seconds)):
        bridge.seconds = max(bridge.seconds, due)
        await poller.poll(interval_seconds)
        due += interval_seconds
        while (planned := poller.next_read(bridge.seconds, due - 1)) is not None:
            bridge.seconds = max(bridge.seconds, planned.at)
            await poller.read(planned.policy, due - bridge.seconds)
        while polls:
            yield polls.pop(0)


async def record(
    database: DatabaseSettings,
    rules: Sequence[Rule],
    *,
    hours: float,
    participants: int,
    traffic: scenario.Scenario | None = None,
) -> None:
    """Fills an empty database with what polls every 15 s, and reads, show of the `demo` scenario, or of another one."""
    names = ispbs(participants)
    world = World(traffic or scenario.load("demo"), names, 1, BEGAN)
    async with Database(database) as connected:
        writer = Writer(connected, heartbeat_seconds=900)
        fence = await Lease(connected, HOLDER, ttl_seconds=86_400).acquire()
        assert fence is not None
        for seed, participant in enumerate(names):
            state = ParticipantState()
            batch: list[Reconciliation] = []
            async for poll in _polls(world, participant, hours, seed):
                state, decided = decide(state, poll, rules)
                if decided is not None:
                    batch.append(decided)
                if len(batch) >= BATCH_POLLS:
                    assert not await writer.commit(batch, fence)
                    batch.clear()
            if batch:
                assert not await writer.commit(batch, fence)
