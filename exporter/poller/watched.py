"""A bucket as it was seen, look by look: when it may cross a level. Pure: times are arguments, in seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from exporter.buckets.bucket import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT, Bucket
from exporter.poller.bursts import Bursts

LEVELS: Final = (WARNING_LEFT_PERCENT / 100, CRITICAL_LEFT_PERCENT / 100, 0.0)
"""Shares of the capacity that shipped rules, and people, look at."""

TREND_SHARE: Final = 0.03
"""Of the capacity, and at least a token: a bucket that is further from where its trend leads has another trend."""

LEAST_BURST_SHARE: Final = 0.05
"""Of the capacity: a smaller fall between two looks is no burst."""

BURST_FACTOR: Final = 2.0
"""Times as fast as the trend: nor is a slower one."""

SHORTEST_BURST_SECONDS: Final = 2.0
"""A burst that was seen as a fall between looks further apart may have been over within this time."""

FALLING_SECONDS: Final = 2.0
"""How long after a fast fall the bucket may go on falling."""

FASTER: Final = 1.5
"""Times as fast as the fastest before: the next burst may be."""

HOT_SECONDS: Final = 1800.0
"""How long bursts are remembered after the last."""

Look = tuple[float, int]
"""When a bucket was seen, and its tokens."""


@dataclass(slots=True)
class Watched:
    """One bucket as last seen; rates in tokens per second.

    ``change`` is the net change, by the trend, and the tokens are what they are since ``since``. ``burst`` is the
    fastest fall of a burst, and counts until ``hot_until``.
    """

    bucket: Bucket
    at: float
    since: float
    change: float = 0.0
    burst: float = 0.0
    hot_until: float = -math.inf
    falling_until: float = -math.inf
    bursts: Bursts | None = None
    _trend: tuple[Look, ...] = ()

    @property
    def is_calm(self) -> bool:
        """Whether it is above every level, does not fall, and did not burst of late."""
        return self.change >= 0 and self.bucket.available_tokens > LEVELS[0] * self.bucket.capacity and not self.is_hot

    @property
    def recovery_seconds(self) -> float:
        """How long its refill takes from empty to the highest level."""
        return LEVELS[0] * self.bucket.capacity / self.bucket.refill_per_second

    @property
    def is_hot(self) -> bool:
        """Whether it may burst again."""
        return self.at < self.hot_until

    @property
    def is_falling(self) -> bool:
        """Whether it may still be in the fall that the last look saw."""
        return self.at < self.falling_until

    def see(self, bucket: Bucket, at: float, interval_seconds: float) -> None:
        """Takes in another look at the bucket, which is polled at this interval."""
        if at <= self.at:
            return
        last_at, last_tokens, last_change = self.at, self.bucket.available_tokens, self.change
        tokens = bucket.available_tokens
        if tokens != last_tokens:
            self.since = at
        self.bucket, self.at = bucket, at
        if abs(tokens - last_tokens - last_change * (at - last_at)) > max(1.0, TREND_SHARE * bucket.capacity):
            self._trend = ()
        self._follow((last_at, last_tokens), interval_seconds)
        fallen = last_tokens - tokens
        if fallen < LEAST_BURST_SHARE * bucket.capacity:
            return
        per_second = fallen / (at - last_at)
        if self._has_crossed(last_tokens) or self._is_soon_crossed(per_second * interval_seconds):
            self.falling_until = at + FALLING_SECONDS
            if per_second > BURST_FACTOR * -last_change:
                self._note_burst(fallen, last_at)

    def _follow(self, last: Look, interval_seconds: float) -> None:
        """Keeps where the trend began: one to two intervals ago, or when it last changed."""
        if not self._trend or self.at - self._trend[-1][0] > interval_seconds:
            self._trend = (*self._trend[-1:], last)
        began_at, tokens = self._trend[0]
        self.change = (self.bucket.available_tokens - tokens) / (self.at - began_at)

    def _note_burst(self, fallen: int, last_at: float) -> None:
        if self.bursts is None or not self.is_hot:
            self.burst, self.bursts = 0.0, Bursts()
        self.burst = max(self.burst, fallen / min(self.at - last_at, SHORTEST_BURST_SECONDS))
        self.bursts.note(last_at, self.at)
        self.hot_until = self.at + HOT_SECONDS

    def crossing_at(self) -> float:
        """Returns when the next level is crossed as things go: on the way down, or up; ``inf``: never."""
        tokens = self.bucket.available_tokens
        below = self._below()
        if self.change < 0 and below is not None:
            return self.at + (tokens - below) / -self.change
        above = min((level for level in self._levels() if level >= tokens), default=None)
        if above is None:
            return math.inf
        # A level is left behind by the first token above it. What does not rise may not do so for as long again.
        rising_seconds = (above + 1 - tokens) / (self.change if self.change > 0 else self.bucket.refill_per_second)
        return self.at + max(rising_seconds, self.at - self.since)

    def burst_seconds(self) -> float | None:
        """Returns how soon a burst may take the bucket to the next level; None: there is none below."""
        below = self._below()
        return None if below is None else (self.bucket.available_tokens - below) / (FASTER * self.burst)

    def _levels(self) -> Iterator[float]:
        return (share * self.bucket.capacity for share in LEVELS)

    def _below(self) -> float | None:
        return max((level for level in self._levels() if level < self.bucket.available_tokens), default=None)

    def _has_crossed(self, last_tokens: int) -> bool:
        """Returns whether a level was crossed on the way down."""
        return any(self.bucket.available_tokens <= level < last_tokens for level in self._levels())

    def _is_soon_crossed(self, tokens: float) -> bool:
        below = self._below()
        return below is not None and self.bucket.available_tokens - below < tokens
