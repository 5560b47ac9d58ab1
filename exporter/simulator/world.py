"""DICT and its Bridge as a pure machine: buckets, traffic and faults of a scenario. Time is an argument.

The same scenario, participants, seed and start give the same buckets at the same instant, however often they were read
before; only POLICIES_LIST and POLICIES_READ pay for reading.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Final

from exporter.bridge.stubs import rate_limit_pb2 as pb2
from exporter.buckets import catalog
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.simulator.scenario import WATCHING, Garbage, Outage, Scenario, Slow, corrupt
from exporter.simulator.traffic import Account, Stream, TokenBucket, prices

_MICROSECOND: Final = timedelta(microseconds=1)

STATISTICS: Final = PolicyName("ENTRIES_STATISTICS_READ")
BY_CATEGORY: Final = (catalog.ANTISCAN, STATISTICS)
"""Policies whose size depends on the category. Only the first one's sizes are published; the other has the same."""

UNPUBLISHED: Final = catalog.Limit(40, 60, 200)
"""The size of a policy whose size is not published (EVENT_LIST)."""


class Refusal(Exception):
    """A call that gets a gRPC status instead of an answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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

    def answer(self, participant: str, at: datetime) -> pb2.GetRateLimitPoliciesResponse:
        """Returns all buckets at ``at``, for a token of POLICIES_LIST. Raises Refusal."""
        simulated, seconds = self._played(participant, at)
        return pb2.GetRateLimitPoliciesResponse(
            response_time=at,
            correlation_id=simulated.charge(catalog.POLICIES_LIST, seconds),
            category=simulated.category,
            policies=[simulated.describe(account, seconds) for account in simulated.accounts.values()],
        )

    def answer_one(self, participant: str, policy: str, at: datetime) -> pb2.GetRateLimitPolicyResponse:
        """Returns one bucket at ``at``, for a token of POLICIES_READ. Raises Refusal."""
        simulated, seconds = self._played(participant, at)
        account = simulated.accounts.get(PolicyName(policy))
        if account is None:
            raise Refusal("NOT_FOUND", f"no policy {policy!r}")
        return pb2.GetRateLimitPolicyResponse(
            response_time=at,
            correlation_id=simulated.charge(catalog.POLICIES_READ, seconds),
            category=simulated.category,
            policy=simulated.describe(account, seconds),
        )

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

    def accounts(self, participant: str, at: datetime) -> Mapping[PolicyName, Account]:
        """Returns the buckets and what was counted on them at ``at``: the truth, for free."""
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


class Participant:
    """One participant's buckets and traffic."""

    def __init__(self, ispb: Ispb, index: int, scenario: Scenario, seed: int, phase_seconds: float) -> None:
        self.index = index
        self.category = scenario.category_of(index)
        self.corrupted = 0
        self._ispb = ispb
        self._scenario = scenario
        self._answers = 0
        self._seed = seed
        self._restarts = 0
        self._random = Random(f"{seed}/{ispb}")  # noqa: S311
        self._step_us = round(scenario.step * 1e6)
        self._played = 0
        self.accounts: dict[PolicyName, Account] = {}
        for policy in catalog.POLICIES:
            if scenario.user_policies or policy not in catalog.USER_POLICIES:
                self.accounts[policy] = self._open(policy, phase_seconds)
        self._streams = [
            Stream(flow, account, float(scenario.step), self._random)
            for flow in scenario.traffic
            if flow.concerns(index)
            for policy, account in self.accounts.items()
            if (policy not in WATCHING if flow.policies == "all" else policy in flow.policies)
        ]
        self._changes = [
            (_steps(change.at, change.every, scenario.step), change.category)
            for change in scenario.category_changes
            if change.concerns(index)
        ]
        self._restarting = [
            _steps(fault.until, fault.every, scenario.step)
            for fault in scenario.faults
            if isinstance(fault, Outage) and fault.restarts and fault.until is not None and fault.concerns(index)
        ]

    def play(self, microseconds: int) -> None:
        """Plays the steps that have ended by then."""
        for step in range(self._played, microseconds // self._step_us):
            end = (step + 1) * self._step_us / 1e6
            for stream in self._streams:
                stream.play(step, end, self._random)
            for steps, category in self._changes:
                if step + 1 in steps:
                    self._change_category(category, end)
            for steps in self._restarting:
                if step + 1 in steps:
                    self._restart()
            self._played = step + 1

    def charge(self, policy: PolicyName, seconds: float) -> str:
        """Takes the token that reading costs; returns the answer's correlation id. Raises Refusal."""
        if not self.accounts[policy].charge(seconds):
            raise Refusal("RESOURCE_EXHAUSTED", f"DICT answered 429: {policy} is dry")
        self._answers += 1
        return f"{self._ispb}{self._answers:024x}"

    def describe(self, account: Account, seconds: float) -> pb2.RateLimitPolicy:
        """Returns a bucket's state."""
        counts = None
        if self._scenario.response_counts:
            counts = pb2.ResponseCounts(
                total=account.total,
                not_found=account.not_found,
                rate_limited=account.rate_limited,
                instance=f"simulator-{self._seed}-{self._restarts + 1}",
            )
        return pb2.RateLimitPolicy(
            name=account.policy,
            available_tokens=account.bucket.available(seconds),
            capacity=account.bucket.capacity,
            refill_tokens=account.bucket.refill_tokens,
            refill_period_sec=account.bucket.refill_us // 1_000_000,
            response_counts=counts,
        )

    def _open(self, policy: PolicyName, phase_seconds: float) -> Account:
        limit = self._limit(policy)
        share = self._scenario.tokens_at_start.get(policy, 1.0)
        bucket = TokenBucket(
            limit.capacity,
            limit.refill_tokens,
            limit.refill_period_seconds,
            mode=self._scenario.refill,
            phase_seconds=phase_seconds,
            tokens=int(share * limit.capacity),
        )
        return Account(policy, bucket, prices(policy, self._scenario.person_type))

    def _limit(self, policy: PolicyName) -> catalog.Limit:
        size = self._scenario.sizes.get(policy)
        if size is not None:
            return catalog.Limit(size.refill_tokens, int(size.refill_period), size.capacity)
        if policy in catalog.USER_POLICIES:
            return catalog.PERSON_TYPES[self._scenario.person_type]
        if policy in BY_CATEGORY:
            return catalog.CATEGORIES[self.category]
        return catalog.POLICIES[policy] or UNPUBLISHED

    def _change_category(self, category: str, seconds: float) -> None:
        self.category = category
        for policy in BY_CATEGORY:
            limit = self._limit(policy)
            self.accounts[policy].bucket.resize(limit.capacity, limit.refill_tokens, seconds)

    def _restart(self) -> None:
        self._restarts += 1
        for account in self.accounts.values():
            account.reset_counts()


def _steps(at: float, every: float | None, step_seconds: float) -> range:
    """Returns the steps at whose ends something happens: first at ``at`` seconds, then ``every`` (None: once)."""
    first = round(at / step_seconds)
    return range(first, first + 1) if every is None else range(first, sys.maxsize, round(every / step_seconds))
