"""How a participant's buckets refill: continuously, or in steps. DICT does not publish it.

Proof is gathered from all buckets of a participant, pair by pair of observations:

- a rise that continuous refill cannot explain proves steps, and narrows their phase;
- two rises so close that no two steps lie in them prove continuous refill;
- where polls are whole periods apart neither can happen, and consumption that is
  steady under one assumption only tells (reads in between do not count there).

Policies that payment orders give tokens back to prove nothing.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from exporter.buckets.bucket import Bucket
from exporter.buckets.catalog import GIVEN_BACK, POLICIES_LIST

CLOCK_TOLERANCE_SECONDS: Final = 1.0
"""How much later than its response time a state may have been taken."""

STEADY_PAIRS: Final = 5
STEADY_TOKENS: Final = 6.0
STEADY_RATIO: Final = 4.0
"""Consumption is steady under one assumption where, over ``STEADY_PAIRS`` pairs of polls, it spreads ``STEADY_RATIO``
times less than under the other, and that by more than ``STEADY_TOKENS``."""


class RefillMode(StrEnum):
    CONTINUOUS = "continuous"
    STEPWISE = "stepwise"


@dataclass(slots=True)
class Phase:
    """Where in the period the steps of one bucket lie: in ``(after, up_to]``, seconds, modulo the period."""

    period_seconds: float
    after: float = 0.0
    up_to: float = math.inf

    @property
    def is_narrow(self) -> bool:
        """Whether it is known between which two whole periods a step lies."""
        return self.up_to - self.after < self.period_seconds

    def between(self, step: int) -> tuple[float, float]:
        """Returns the seconds after and up to which a step lies, counted as `steps_before` counts them."""
        return self.after + step * self.period_seconds, self.up_to + step * self.period_seconds

    def steps_before(self, at: float) -> int:
        """Counts steps up to ``at``, taking them to lie in the middle of what is possible."""
        return math.floor((at - (self.after + self.up_to) / 2) / self.period_seconds)

    def steps_surely_before(self, at: float) -> int:
        """Counts steps up to ``at``, taking them to lie as late as possible."""
        return math.floor((at - self.up_to) / self.period_seconds)

    def narrow(self, after: float, up_to: float) -> None:
        """Takes in that a step lies in ``(after, up_to]``, which is shorter than the period."""
        if not self.is_narrow:
            self.after, self.up_to = after, up_to
            return
        shift = round(((after + up_to) - (self.after + self.up_to)) / 2 / self.period_seconds) * self.period_seconds
        lower, upper = max(self.after + shift, after), min(self.up_to + shift, up_to)
        # What contradicts the past (a restart at DICT, another clock) takes its place.
        self.after, self.up_to = (lower, upper) if lower < upper else (after, up_to)


@dataclass(slots=True)
class RefillEvidence:
    """What the observations of one bucket have shown so far.

    ``polled`` is the last one that was no read, where reads came after it; ``have_proven`` whether their rises proved
    anything since, and ``was_dry`` whether they found the bucket dry.
    """

    phase: Phase
    polled: tuple[float, int] | None = None
    have_proven: bool = False
    was_dry: bool = False
    rise_after: float = -math.inf
    rates: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=STEADY_PAIRS))


def proof(
    evidence: RefillEvidence,
    bucket: Bucket,
    earlier: tuple[float, int],
    later: tuple[float, int],
    *,
    is_read: bool = False,
) -> RefillMode | None:
    """Returns what two consecutive observations ``(seconds, tokens)`` of a bucket prove; None: nothing new."""
    proven = _by_rises(evidence, bucket, earlier, later)
    if proven is not None:
        # Pairs that steps rise in are missing among the others, which alone would look steady.
        evidence.rates.clear()
    if is_read:
        evidence.polled = evidence.polled or earlier
        evidence.have_proven = evidence.have_proven or proven is not None
        # A dry bucket consumes whatever is refilled: no pair around it tells anything.
        evidence.was_dry = evidence.was_dry or later[1] <= 0
        return proven
    if evidence.was_dry:
        evidence.rates.clear()
    elif proven is None and not evidence.have_proven and bucket.policy not in GIVEN_BACK:
        proven = _by_steadiness(evidence, bucket, evidence.polled or earlier, later)
    evidence.polled, evidence.have_proven, evidence.was_dry = None, False, False
    return proven


def _by_rises(
    evidence: RefillEvidence, bucket: Bucket, earlier: tuple[float, int], later: tuple[float, int]
) -> RefillMode | None:
    (began, before), (ended, after) = earlier, later
    refill_tokens, period_seconds = bucket.refill_tokens, bucket.refill_period_seconds
    rise = after - before
    if bucket.policy in GIVEN_BACK:
        # Small rises may be payment orders; half a refill at once shows where a step lies, not that there are steps.
        if rise > refill_tokens / 2:
            _narrow(evidence.phase, rise, refill_tokens, began, ended)
        return None
    if bucket.policy == POLICIES_LIST and after < bucket.capacity:
        rise += 1
    if rise <= 0:
        return None
    _narrow(evidence.phase, rise, refill_tokens, began, ended)
    if rise > bucket.refill_per_second * (ended - began + CLOCK_TOLERANCE_SECONDS) + 1:
        evidence.rise_after = -math.inf
        return RefillMode.STEPWISE
    since, evidence.rise_after = evidence.rise_after, began
    if ended - since < period_seconds - CLOCK_TOLERANCE_SECONDS:
        return RefillMode.CONTINUOUS
    return None


def _narrow(phase: Phase, rise: int, refill_tokens: int, began: float, ended: float) -> None:
    steps = math.ceil(rise / refill_tokens)
    up_to = ended - (steps - 1) * phase.period_seconds
    if began < up_to < began + phase.period_seconds:
        phase.narrow(began, up_to)


def _by_steadiness(
    evidence: RefillEvidence, bucket: Bucket, earlier: tuple[float, int], later: tuple[float, int]
) -> RefillMode | None:
    """Compares consumption under both assumptions where observations are about whole periods apart."""
    (began, before), (ended, after) = earlier, later
    refill_tokens, period_seconds = bucket.refill_tokens, bucket.refill_period_seconds
    elapsed_seconds = ended - began
    steps = round(elapsed_seconds / period_seconds)
    near = abs(elapsed_seconds - steps * period_seconds) < period_seconds / 10
    # A dry bucket's consumption is whatever was refilled: steady under either assumption.
    dry = before <= 0 or after <= 0
    if steps < 1 or not near or dry or before + refill_tokens * (steps + 1) > bucket.capacity:
        evidence.rates.clear()
        return None
    drop = before - after
    if_continuous = (drop + refill_tokens * elapsed_seconds / period_seconds) / elapsed_seconds
    if_stepwise = (drop + refill_tokens * steps) / elapsed_seconds
    evidence.rates.append((if_continuous, if_stepwise))
    if len(evidence.rates) < STEADY_PAIRS:
        return None
    continuous, stepwise = ((max(rates) - min(rates)) * elapsed_seconds for rates in zip(*evidence.rates, strict=True))
    if stepwise > max(STEADY_TOKENS, STEADY_RATIO * continuous):
        return RefillMode.CONTINUOUS
    if continuous > max(STEADY_TOKENS, STEADY_RATIO * stepwise):
        return RefillMode.STEPWISE
    return None
