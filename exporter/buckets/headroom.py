"""What callers of DICT may still take from a bucket: a lower bound, for a caller that paces itself by it.

Terms as in the IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers-10): the quota
(``q``) in a window (``w``), what remains of it (``r``), and the seconds until it resets (``t``). Of a token bucket the
quota is the capacity, the window the time in which an empty bucket fills, and the reset is when it is full.

In the formulas A tokens were answered ``age`` seconds ago, of a capacity C, with a refill of R tokens each period of
P seconds, and c tokens per second are consumed, of which a burst B, a second's and one more, may come at once: traffic
of burst and rate (B, c) (R. L. Cruz, "A Calculus for Network Delay, Part I", IEEE Transactions on Information Theory,
1991). Then there are now, where refill is known to be continuous, at least ::

    min(C, A + (R / P - c) x age) - B

Where refill is stepwise or not known, the next step may be a whole period away: nothing refilled is counted before an
answer shows it, and there are at least ``A - c x age - B``. A step that does not fit hides what was consumed before it,
up to the refill: where ``A + R`` reaches the capacity, c is at least ``R / P``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exporter.buckets.bucket import WARNING_LEFT_PERCENT, Bucket
from exporter.buckets.catalog import MINUTE_SECONDS
from exporter.buckets.observation import BucketObservation, VisibleBucket
from exporter.buckets.refill import RefillMode

BURST_SECONDS: Final = 1.0
"""What is consumed in this time may be taken at once."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """What a bucket offers at one instant.

    ``tokens`` are at least there: a fraction, below 0 in debt. ``age_seconds`` is that of the answer which this is
    estimated from. ``consumption_rate_per_minute`` tokens of all callers together, as measured; None: not known.
    ``refill_mode`` None: not known.
    """

    bucket: Bucket
    tokens: float
    age_seconds: float
    consumption_rate_per_minute: float | None
    refill_mode: RefillMode | None

    @property
    def quota(self) -> int:
        """Tokens that can be there at most."""
        return self.bucket.capacity

    @property
    def window_seconds(self) -> float:
        """Seconds in which an empty bucket fills."""
        return self.bucket.capacity * self.bucket.refill_period_seconds / self.bucket.refill_tokens

    @property
    def remaining(self) -> int:
        """Whole tokens, 0 to ``quota``."""
        return max(0, math.floor(self.tokens))

    @property
    def reserve(self) -> int:
        """The fewest tokens with which the shipped rules do not warn."""
        return self.bucket.capacity * WARNING_LEFT_PERCENT // 100 + 1

    @property
    def sustainable_rate_per_minute(self) -> float:
        """Tokens per minute, of all callers together, that can be consumed from now on and leave the reserve.

        The refill, or less: stepwise, or where it is not known, what lies above the reserve lasts for a period, until
        the next step; continuous, what lacks of the reserve is refilled within a period. 0: nothing can.
        """
        refill_per_minute = self.bucket.refill_tokens * MINUTE_SECONDS / self.bucket.refill_period_seconds
        rate = (self.tokens - self.reserve) * MINUTE_SECONDS / self.bucket.refill_period_seconds
        if self.refill_mode is RefillMode.CONTINUOUS:
            rate += refill_per_minute
        return min(max(rate, 0.0), refill_per_minute)

    @property
    def reset_seconds(self) -> float:
        """Seconds until the bucket is full at the latest, if nothing is consumed; 0 when full."""
        return self._refill_seconds(self.bucket.capacity)

    def retry_after_seconds(self, tokens: int) -> float | None:
        """Returns the seconds until ``tokens`` are there at the latest, if nothing is consumed; 0 when they are.

        None: never, the bucket does not hold as many.
        """
        return None if tokens > self.bucket.capacity else self._refill_seconds(tokens)

    def _refill_seconds(self, tokens: int) -> float:
        lacking = max(0.0, tokens - self.tokens)
        if self.refill_mode is RefillMode.CONTINUOUS:
            return lacking * self.bucket.refill_period_seconds / self.bucket.refill_tokens
        return float(math.ceil(lacking / self.bucket.refill_tokens) * self.bucket.refill_period_seconds)


def headroom(visible: VisibleBucket, mode: RefillMode | None, now: datetime) -> Headroom:
    """Returns what a bucket offers at ``now`` (UTC), by its last answer and what was consumed and refilled since.

    Consumption counts from when the state was true by DICT's clock, or from when its answer came by ours, whichever is
    longer ago; refill from the later: neither a cache in between nor a wrong clock adds a token.
    """
    bucket, rate = visible.observation.bucket, visible.observation.consumption_rate_per_minute
    ages = [max(0.0, (now - at).total_seconds()) for at in (visible.observed_at, visible.confirmed_at)]
    per_second = _consumption_per_second(visible.observation, mode)
    refilled = 0.0
    if mode is RefillMode.CONTINUOUS and rate is not None:
        refilled = bucket.refill_per_second * min(ages)
    burst = per_second * BURST_SECONDS + 1 if per_second else 0.0
    tokens = min(bucket.capacity, bucket.available_tokens) + refilled - per_second * max(ages)
    return Headroom(bucket, min(bucket.capacity, tokens) - burst, max(ages), rate, mode)


def _consumption_per_second(observed: BucketObservation, mode: RefillMode | None) -> float:
    """Returns the tokens per second to reckon with: as measured, or the refill where more may go unseen."""
    bucket, rate = observed.bucket, observed.consumption_rate_per_minute
    if rate is None:
        # More than is refilled cannot be consumed for long.
        return bucket.refill_per_second
    overflows = bucket.available_tokens + bucket.refill_tokens >= bucket.capacity
    if overflows and mode is not RefillMode.CONTINUOUS:
        return max(rate / MINUTE_SECONDS, bucket.refill_per_second)
    return rate / MINUTE_SECONDS
