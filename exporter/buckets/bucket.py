"""The state of a participant's token buckets at one time, as DICT answered it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NewType

Ispb = NewType("Ispb", str)
"""Eight digits that name a participant."""

PolicyName = NewType("PolicyName", str)
"""The name of a rate-limit policy, such as ``ENTRIES_WRITE``."""

WARNING_LEFT_PERCENT: Final = 20
CRITICAL_LEFT_PERCENT: Final = 10
"""Tokens left at which the shipped rules warn. A test holds them against the rule file."""

OUTCOMES: Final = ("ok", "not_found", "rate_limited")
"""What becomes of a call: answered, 404, 429."""


@dataclass(frozen=True, slots=True)
class ResponseCounts:
    """Answers that one Bridge instance has counted since it started.

    ``total`` includes ``not_found`` (404) and ``rate_limited`` (429). Counts of two instances are never subtracted.
    """

    total: int
    not_found: int
    rate_limited: int
    instance: str

    def __post_init__(self) -> None:
        if not 0 <= self.not_found + self.rate_limited <= self.total:
            raise ValueError(
                f"response counts of instance {self.instance!r}: {self.not_found} 404s and "
                f"{self.rate_limited} 429s of {self.total} answers cannot be"
            )

    def by_outcome(self) -> tuple[tuple[str, int], ...]:
        """Returns what was answered, and how often."""
        counts = (self.total - self.not_found - self.rate_limited, self.not_found, self.rate_limited)
        return tuple(zip(OUTCOMES, counts, strict=True))

    def continues(self, earlier: ResponseCounts) -> bool:
        """Returns whether these are the counts of an instance that has not started again since ``earlier``."""
        return (
            self.instance == earlier.instance
            and self.total >= earlier.total
            and self.not_found >= earlier.not_found
            and self.rate_limited >= earlier.rate_limited
        )

    def has_refused_since(self, earlier: ResponseCounts) -> bool:
        """Returns whether there were 429s after ``earlier``."""
        return self.continues(earlier) and self.rate_limited > earlier.rate_limited


@dataclass(frozen=True, slots=True)
class Bucket:
    """State of one policy's bucket: tokens, and how it refills.

    There may be fewer tokens than none (a 404 takes several at once) and more than the
    capacity (of a category that has become smaller): as empty as can be, and as full.

    Raises ValueError naming policy and figures where no bucket can be like that.
    """

    policy: PolicyName
    available_tokens: int
    capacity: int
    refill_tokens: int
    refill_period_seconds: int
    response_counts: ResponseCounts | None = None

    def __post_init__(self) -> None:
        if not self.policy:
            raise ValueError("a bucket needs a policy name")
        if self.capacity < 1:
            raise ValueError(f"{self.policy}: capacity {self.capacity} is below 1")
        if self.refill_tokens < 1:
            raise ValueError(f"{self.policy}: a refill of {self.refill_tokens} tokens is below 1")
        if self.refill_period_seconds < 1:
            raise ValueError(f"{self.policy}: a refill period of {self.refill_period_seconds}s is below 1s")

    @property
    def is_empty(self) -> bool:
        return self.available_tokens <= 0

    @property
    def refill_per_second(self) -> float:
        """Tokens per second, on average: continuous or not."""
        return self.refill_tokens / self.refill_period_seconds

    @property
    def left_percent(self) -> float:
        """Tokens left, of 100 at capacity: 0 to 100."""
        return self.percent_of(self.available_tokens)

    def percent_of(self, tokens: int) -> float:
        """Returns the percentage of the capacity that a number of tokens is, 0 to 100."""
        return 100.0 * min(max(tokens, 0), self.capacity) / self.capacity

    @property
    def utilization_percent(self) -> float:
        """100 x (1 - available / capacity), 0 to 100."""
        return 100.0 * (self.capacity - min(max(self.available_tokens, 0), self.capacity)) / self.capacity

    @property
    def recovery_eta_seconds(self) -> float:
        """Seconds to full at the continuous refill rate if nothing is consumed; 0 when full."""
        return max(0, self.capacity - self.available_tokens) * self.refill_period_seconds / self.refill_tokens


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All buckets of one participant from one answer, sorted by policy; some of them where it is not ``is_whole``.

    ``observed_at`` is DICT's response time (UTC), or ours where DICT's clock was too far off. ``category`` is None
    where the answer held no known one. ``refused`` are policies that the answer held with impossible figures.
    """

    participant: Ispb
    observed_at: datetime
    category: str | None
    correlation_id: str
    buckets: tuple[Bucket, ...]
    refused: tuple[PolicyName, ...] = ()
    is_whole: bool = True
