"""What reads of single buckets may take of POLICIES_READ. Pure: time is an argument, in seconds."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from exporter.buckets.bucket import Bucket

SHORTEST_GAP_SECONDS: Final = 1.0
LONGEST_GAP_SECONDS: Final = 4.0
"""Between two looks at one bucket: longer while less of the share's tokens is left, so that they last."""

OTHERS_REMEMBERED_ANSWERS: Final = 20
"""Over how many whole answers the most that others took of POLICIES_READ between two is remembered."""


@dataclass(slots=True)
class ReadBudget:
    """What reads may take of POLICIES_READ: ``share`` of its refill, which adds up, and nothing below ``reserve``.

    Others take tokens, too: how many is seen in the next whole answer only, so the most of late is expected again.
    """

    share: float
    reserve: int
    _bucket: Bucket | None = None
    _answered_at: float = 0.0
    _reads: int = 0
    _credit: float = 0.0
    _credited_at: float = 0.0
    _is_dry: bool = False
    _others: deque[float] = field(default_factory=lambda: deque(maxlen=OTHERS_REMEMBERED_ANSWERS))

    def answered(self, bucket: Bucket, at: float) -> None:
        """Takes in what a whole answer says of POLICIES_READ."""
        before = self._bucket
        if before is None:
            # What is there beyond the reserve was left unused before this process began.
            self._credit, self._credited_at = self.share * max(0, bucket.available_tokens - self.reserve), at
        else:
            refilled = before.refill_per_second * (at - self._answered_at)
            expected = min(before.available_tokens + refilled, float(before.capacity)) - self._reads
            self._others.append(max(0.0, expected - bucket.available_tokens))
        self._bucket, self._answered_at, self._reads, self._is_dry = bucket, at, 0, False

    def spend(self, at: float) -> None:
        """Takes in a read, whatever became of it."""
        self._credit = self.credit(at) - 1
        self._credited_at = at
        self._reads += 1

    def dry(self) -> None:
        """Takes in DICT's 429: no read before the next whole answer."""
        self._is_dry = True

    def credit(self, at: float) -> float:
        """Returns how many reads the share allows at once."""
        if self._bucket is None:
            return 0.0
        per_second = self.share * self._bucket.refill_per_second
        return min(self._credit + per_second * (at - self._credited_at), float(self._most))

    def gap_seconds(self, at: float) -> float:
        """Returns how long to wait between two looks at one bucket."""
        left = self.credit(at) / self._most if self._most else 0.0
        return max(SHORTEST_GAP_SECONDS, min(SHORTEST_GAP_SECONDS / max(left, 1e-9), LONGEST_GAP_SECONDS))

    @property
    def _most(self) -> int:
        return max(0, self._bucket.capacity - self.reserve) if self._bucket else 0

    def ready_at(self, now: float, credit: float = 1.0) -> float:
        """Returns when a read is allowed by which ``credit`` is there, or as much as there ever can be.

        ``inf``: not before the next whole answer.
        """
        bucket = self._bucket
        if bucket is None or self._is_dry or not self.share:
            return math.inf
        left = bucket.available_tokens - self._reads - max(self._others, default=0.0)
        if left - 1 < self.reserve or self._most < 1:
            return math.inf
        missing = min(credit, self._most) - self.credit(now)
        return now + max(0.0, missing) / (self.share * bucket.refill_per_second)
