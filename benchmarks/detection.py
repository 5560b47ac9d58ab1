"""What an exporter shows of bursts that are shorter than its poll interval, with reads of single buckets and without.

The simulated Bridge and the exporters are processes, and what they show is taken from their feeds. A probe asks the
Bridge for the truth ten times a second, for which POLICIES_LIST is large; all else is at its default. Two refill modes
at once; a seed takes `BENCH_SECONDS` (six minutes).
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import grpc
import httpx

from benchmarks.figure import Figure
from benchmarks.processes import free_address, listens, program, wait_until
from benchmarks.seen import (
    EMPTY_SECONDS,
    PROBE_SECONDS,
    Dip,
    Shown,
    Truth,
    below_reserve,
    dips,
    longest_gap_seconds,
    never_empty,
    never_there,
    proven_empty,
)
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesRequest, GetRateLimitPoliciesResponse
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import carried_poll, poll_of
from exporter.simulator.scenario import SHIPPED
from exporter.simulator.world import ispbs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

MEASURED_SECONDS = float(os.environ.get("BENCH_SECONDS", "360"))
MODES = ("continuous", "stepwise")
LEVELS = (0.2, 0.1)
RESERVE = 100

DRAIN = """
description: three buckets drain steadily
category: F
step: 500ms
traffic:
  - {policies: [KEYS_CHECK], from: 40s, until: 110s, every: 180s, share_of_refill: 2}
  - {policies: [ENTRIES_UPDATE], from: 47s, until: 112s, every: 180s, share_of_refill: 2}
  - {policies: [SYNC_VERIFICATIONS_WRITE], from: 45s, until: 105s, share_of_refill: 6}
"""
PROBED = "sizes: {POLICIES_LIST: {capacity: 1000000, refill_tokens: 1000000}}\n"


def _more_often(spikes: str) -> str:
    """Returns the scenario with more bursts in the same time: every 41, 53 and 67 s."""
    for seconds, fewer in ((67, 41), (83, 53), (97, 67)):
        spikes = spikes.replace(f": {seconds}s", f": {fewer}s")
    return spikes


SCENARIOS = {
    "spikes": (_more_often((SHIPPED / "spikes.yml").read_text()), 4),
    "drain": (DRAIN, 1),
    "shared-budget": ((SHIPPED / "shared-budget.yml").read_text(), 1),
    "steady": ((SHIPPED / "steady.yml").read_text(), 1),
}
"""What is simulated, and for how many participants."""


@dataclass
class Case:
    """One simulated Bridge, and the exporters that poll it: by name, where their feeds and metrics are."""

    target: str
    participants: tuple[str, ...]
    exporters: dict[str, tuple[str, str]]
    truth: Truth = field(default_factory=Truth)
    shown: dict[str, Shown] = field(default_factory=lambda: defaultdict(Shown))


def run(*seeds: int) -> Iterator[Figure]:
    for seed in seeds or (1,):
        with ExitStack() as stack:
            started = {(mode, name): _start(stack, name, mode, seed) for mode in MODES for name in SCENARIOS}
            cases = {key: next(start) for key, start in started.items()}
            for start in started.values():
                next(start, None)
            asyncio.run(_watch(cases.values()))
            refused = sum(_refused(metrics) for case in cases.values() for _, metrics in case.exporters.values())
        which = f"seed {seed}, " if len(seeds) > 1 else ""
        for mode in MODES:
            yield from _figures(f"{which}{mode}, ", {name: cases[mode, name] for name in SCENARIOS})
        yield _figure(f"{which}RESOURCE_EXHAUSTED", refused, "", at_most=0)


def _start(stack: ExitStack, name: str, mode: str, seed: int) -> Iterator[Case]:
    """Starts a simulated Bridge and exporters, yields, and goes on when all are there."""
    text, count = SCENARIOS[name]
    file = Path(stack.enter_context(TemporaryDirectory(prefix="dict-rate-limit-bench-"))) / "scenario.yml"
    file.write_text(f"refill: {mode}\n{PROBED}{text}")
    target = free_address()
    flags = ("--scenario", file, "--seed", seed, "--participants", count, "--listen-address", target)
    bridge = stack.enter_context(program("bridge-simulator", *map(str, flags), "--log.level", "warning"))
    exporters, processes = {}, [(bridge, target)]
    for exporter in ("reads", "polls") if name == "spikes" else ("reads",):
        feed, web = free_address(), free_address()
        settings = {
            "PARTICIPANTS": ",".join(ispbs(count)),
            "BRIDGE__TARGET": target,
            "BRIDGE__INSECURE": "true",
            "FEED__LISTEN_ADDRESS": feed,
            "FEED__INSECURE": "true",
            "WEB__LISTEN_ADDRESS": web,
            "LOG__LEVEL": "error",
        }
        if exporter == "polls":
            settings["POLL__READS__SHARE"] = "0"
        processes.append((stack.enter_context(program("exporter", settings=settings)), feed))
        exporters[exporter] = (feed, web)
    yield Case(target, ispbs(count), exporters)
    for process, address in processes:
        wait_until(partial(listens, address), process, 120)


def _figures(name: str, cases: dict[str, Case]) -> Iterator[Figure]:
    spikes = cases["spikes"]
    three, *one = spikes.participants
    for exporter in ("polls", "reads"):
        yield from _of_dips(f"{name}one bursts, {exporter}: ", spikes, exporter, one)
        yield from _of_delays(f"{name}one bursts, {exporter}: ", spikes, exporter, one, mean=1.5, longest=4.0)
        yield from _of_dips(f"{name}three burst, {exporter}: ", spikes, exporter, [three])
        yield from _of_delays(f"{name}three burst, {exporter}: ", spikes, exporter, [three], mean=3.0, longest=7.0)
    yield from _of_drain(f"{name}three drain: ", cases["drain"])
    for case_name, case in cases.items():
        shown = case.shown["reads"]
        reads = len(shown.reads) / len(case.participants) / MEASURED_SECONDS * 60
        yield _figure(f"{name}{case_name}: reads a minute", reads, "", at_most=12 if case_name == "steady" else None)
        low = below_reserve(case.truth, shown, RESERVE)
        yield _figure(f"{name}{case_name}: reads below the reserve", low, "", at_most=0)
        false = never_there(case.truth, shown)
        yield _figure(f"{name}{case_name}: levels shown that never were", false, "", at_most=0)
        false = never_empty(case.truth, shown)
        yield _figure(f"{name}{case_name}: empties shown that never were", false, "", at_most=0)
    gap = max(longest_gap_seconds(case.truth) for case in cases.values())
    yield _figure(f"{name}longest time between two probes", gap, "s")


def _of_dips(name: str, case: Case, exporter: str, participants: Collection[str]) -> Iterator[Figure]:
    firsts = [dip for dip in _dips(case, exporter, LEVELS[0], participants) if not dip.number]
    empties = [
        dip
        for dip in _dips(case, exporter, 0.0, participants)
        if dip.number and EMPTY_SECONDS[0] <= dip.seconds < EMPTY_SECONDS[1]
    ]
    for what, dips_, aim in (
        ("dips to 20 % and 10 %", _long_dips(case, exporter, participants), 100),
        ("first dips to 20 %", firsts, 51),
        ("empties of a second", empties, 70),
    ):
        yield from _share(f"{name}{what} seen", _seen(dips_), at_least=aim, aims=exporter)
    proven = proven_empty(case.truth, case.shown[exporter], participants)
    yield from _share(f"{name}empties of a second proven by counts", proven, at_least=100, aims=exporter)


def _of_delays(
    name: str, case: Case, exporter: str, participants: Collection[str], *, mean: float, longest: float
) -> Iterator[Figure]:
    delays = _delays(_long_dips(case, exporter, participants))
    yield _figure(f"{name}mean delay", statistics.mean(delays), "s", at_most=mean, aims=exporter)
    yield _figure(f"{name}longest delay", max(delays), "s", at_most=longest, aims=exporter)


def _long_dips(case: Case, exporter: str, participants: Collection[str]) -> list[Dip]:
    """Returns the dips of two seconds and more, from a bucket's second on."""
    dips_ = (dip for share in LEVELS for dip in _dips(case, exporter, share, participants))
    return [dip for dip in dips_ if dip.number and dip.seconds >= 2]


def _of_drain(name: str, case: Case) -> Iterator[Figure]:
    by_level = {
        share: [dip for dip in _dips(case, "reads", share, case.participants) if dip.seconds >= 2]
        for share in (*LEVELS, 0.0)
    }
    crossings = [dip for share in LEVELS for dip in by_level[share]]
    yield from _share(f"{name}crossings of 20 % and 10 % seen", _seen(crossings), at_least=100)
    # A bucket that is drained has a token now and then.
    yield from _share(f"{name}empties seen", _seen(by_level[0.0]), at_least=70)
    delays = _delays((*crossings, *by_level[0.0]))
    yield _figure(f"{name}mean delay", statistics.mean(delays), "s", at_most=1.5)
    yield _figure(f"{name}longest delay", max(delays), "s")


def _seen(dips_: Iterable[Dip]) -> list[bool]:
    return [dip.delay_seconds is not None for dip in dips_]


def _delays(dips_: Iterable[Dip]) -> list[float]:
    return [dip.delay_seconds for dip in dips_ if dip.delay_seconds is not None]


def _share(name: str, seen: Sequence[bool], *, at_least: float, aims: str = "reads") -> Iterator[Figure]:
    """Yields the percentage that was seen; nothing where there was nothing to see."""
    if seen:
        percent = 100 * sum(seen) / len(seen)
        yield _figure(f"{name}, of {len(seen)}", percent, "%", at_least=at_least, aims=aims)


def _figure(
    name: str,
    value: float,
    unit: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    aims: str = "reads",
) -> Figure:
    if aims != "reads" or at_least is at_most is None:
        return Figure(name, value, unit)
    if at_least is not None:
        return Figure(name, value, unit, f">= {at_least}", value >= at_least)
    assert at_most is not None
    return Figure(name, value, unit, f"<= {at_most}", value <= at_most)


def _dips(case: Case, exporter: str, share: float, participants: Collection[str]) -> list[Dip]:
    return [
        dip
        for (participant, _), its_dips in dips(case.truth, case.shown[exporter], share).items()
        if participant in participants
        for dip in its_dips
    ]


async def _watch(cases: Iterable[Case]) -> None:
    tasks = [
        asyncio.create_task(task)
        for case in cases
        for task in (
            *(_probe(case, participant) for participant in case.participants),
            *(_follow(case, exporter, feed) for exporter, (feed, _) in case.exporters.items()),
        )
    ]
    ended, running = await asyncio.wait(tasks, timeout=MEASURED_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for task in ended:
        task.result()


async def _probe(case: Case, participant: str) -> None:
    """Asks for the truth again and again. An answer tells of the instant in it."""
    async with grpc.aio.insecure_channel(case.target) as channel:
        ask = channel.unary_unary(
            "/bacen.dict.v2.RateLimitService/GetRateLimitPolicies",
            request_serializer=GetRateLimitPoliciesRequest.SerializeToString,
            response_deserializer=GetRateLimitPoliciesResponse.FromString,
        )
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            answer = await ask(GetRateLimitPoliciesRequest(requesting_participant=participant), timeout=10)
            at = answer.response_time.ToNanoseconds() / 1e9
            for policy in answer.policies:
                case.truth.capacities[policy.name] = policy.capacity
                case.truth.refills[policy.name] = policy.refill_tokens
                case.truth.levels[participant, policy.name].append((at, policy.available_tokens))
            due = max(due + PROBE_SECONDS, loop.time())
            await asyncio.sleep(due - loop.time())


async def _follow(case: Case, exporter: str, feed: str) -> None:
    """Takes in what an exporter shows."""
    async with grpc.aio.insecure_channel(feed) as channel:
        call = channel.stream_stream(
            "/dict_rate_limit.v1.PollFeed/Watch",
            request_serializer=feed_pb2.FromReconciler.SerializeToString,
            response_deserializer=feed_pb2.FromExporter.FromString,
        )()
        await call.write(feed_pb2.FromReconciler(open=feed_pb2.Open(participants=case.participants)))
        with suppress(asyncio.CancelledError):
            async for message in call:
                if message.WhichOneof("message") in ("poll", "read"):
                    case.shown[exporter].polls.append(poll_of(carried_poll(message), "detection"))


def _refused(address: str) -> int:
    page = httpx.get(f"http://{address}/metrics", timeout=10).text
    errors = re.findall(r'dict_rate_limit_poll_errors_total{[^}]*code="RESOURCE_EXHAUSTED"[^}]*} (\S+)', page)
    return int(sum(map(float, errors)))
