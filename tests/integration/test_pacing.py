"""The caller of docs/pacing.md: paced it is never refused, and while the monitor is away it is slow."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from exporter.buckets.bucket import PolicyName
from exporter.simulator.server import start
from tests.support.ports import free_port
from tests.support.program import ROOT, Program, programs, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from exporter.simulator.server import Simulator

POLICY = PolicyName("KEYS_CHECK")
SCENARIO = """
description: A small bucket that refills in two seconds, of which others use a fifth.
refill: {mode}
step: 100ms
sizes:
  POLICIES_LIST: {{capacity: 10000, refill_tokens: 6000}}
  KEYS_CHECK: {{capacity: 60, refill_tokens: 20, refill_period: 2s}}
traffic:
  - {{policies: [KEYS_CHECK], share_of_refill: 0.2}}
"""
KEYS = 45
"""Each of two callers looks up: together more than the bucket holds, and refills while they hurry."""

(PACE, EXAMPLE) = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs/pacing.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
)


def pace_class(**modules: Any) -> Any:
    """Returns the page's class; ``modules`` take the places of those that it imports."""
    namespace: dict[str, Any] = {}
    exec(compile(PACE, "docs/pacing.md", "exec"), namespace)
    namespace.update(modules)
    return namespace["Pace"]


class Dict:
    """Looks keys up from other threads: each lookup takes a token of the simulated bucket, or is a 429."""

    def __init__(self, simulator: Simulator) -> None:
        self.answers: Counter[str] = Counter()
        self._simulator = simulator
        self._loop = asyncio.get_running_loop()

    def check(self, _key: object) -> None:
        answer = asyncio.run_coroutine_threadsafe(self._answer(), self._loop).result(30)
        self.answers[answer] += 1

    async def _answer(self) -> str:
        world, now = self._simulator.world, datetime.now(UTC)
        account = world.accounts(self._simulator.participants[0], now)[POLICY]
        return "ok" if account.serve(1, 0, (now - world.start).total_seconds()) else "429"


@asynccontextmanager
async def monitored(folder: Path, mode: str) -> AsyncIterator[tuple[Dict, str]]:
    """Yields DICT, and where the headroom of its bucket is asked for: as soon as consumption is known."""
    file = folder / "scenario.yml"
    file.write_text(SCENARIO.format(mode=mode))
    simulator = await start(file, address="127.0.0.1:0", participants=1, seed=7)
    settings = {
        "PARTICIPANTS": simulator.participants[0],
        "BRIDGE__TARGET": simulator.address,
        "BRIDGE__INSECURE": "true",
        "BRIDGE__TIMEOUT": "1s",
        "POLL__INTERVAL": "1s",
        "POLL__ESTIMATE_WINDOW": "4s",
    }
    try:
        with programs() as begin:
            program = begin(Program("exporter", **settings))
            url = f"{program.url}/api/v1/headroom?participant={simulator.participants[0]}&policy={POLICY}"
            await asyncio.to_thread(wait_until, lambda: is_measured(program, url), within_seconds=60)
            yield Dict(simulator), url
    finally:
        await simulator.stop()


def is_measured(program: Program, url: str) -> bool:
    program.check_running()
    try:
        answer = httpx.get(url)
    except httpx.HTTPError:
        return False
    return answer.is_success and answer.json()["data"]["buckets"][0]["consumption_rate_per_minute"] is not None


async def call_twice_at_once(dict_api: Dict, pace: Callable[[], Any], keys: int) -> None:
    """Runs the page's loop in two threads, each with a pace of its own."""

    def call() -> None:
        exec(EXAMPLE, {"Pace": lambda *_, **__: pace(), "keys": range(keys), "check": dict_api.check})

    await asyncio.gather(asyncio.to_thread(call), asyncio.to_thread(call))


@pytest.mark.parametrize("mode", ["continuous", "stepwise"])
async def test_two_callers_that_pace_themselves_are_never_refused(tmp_path: Path, mode: str) -> None:
    pace = pace_class()
    async with monitored(tmp_path, mode) as (dict_api, url):
        await call_twice_at_once(dict_api, lambda: pace(url, weight=0.4, every_seconds=0.25, oldest_seconds=5), KEYS)

        assert dict_api.answers == {"ok": 2 * KEYS}


async def test_the_same_callers_are_refused_where_they_do_not_pace_themselves(tmp_path: Path) -> None:
    async with monitored(tmp_path, "continuous") as (dict_api, _):
        await call_twice_at_once(dict_api, lambda: SimpleNamespace(take=lambda: None), 2 * KEYS)

        assert dict_api.answers["429"] >= KEYS


class Seconds:
    """Stands in for the module ``time``: who sleeps has slept."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def headroom_file(folder: Path, **given: Any) -> str:
    """Returns the URL of an answer that stays as it is."""
    known = {"quota": 60, "remaining": 60, "reserve": 13, "sustainable_rate_per_minute": 600, "age_seconds": 0.0}
    bucket = {**known, **given}
    file = folder / "headroom.json"
    file.write_text(json.dumps({"data": {"buckets": [bucket]}}))
    return file.as_uri()


@pytest.mark.parametrize("what", ["no connection", "an old answer"])
def test_while_the_bucket_is_not_known_a_caller_goes_at_a_fixed_rate(tmp_path: Path, what: str) -> None:
    away = f"http://127.0.0.1:{free_port()}/api/v1/headroom"
    url = away if what == "no connection" else headroom_file(tmp_path, age_seconds=61.0)
    time = Seconds()
    own = pace_class(time=time)(url, fallback_per_second=0.5)

    for _ in range(10):
        own.take()

    assert time.now == pytest.approx(10 / 0.5, rel=0.1)


def test_while_the_bucket_is_not_known_a_caller_waits_for_several_tokens_as_long_as_they_take(tmp_path: Path) -> None:
    time = Seconds()
    own = pace_class(time=time)(headroom_file(tmp_path, age_seconds=61.0), fallback_per_second=0.5)

    own.take(20)
    own.take(20)

    assert time.now == pytest.approx(2 * 20 / 0.5, rel=0.1)


def test_more_at_once_than_a_callers_share_of_the_bucket_is_refused(tmp_path: Path) -> None:
    own = pace_class(time=Seconds())(headroom_file(tmp_path), weight=0.25)

    own.take(11)
    with pytest.raises(ValueError, match="20 tokens at once are more than this caller's share"):
        pace_class(time=Seconds())(headroom_file(tmp_path), weight=0.25).take(20)


def test_a_caller_takes_its_share_of_the_sustainable_rate(tmp_path: Path) -> None:
    time = Seconds()
    own = pace_class(time=time)(headroom_file(tmp_path), weight=0.1)

    for _ in range(4):
        own.take()

    assert time.now == pytest.approx(4.0, rel=0.05)


def test_what_was_taken_since_the_answer_is_taken_off(tmp_path: Path) -> None:
    time = Seconds()
    own = pace_class(time=time)(headroom_file(tmp_path, age_seconds=50.0), weight=0.1)

    for _ in range(4):
        own.take()

    # Of its 4.7 tokens 0.7 are left, and the fifth comes when the first no longer counts.
    assert own.most == pytest.approx(0.7)
    own.take()
    assert time.now > 50


def test_a_caller_stops_below_the_reserve_and_goes_on_above_it(tmp_path: Path) -> None:
    time = Seconds()
    own = pace_class(time=time)(headroom_file(tmp_path, remaining=13, sustainable_rate_per_minute=60))
    sleep = time.sleep

    def recover(seconds: float) -> None:
        if time.now > 100:
            headroom_file(tmp_path)
        sleep(seconds)

    time.sleep = recover  # type: ignore[method-assign]

    own.take()

    assert 100 < time.now < 105
