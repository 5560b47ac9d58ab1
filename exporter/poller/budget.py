"""POLICIES_LIST's budget, which pays for polling. Pure.

Each poll costs one token, and each answer tells how many are left. The interval stretches before the bucket is dry, and
a retry happens only while a token beyond the next poll's is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from exporter.buckets.bucket import Bucket

RESERVE_TOKENS: Final = 2
"""Tokens kept for the next poll and one retry: below it the interval stretches."""

PUBLISHED_TOKENS: Final = 20
"""The capacity that DICT publishes of POLICIES_LIST."""

LONGEST_WAIT_SECONDS: Final = 600.0
"""However little an answer says that POLICIES_LIST refills: one wrong answer must not end the polling."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What is known of POLICIES_LIST after the last answer: tokens, and seconds per token refilled."""

    tokens: int | None = None
    capacity: int | None = None
    refill_tokens: int = 6
    refill_period_seconds: int = 60

    @classmethod
    def of(cls, bucket: Bucket) -> Budget:
        return cls(bucket.available_tokens, bucket.capacity, bucket.refill_tokens, bucket.refill_period_seconds)

    @property
    def seconds_per_token(self) -> float:
        return self.refill_period_seconds / self.refill_tokens

    def interval_seconds(self, configured_seconds: float) -> float:
        """Returns the interval to poll at: ``configured_seconds``, or longer while tokens are short.

        Half a bucket or more: as configured. Below, the interval grows towards one that gives others (a second poller,
        people) room to refill: at the reserve, two refill times a poll. A whole multiple of ``configured_seconds``, so
        that an estimate's window stays a whole number of polls.
        """
        if self.tokens is None or self.capacity is None:
            return configured_seconds
        comfortable = max(self.capacity / 2, RESERVE_TOKENS + 1)
        if self.tokens >= comfortable or configured_seconds >= 2 * self.seconds_per_token:
            return configured_seconds
        shortage = min(1.0, (comfortable - self.tokens) / (comfortable - RESERVE_TOKENS))
        longest = max(configured_seconds, min(2 * self.seconds_per_token, LONGEST_WAIT_SECONDS))
        stretched = configured_seconds + shortage * (longest - configured_seconds)
        return configured_seconds * math.ceil(stretched / configured_seconds - 1e-9)

    def retries(self, configured: int) -> int:
        """Returns how many of the ``configured`` retries leave a token for the next poll."""
        if self.tokens is None:
            return min(configured, 1)
        return max(0, min(configured, self.tokens - RESERVE_TOKENS))

    def less(self, spent: int) -> Budget:
        """Returns the budget after calls whose answer said nothing about it."""
        if self.tokens is None or self.capacity is None:
            return self
        left = max(min(0, self.tokens), self.tokens - spent)
        return Budget(left, self.capacity, self.refill_tokens, self.refill_period_seconds)

    def dry(self, since_seconds: float = 0.0) -> Budget:
        """Returns the budget after DICT's 429, ``since_seconds`` after what was last known of it.

        Where tokens were left by then, it is not known any more how they refill.
        """
        is_explained = self.tokens is not None and self.tokens + since_seconds / self.seconds_per_token < 1
        slowest = self if is_explained else max(self, Budget(), key=attrgetter("seconds_per_token"))
        return Budget(0, self.capacity or PUBLISHED_TOKENS, slowest.refill_tokens, slowest.refill_period_seconds)
