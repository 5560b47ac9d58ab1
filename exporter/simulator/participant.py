"""One simulated participant: its buckets, the traffic on them, and what a scenario changes over time."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from exporter.bridge.stubs.rate_limit_pb2 import RateLimitPolicy
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.catalog import ANTISCAN, CATEGORIES, PERSON_TYPES, POLICIES, USER_POLICIES, Limit
from exporter.simulator.scenario import WATCHING, Outage, Scenario
from exporter.simulator.token_bucket import TokenBucket
from exporter.simulator.traffic import Account, Stream, prices

STATISTICS: Final = PolicyName("ENTRIES_STATISTICS_READ")
BY_CATEGORY: Final = (ANTISCAN, STATISTICS)
"""Policies whose size depends on the category. Only the first one's sizes are published; the other has the same."""

UNPUBLISHED: Final = Limit(40, 60, 200)
"""The size of a policy whose size is not published (EVENT_LIST)."""


class Refusal(Exception):
    """A call that gets a gRPC status instead of an answer."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


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
        self._instance = f"simulator-{seed}-1"
        self._random = Random(f"{seed}/{ispb}")  # noqa: S311
        self._step_us = round(scenario.step * 1e6)
        self._played = 0
        self.accounts: dict[PolicyName, Account] = {}
        for policy in POLICIES:
            if scenario.user_policies or policy not in USER_POLICIES:
                self.accounts[policy] = self._open(policy, phase_seconds)
        self._streams = [
            Stream(flow, account, float(scenario.step), self._random)
            for flow in scenario.traffic
            if flow.concerns(index)
            for policy, account in self.accounts.items()
            if (policy not in WATCHING if flow.policies == "all" else policy in flow.policies)
        ]
        self._changes = [
            (_Instants.of(change.at, change.every, scenario), change.category)
            for change in scenario.category_changes
            if change.concerns(index)
        ]
        self._restarting = [
            _Instants.of(fault.until, fault.every, scenario)
            for fault in scenario.faults
            if isinstance(fault, Outage) and fault.restarts and fault.until is not None and fault.concerns(index)
        ]

    def play(self, microseconds: int) -> None:
        """Plays the steps that have ended by then."""
        for step in range(self._played, microseconds // self._step_us):
            end = (step + 1) * self._step_us / 1e6
            for stream in self._streams:
                stream.play(step, end, self._random)
            for instants, category in self._changes:
                if instants.include(step + 1):
                    self._change_category(category, end)
            for instants in self._restarting:
                if instants.include(step + 1):
                    self._restart()
            self._played = step + 1

    def charge(self, policy: PolicyName, seconds: float) -> str:
        """Takes the token that reading costs; returns the answer's correlation id. Raises Refusal."""
        if not self.accounts[policy].charge(seconds):
            raise Refusal("RESOURCE_EXHAUSTED", f"DICT answered 429: {policy} is dry")
        self._answers += 1
        return f"{self._ispb}{self._answers:024x}"

    def describe(self, account: Account, message: RateLimitPolicy, seconds: float) -> None:
        """Fills ``message`` with a bucket's state."""
        bucket = account.bucket
        message.name = account.policy
        message.available_tokens = bucket.available(seconds)
        message.capacity = bucket.capacity
        message.refill_tokens = bucket.refill_tokens
        message.refill_period_sec = bucket.refill_us // 1_000_000
        if self._scenario.response_counts:
            counts = message.response_counts
            counts.total = account.total
            counts.not_found = account.not_found
            counts.rate_limited = account.rate_limited
            counts.instance = self._instance

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

    def _limit(self, policy: PolicyName) -> Limit:
        size = self._scenario.sizes.get(policy)
        if size is not None:
            return Limit(size.refill_tokens, int(size.refill_period), size.capacity)
        if policy in USER_POLICIES:
            return PERSON_TYPES[self._scenario.person_type]
        if policy in BY_CATEGORY:
            return CATEGORIES[self.category]
        return POLICIES[policy] or UNPUBLISHED

    def _change_category(self, category: str, seconds: float) -> None:
        self.category = category
        for policy in BY_CATEGORY:
            limit = self._limit(policy)
            self.accounts[policy].bucket.resize(limit.capacity, limit.refill_tokens, seconds)

    def _restart(self) -> None:
        self._restarts += 1
        self._instance = f"simulator-{self._seed}-{self._restarts + 1}"
        for account in self.accounts.values():
            account.reset_counts()


@dataclass(frozen=True, slots=True)
class _Instants:
    """Ends of steps at which something happens: the first, and then every ``period`` (None: once)."""

    first: int
    period: int | None

    @classmethod
    def of(cls, at: float, every: float | None, scenario: Scenario) -> _Instants:
        return cls(round(at / scenario.step), None if every is None else round(every / scenario.step))

    def include(self, step: int) -> bool:
        since = step - self.first
        return since == 0 or (self.period is not None and since > 0 and since % self.period == 0)
