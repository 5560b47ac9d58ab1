"""The real poller against the simulated Bridge on a simulated clock: months of polls in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from exporter.bridge.client import Fetched
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse
from exporter.clock import Clock
from exporter.config.settings import BridgeSettings, PollSettings, Settings
from exporter.durations import Duration
from exporter.errors import BridgeBudgetExhausted, BridgeError, BridgeUnavailable
from exporter.feed.backlog import Stream
from exporter.metrics import Metrics
from exporter.poller.poller import Poller
from exporter.simulator import scenario as scenarios
from exporter.simulator.world import Refusal, World, ispbs

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Poll

BEGAN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""Yesterday: a fresh database has partitions for it."""


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
        try:
            reply = self.world.reply(participant, self.clock.now())
        except Refusal as refusal:
            if refusal.code == "RESOURCE_EXHAUSTED":
                error: BridgeError = BridgeBudgetExhausted(str(refusal), code=refusal.code)
            else:
                error = BridgeUnavailable(str(refusal), code=refusal.code)
            error.attempts = 1
            raise error from refusal
        if reply.delay_seconds > time_limit_seconds:
            late = BridgeUnavailable("did not answer in time", code="DEADLINE_EXCEEDED")
            late.attempts = 1
            raise late
        try:
            return Fetched(GetRateLimitPoliciesResponse.FromString(reply.payload), 1)
        except DecodeError:
            return Fetched(None, 1)  # as grpc.aio has it


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
    ) -> None:
        self.clock = SimulatedClock(began)
        self.metrics = Metrics()
        self.polls: list[Poll] = []
        self.stream = Stream(self.polls.append)
        names = ispbs(participants)
        world = World(scenarios.load(scenario), names, seed, began)
        self._interval_seconds = interval_seconds
        settings = Settings(
            poll=PollSettings(
                interval=Duration(interval_seconds),
                estimate_window=Duration(estimate_window_seconds),
                staleness=Duration(staleness_seconds),
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
                self.clock.advance(apart)
        return self.polls[before:]
