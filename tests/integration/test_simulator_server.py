"""The simulated Bridge as a program and as a server, asked over gRPC."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from exporter.bridge.answer import read
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesRequest, GetRateLimitPolicyRequest
from exporter.bridge.stubs.rate_limit_pb2_grpc import RateLimitServiceStub
from exporter.config.settings import TlsSettings
from exporter.errors import (
    BadAnswer,
    BridgeBudgetExhausted,
    BridgeError,
    BridgeRefused,
    BridgeUnavailable,
    ConfigurationError,
)
from exporter.simulator.scenario import KINDS
from exporter.simulator.server import start
from tests.support.bridge import client
from tests.support.builders import START
from tests.support.certificates import Authority
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from exporter.simulator.server import Simulator


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@asynccontextmanager
async def simulator(scenario: str | Path = "steady", **given: Any) -> AsyncIterator[Simulator]:
    values = {"address": "127.0.0.1:0", "participants": 2, "seed": 1, **given}
    made = await start(scenario, **values)
    try:
        yield made
    finally:
        await made.stop()


def scenario_file(folder: Path, text: str) -> Path:
    file = folder / "scenario.yml"
    file.write_text(f"description: a test's\n{text}", encoding="utf-8")
    return file


async def test_a_good_answer_is_served():
    async with simulator("steady", participants=3) as made, client(made.address) as bridge:
        fetched = await bridge.fetch(made.participants[2], retries=0, time_limit_seconds=30)

        assert len(made.participants) == 3
        assert made.address == f"127.0.0.1:{made.port}"
        assert len(fetched.response.policies) == 31
        assert fetched.response.category == "C"


async def test_one_policy_is_served_and_charged():
    async with simulator() as made, grpc.aio.insecure_channel(made.address) as channel:
        stub = RateLimitServiceStub(channel)

        answer = await stub.GetRateLimitPolicy(
            GetRateLimitPolicyRequest(requesting_participant=made.participants[0], policy_name="POLICIES_READ")
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetRateLimitPolicy(
                GetRateLimitPolicyRequest(requesting_participant=made.participants[0], policy_name="NOPE")
            )

        assert answer.policy.available_tokens == 199
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_polling_too_often_is_dicts_429_until_the_bucket_has_refilled():
    clock = Clock()

    async with simulator(clock=clock) as made, client(made.address) as bridge:
        for _ in range(20):
            await bridge.fetch(made.participants[0], retries=0, time_limit_seconds=30)
        with pytest.raises(BridgeBudgetExhausted):
            await bridge.fetch(made.participants[0], retries=0, time_limit_seconds=30)
        await bridge.fetch(made.participants[1], retries=0, time_limit_seconds=30)
        clock.advance(10)
        fetched = await bridge.fetch(made.participants[0], retries=0, time_limit_seconds=30)

        assert fetched.response.response_time.ToDatetime(START.tzinfo) == clock.now


async def test_strangers_are_refused():
    async with simulator() as made, client(made.address) as bridge:
        with pytest.raises(BridgeRefused, match="NOT_FOUND"):
            await bridge.fetch("99999999", retries=0, time_limit_seconds=30)
        with pytest.raises(BridgeRefused, match="INVALID_ARGUMENT"):
            await bridge.fetch("nobody", retries=0, time_limit_seconds=30)


async def test_an_outage_is_no_answer_until_it_is_over():
    clock = Clock()

    async with simulator("outage", clock=clock) as made, client(made.address) as bridge:
        clock.advance(120)
        with pytest.raises(BridgeUnavailable):
            await bridge.fetch(made.participants[0], retries=1, time_limit_seconds=30)
        clock.advance(120)
        await bridge.fetch(made.participants[0], retries=0, time_limit_seconds=30)


async def test_a_slow_answer_is_given_up_at_the_deadline(tmp_path: Path):
    file = scenario_file(tmp_path, "faults: [{kind: slow, at_least: 5s, at_most: 8s, participants: first}]")

    async with simulator(file) as made, client(made.address, attempt_seconds=2) as bridge:
        with pytest.raises(BridgeUnavailable, match="DEADLINE_EXCEEDED"):
            await bridge.fetch(made.participants[0], retries=0, time_limit_seconds=30)
        await bridge.fetch(made.participants[1], retries=0, time_limit_seconds=30)


async def test_both_calls_are_slow_in_a_slow_scenario(tmp_path: Path):
    file = scenario_file(tmp_path, "faults: [{kind: slow, at_least: 150ms, at_most: 200ms}]")
    loop = asyncio.get_running_loop()

    async with simulator(file) as made, grpc.aio.insecure_channel(made.address) as channel:
        stub = RateLimitServiceStub(channel)
        began = loop.time()
        await stub.GetRateLimitPolicies(GetRateLimitPoliciesRequest(requesting_participant=made.participants[0]))
        await stub.GetRateLimitPolicy(
            GetRateLimitPolicyRequest(requesting_participant=made.participants[0], policy_name="KEYS_CHECK")
        )

        assert loop.time() - began >= 0.3


async def test_garbage_of_every_kind_is_refused_or_repaired_and_never_breaks_the_client():
    clock = Clock()
    seen: list[set[str]] = []

    async with simulator("garbage", clock=clock) as made, client(made.address) as bridge:
        last = None
        # Good until 30 s and from 270 s on; 20 bad ones between.
        for _ in range(24):
            clock.advance(12)
            try:
                fetched = await bridge.fetch(made.participants[0], retries=0, time_limit_seconds=30)
                answer = read(
                    fetched.response,
                    participant=made.participants[0],
                    received_at=clock.now,
                    last_observed_at=last,
                    max_clock_skew_seconds=300,
                )
            except BadAnswer as error:
                seen += [{defect.reason for defect in error.defects}]
            else:
                seen += [{defect.reason for defect in answer.defects}]
                last = answer.snapshot.observed_at

    good: list[set[str]] = [set(), set()]
    assert seen == [*good, *({kind} for kind in islice(cycle(KINDS), 20)), *good]


async def test_over_tls_only_clients_with_a_certificate_are_served(tmp_path: Path):
    authority = Authority(tmp_path)

    async with simulator(tls=authority.tls("server")) as made:
        async with client(made.address, tls=authority.tls("client")) as bridge:
            await bridge.fetch(made.participants[0], retries=0, time_limit_seconds=30)
        async with client(made.address, tls=TlsSettings(ca_file=authority.ca_file)) as bridge:
            with pytest.raises(BridgeError):
                await bridge.fetch(made.participants[0], retries=0, time_limit_seconds=30)


async def test_without_an_authority_any_client_is_served_over_tls(tmp_path: Path):
    authority = Authority(tmp_path)
    pair = authority.issue("server")

    async with (
        simulator(tls=TlsSettings(cert_file=pair.cert_file, key_file=pair.key_file)) as made,
        client(made.address, tls=TlsSettings(ca_file=authority.ca_file)) as bridge,
    ):
        await bridge.fetch(made.participants[0], retries=0, time_limit_seconds=30)


async def test_an_address_in_use_is_told():
    async with simulator() as made:
        with pytest.raises(ConfigurationError, match=f"cannot listen on {made.address}"):
            await start("steady", address=made.address, participants=1, seed=1)


async def test_an_unknown_scenario_is_told():
    with pytest.raises(ConfigurationError, match="no such scenario file"):
        await start("nope", address="127.0.0.1:0", participants=1, seed=1)


async def test_a_thousand_participants_have_buckets_of_their_own():
    async with simulator(participants=1_000) as made, client(made.address, attempt_seconds=120) as bridge:
        fetched = await asyncio.gather(
            *(bridge.fetch(participant, retries=0, time_limit_seconds=120) for participant in made.participants)
        )

        assert {answer.attempts for answer in fetched} == {1}
        assert len({answer.response.correlation_id for answer in fetched}) == 1_000


@pytest.mark.parametrize(
    ("participants", "shown"), [("1", "participants 12345678"), ("3", "participants 12345678 to 12345680 (3)")]
)
async def test_the_command_says_where_it_listens_serves_and_ends_on_sigterm(participants: str, shown: str):
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "exporter", "bridge-simulator", "--scenario", "demo"),
        *("--listen-address", address, "--participants", participants),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        async with client(address) as bridge:
            fetched = await bridge.fetch("12345678", retries=2, time_limit_seconds=30)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert line.decode() == f"bridge simulator on {address}, scenario demo, {shown}\n"
    assert fetched.response.category == "F"
    assert code == 0
