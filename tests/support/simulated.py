"""The real poller against the simulated Bridge on a simulated clock: months of polls in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from exporter.bridge.client import Fetched
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse, GetRateLimitPolicyResponse
from exporter.clock import Clock
from exporter.config.settings import BridgeSettings, PollSettings, ReadsSettings, Settings
from exporter.durations import Duration
from exporter.errors import BridgeBudgetExhausted, BridgeUnavailable
from exporter.feed.backlog import Stream
from exporter.metrics import Metrics
from exporter.poller.poller import Poller
from exporter.poller.reads_off import ReadsOff
from exporter.simulator import scenario as scenarios
from exporter.simulator.world import Refusal, World, ispbs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from exporter.buckets.bucket import Ispb, PolicyName
    from exporter.buckets.observation import Poll
    from exporter.simulator.world import Reply

BEGAN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""Yesterday: a fresh database has partitions for it."""


CALL_SECONDS = 0.001
"""How long a read takes: no two are at one instant."""


class SimulatedClock:
    """Time that only moves when it is told to."""

    def __init__(self, began: datetime = BEGAN) -> None:
        self.at = began

    def now(self) -> datetime:
        return self.at

    def seconds(self) -> float:
        return self.at.timestamp()

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@dataclass
class SimulatedClient:
    """Answers as the Bridge client does, from a world of this process."""

    world: World
    clock: SimulatedClock

    async def fetch(self, participant: Ispb, *, retries: int, time_limit_seconds: float) -> Fetched:
        assert retries >= 0
        payload = self._payload(lambda: self.world.reply(participant, self.clock.now()), time_limit_seconds)
        try:
            return Fetched(GetRateLimitPoliciesResponse.FromString(payload), 1)
        except DecodeError:
            return Fetched(None, 1)  # as grpc.aio has it

    async def read(
        self, participant: Ispb, policy: PolicyName, *, time_limit_seconds: float
    ) -> GetRateLimitPolicyResponse:
        payload = self._payload(lambda: self.world.reply_one(participant, policy, self.clock.now()), time_limit_seconds)
        return GetRateLimitPolicyResponse.FromString(payload)

    def _payload(self, reply_of: Callable[[], Reply], time_limit_seconds: float) -> bytes:
        try:
            reply = reply_of()
        except Refusal as refusal:
            if refusal.code == "RESOURCE_EXHAUSTED":
                raise BridgeBudgetExhausted(str(refusal), code=refusal.code) from refusal
            raise BridgeUnavailable(str(refusal), code=refusal.code) from refusal
        if reply.delay_seconds > time_limit_seconds:
            raise BridgeUnavailable("did not answer in time", code="DEADLINE_EXCEEDED")
        return reply.payload


class Simulation:
    """A scenario polled on its own clock. ``stream`` and ``metrics`` are the exporter's."""

    def __init__(
        self,
        scenario: str | Path = "demo",
        *,
        participants: int = 1,
        interval_seconds: float = 15.0,
        seed: int = 1,
        began: datetime = BEGAN,
        estimate_window_seconds: float = 60.0,
        staleness_seconds: float = 300.0,
        reads: bool = False,
    ) -> None:
        self.clock = SimulatedClock(began)
        self.metrics = Metrics()
        self.polls: list[Poll] = []
        self._polled_at: dict[Ispb, float] = {}
        self.stream = Stream(self.polls.append)
        names = ispbs(participants)
        world = World(scenarios.load(scenario), names, seed, began)
        self.world = world
        self._interval_seconds = interval_seconds
        settings = Settings(
            poll=PollSettings(
                interval=Duration(interval_seconds),
                estimate_window=Duration(estimate_window_seconds),
                staleness=Duration(staleness_seconds),
                reads=ReadsSettings() if reads else ReadsSettings(share=0),
            ),
            bridge=BridgeSettings(target="bridge:1", retries=0),
        )
        self.pollers = [
            Poller(
                name,
                client=SimulatedClient(world, self.clock),
                settings=settings,
                sink=self.stream,
                metrics=self.metrics,
                clock=Clock(wall=self.clock.seconds, monotonic=self.clock.seconds),
                reads_off=ReadsOff(self.metrics.polls.reads_off),
            )
            for name in names
        ]

    async def run(self, seconds: float) -> list[Poll]:
        """Polls everyone for so many simulated seconds; returns these polls, in order of time."""
        before = len(self.polls)
        apart = self._interval_seconds / len(self.pollers)
        for _ in range(round(seconds / self._interval_seconds)):
            for poller in self.pollers:
                await poller.poll(self._interval_seconds)
                self._polled_at[poller.participant] = self.clock.seconds()
                await self._read_until(self.clock.seconds() + apart)
        return self.polls[before:]

    async def _read_until(self, end: float) -> None:
        """Reads what pollers plan, everybody's in order of time, and advances the clock to ``end``."""
        while True:
            now = self.clock.seconds()
            planned = [
                (read.at, poller.participant, poller, read.policy)
                for poller in self.pollers
                if (
                    read := poller.next_read(now, self._polled_at.get(poller.participant, now) + self._interval_seconds)
                )
                and read.at < end
            ]
            if not planned:
                break
            at, _, poller, policy = min(planned)
            self.clock.advance(at - now + CALL_SECONDS)
            await poller.read(policy, 1.0)
        self.clock.advance(max(0.0, end - self.clock.seconds()))
