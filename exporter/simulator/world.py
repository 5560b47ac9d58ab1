"""DICT and its Bridge as a pure machine: buckets, traffic and faults of a scenario. Time is an argument.

The same scenario, participants, seed and start give the same buckets at the same
instant, however often they were read before; only POLICIES_LIST and POLICIES_READ
pay for reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final

from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse, GetRateLimitPolicyResponse
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.catalog import POLICIES_LIST, POLICIES_READ
from exporter.simulator.garbage import corrupt
from exporter.simulator.participant import Participant, Refusal
from exporter.simulator.scenario import Garbage, Outage, Scenario, Slow
from exporter.simulator.traffic import Account

_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes over the wire, and after how many seconds."""

    payload: bytes
    delay_seconds: float


def ispbs(count: int) -> tuple[Ispb, ...]:
    """Returns the simulated participants: always the same for a count."""
    return tuple(Ispb(f"{12_345_678 + index}") for index in range(count))


class World:
    """The buckets of all participants. Per participant, times must not go back."""

    def __init__(self, scenario: Scenario, participants: Sequence[Ispb], seed: int, start: datetime) -> None:
        self.scenario = scenario
        self.start = start
        phase_seconds = Random(seed).uniform(0, 60)  # noqa: S311 - a seed makes a run repeatable
        self._seed = seed
        self._participants = {
            participant: Participant(participant, index, scenario, seed, phase_seconds)
            for index, participant in enumerate(participants)
        }

    def answer(self, participant: str, at: datetime) -> GetRateLimitPoliciesResponse:
        """Returns all buckets at ``at``, for a token of POLICIES_LIST. Raises Refusal."""
        simulated, seconds = self._played(participant, at)
        response = GetRateLimitPoliciesResponse(
            correlation_id=simulated.charge(POLICIES_LIST, seconds), category=simulated.category
        )
        response.response_time.FromDatetime(at)
        policies = response.policies
        for account in simulated.accounts.values():
            simulated.describe(account, policies.add(), seconds)
        return response

    def answer_one(self, participant: str, policy: str, at: datetime) -> GetRateLimitPolicyResponse:
        """Returns one bucket at ``at``, for a token of POLICIES_READ. Raises Refusal."""
        simulated, seconds = self._played(participant, at)
        account = simulated.accounts.get(PolicyName(policy))
        if account is None:
            raise Refusal("NOT_FOUND", f"no policy {policy!r}")
        response = GetRateLimitPolicyResponse(
            correlation_id=simulated.charge(POLICIES_READ, seconds), category=simulated.category
        )
        response.response_time.FromDatetime(at)
        simulated.describe(account, response.policy, seconds)
        return response

    def reply(self, participant: str, at: datetime) -> Reply:
        """Returns ``answer`` with the scenario's faults. Raises Refusal."""
        response = self.answer(participant, at)
        if not self.scenario.faults:
            return Reply(response.SerializeToString(), 0.0)
        simulated, seconds = self._played(participant, at)
        payload: bytes | None = None
        for fault in self.scenario.faults:
            if isinstance(fault, Garbage) and fault.concerns(simulated.index) and fault.covers(seconds):
                kind = fault.kinds[simulated.corrupted % len(fault.kinds)]
                payload = corrupt(kind, response)
                simulated.corrupted += 1
        return Reply(payload or response.SerializeToString(), self.delay_seconds(participant, at))

    def reply_one(self, participant: str, policy: str, at: datetime) -> Reply:
        """Returns ``answer_one``, as late as the scenario says. Raises Refusal."""
        payload = self.answer_one(participant, policy, at).SerializeToString()
        return Reply(payload, self.delay_seconds(participant, at))

    def delay_seconds(self, participant: str, at: datetime) -> float:
        """Returns by how much an answer at ``at`` is late."""
        simulated, seconds = self._played(participant, at)
        draw = Random(f"{self._seed}/{participant}/{seconds}")  # noqa: S311
        return sum(
            draw.uniform(fault.at_least, fault.at_most)
            for fault in self.scenario.faults
            if isinstance(fault, Slow) and fault.concerns(simulated.index) and fault.covers(seconds)
        )

    def tokens(self, participant: str, policy: str, at: datetime) -> int:
        """Returns the tokens in a bucket: the truth, for free."""
        return self._accounts(participant, at)[PolicyName(policy)].bucket.available((at - self.start).total_seconds())

    def taken(self, participant: str, policy: str, at: datetime) -> int:
        """Returns the tokens taken from a bucket since the start, net of those given back: the truth, for free."""
        return self._accounts(participant, at)[PolicyName(policy)].taken

    def refused(self, participant: str, at: datetime) -> dict[PolicyName, int]:
        """Returns the calls answered 429 by policy, since the Bridge's instance started: the truth, for free."""
        return {policy: account.rate_limited for policy, account in self._accounts(participant, at).items()}

    def _accounts(self, participant: str, at: datetime) -> dict[PolicyName, Account]:
        simulated = self._participants[Ispb(participant)]
        simulated.play((at - self.start) // _MICROSECOND)
        return simulated.accounts

    def _played(self, participant: str, at: datetime) -> tuple[Participant, float]:
        simulated = self._participants.get(Ispb(participant))
        if simulated is None:
            if len(participant) != 8 or not participant.isdecimal():
                raise Refusal("INVALID_ARGUMENT", f"{participant!r} is not an ISPB: eight digits")
            raise Refusal("NOT_FOUND", f"no participant {participant}")
        microseconds = (at - self.start) // _MICROSECOND
        simulated.play(microseconds)
        seconds = microseconds / 1e6
        for fault in self.scenario.faults:
            if isinstance(fault, Outage) and fault.concerns(simulated.index) and fault.covers(seconds):
                raise Refusal(fault.status, "the scenario has an outage here")
        return simulated, seconds
