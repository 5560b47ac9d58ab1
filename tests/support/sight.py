"""What polls and reads show of a scenario's buckets, and what they had: in simulated time, without a wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from exporter.buckets.bucket import Bucket, PolicyName
from exporter.buckets.catalog import POLICIES_READ
from exporter.poller.reads import ReadPlanner
from exporter.simulator import scenario
from exporter.simulator.world import World, ispbs

START = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL_SECONDS = 15.0
RESERVE = 100
LEVELS = (0.2, 0.1)
TICK_SECONDS = 0.1
SECONDS = 480.0


def bucket_of(policy) -> Bucket:
    name = PolicyName(policy.name)
    return Bucket(name, policy.available_tokens, policy.capacity, policy.refill_tokens, policy.refill_period_sec)


@dataclass
class Watch:
    """What polls and reads of one participant showed, by policy: when, and the bucket.

    ``left`` is what each read left of POLICIES_READ.
    """

    reads: int = 0
    left: list[int] = field(default_factory=list)
    shown: dict[PolicyName, list[tuple[float, Bucket]]] = field(default_factory=dict)

    def show(self, bucket: Bucket, at: float) -> None:
        self.shown.setdefault(bucket.policy, []).append((at, bucket))


def watched(world: World, participant: str, begins: float, seconds: float, share: float) -> Watch:
    """Polls each 15 s and reads in between as planned."""
    planner, watch = ReadPlanner(share, RESERVE, INTERVAL_SECONDS), Watch()
    now = due = begins
    while now < seconds:
        buckets = [bucket_of(one) for one in world.answer(participant, START + timedelta(seconds=now)).policies]
        planner.poll_answered(buckets, now)
        for bucket in buckets:
            watch.show(bucket, now)
        due += INTERVAL_SECONDS
        while (planned := planner.next(now, due - 0.5)) is not None:
            now = planned.at + 0.01
            planner.budget.spend(now)
            watch.reads += 1
            instant = START + timedelta(seconds=now)
            bucket = bucket_of(world.answer_one(participant, planned.policy, instant).policy)
            watch.left.append(world.accounts(participant, instant)[POLICIES_READ].bucket.available(now))
            planner.read_answered(bucket, now)
            watch.show(bucket, now)
        now = due
    return watch


@dataclass(frozen=True)
class Dip:
    """A time at or below a level; ``delay_seconds`` until it was shown, None: it was not."""

    seconds: float
    delay_seconds: float | None


@cache
def seen(name: str, mode: str, seed: int, *, index: int, share: float = 0.5, begins: float = 3.0) -> tuple:
    """Returns a scenario's dips to 20 % and to 10 % from a policy's second on, and what was shown."""
    played, seconds = with_refill(name, mode), begins + SECONDS
    names = ispbs(2)
    watch = watched(World(played, names, seed, START), names[index], begins, seconds, share)
    truth = World(played, names, seed, START)
    dips: list[Dip] = []
    for policy, level, spans in low_spans(truth, names[index], seconds):
        for began, ended in [span for span in spans if span[0] > begins][1:]:
            shown = [
                at
                for at, bucket in watch.shown[policy]
                if began <= at < ended and bucket.available_tokens <= level * bucket.capacity
            ]
            dips.append(Dip(ended - began, min(shown) - began if shown else None))
    return tuple(dips), watch


def with_refill(name: str, mode: str) -> scenario.Scenario:
    text = (scenario.SHIPPED / f"{name}.yml").read_text()
    return scenario.parse(f"refill: {mode}\n{text}", name)


def low_spans(truth: World, participant: str, seconds: float):
    """Yields policy, level, and from when until when its bucket was at the level or below."""
    began: dict[tuple[PolicyName, float], float] = {}
    spans: dict[tuple[PolicyName, float], list[tuple[float, float]]] = {}
    for tick in range(int(seconds / TICK_SECONDS)):
        at = tick * TICK_SECONDS
        for policy, account in truth.accounts(participant, START + timedelta(seconds=at)).items():
            for level in LEVELS:
                if account.bucket.available(at) <= level * account.bucket.capacity:
                    began.setdefault((policy, level), at)
                elif (policy, level) in began:
                    spans.setdefault((policy, level), []).append((began.pop((policy, level)), at))
    for (policy, level), its_spans in spans.items():
        yield policy, level, its_spans
