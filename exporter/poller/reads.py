"""Which bucket to read next between two whole polls, and when. Pure: time is an argument, in seconds.

First what may cross a level before the next poll: at the drain seen, at the refill, and where it has fallen through a
level between two looks before. Then the buckets that can fall and recover unseen: those whose refill from empty to the
highest level takes less than a poll interval. Then nothing. POLICIES_READ pays for it: see `ReadBudget`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from exporter.buckets.bucket import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT, Bucket, PolicyName
from exporter.buckets.catalog import POLICIES_LIST, POLICIES_READ

LEVELS: Final = (WARNING_LEFT_PERCENT / 100, CRITICAL_LEFT_PERCENT / 100, 0.0)
"""Shares of the capacity that shipped rules, and people, look at."""

PACE_SECONDS: Final = 1.5
"""How late a level that is crossed at the fastest fall seen before is read."""

SHORTEST_GAP_SECONDS: Final = 1.0
LONGEST_GAP_SECONDS: Final = 4.0
"""Between two looks at one bucket: longer while less of the share's tokens is left, so that they last."""

AFTER_CROSSING_SECONDS: Final = 0.2
"""How long after a predicted crossing the bucket is read: not just before it."""

HOT_SECONDS: Final = 1800.0
"""How long a fall between two looks is remembered."""

KEPT_FOR_CROSSINGS_TOKENS: Final = 5.0
"""Reads that the share allows and that taking turns leaves for what may cross a level."""

OTHERS_REMEMBERED_ANSWERS: Final = 20
"""Over how many whole answers the most that others took of POLICIES_READ between two is remembered."""


class Why(IntEnum):
    """Why a bucket is to be read; of several that are due the least goes first."""

    CROSSING = 0
    HOT = 1
    TURN = 2


@dataclass(frozen=True, slots=True)
class PlannedRead:
    policy: PolicyName
    at: float
    why: Why


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
        """Returns when a read is allowed by which ``credit`` is there; ``inf``: not before the next whole answer."""
        bucket = self._bucket
        if bucket is None or self._is_dry or not self.share:
            return math.inf
        left = bucket.available_tokens - self._reads - max(self._others, default=0.0)
        if left - 1 < self.reserve or self._most < credit:
            return math.inf
        missing = credit - self.credit(now)
        return now + max(0.0, missing) / (self.share * bucket.refill_per_second)


@dataclass(slots=True)
class _Watched:
    """One bucket as last seen; rates in tokens per second.

    ``change`` is the net change between the last two looks, and the tokens are what they are since ``since``. ``fall``
    is the fastest of late that went through a level unseen, and counts until ``hot_until``.
    """

    bucket: Bucket
    at: float
    since: float
    change: float = 0.0
    fall: float = 0.0
    hot_until: float = -math.inf

    def levels(self) -> Iterator[float]:
        return (share * self.bucket.capacity for share in LEVELS)

    def see(self, bucket: Bucket, at: float) -> None:
        """Takes in another look at the bucket."""
        elapsed_seconds = at - self.at
        if elapsed_seconds <= 0:
            return
        before, tokens = self.bucket.available_tokens, bucket.available_tokens
        expected = before + min(self.change, 0.0) * elapsed_seconds
        surprised = any(tokens <= level < min(before, expected) for level in self.levels())
        self.change = (tokens - before) / elapsed_seconds
        if surprised:
            self.fall = max(self.fall if at < self.hot_until else 0.0, -self.change)
            self.hot_until = at + HOT_SECONDS
        if tokens != before:
            self.since = at
        self.bucket, self.at = bucket, at

    def crossing_at(self) -> float:
        """Returns when the next level is crossed as things go: on the way down, or up; ``inf``: never."""
        tokens = self.bucket.available_tokens
        if self.change < 0:
            below = max((level for level in self.levels() if level < tokens), default=None)
            if below is not None:
                return self.at + (tokens - below) / -self.change
        above = min((level for level in self.levels() if level >= tokens), default=None)
        if above is None:
            return math.inf
        # A level is left behind by the first token above it. What does not rise may not do so for as long again.
        rising_seconds = (above + 1 - tokens) / (self.change if self.change > 0 else self.bucket.refill_per_second)
        return self.at + max(rising_seconds, self.at - self.since)

    def fallen_at(self) -> float:
        """Returns when a level may be crossed if the bucket falls as fast as before, from now on; ``inf``: no."""
        below = max((level for level in self.levels() if level < self.bucket.available_tokens), default=None)
        if below is None or self.fall <= 0:
            return math.inf
        return self.at + (self.bucket.available_tokens - below) / self.fall


class ReadPlanner:
    """Decides for one participant. ``interval_seconds`` is between whole polls."""

    def __init__(self, share: float, reserve: int, interval_seconds: float) -> None:
        self.budget = ReadBudget(share, reserve)
        self._interval_seconds = interval_seconds
        self._watched: dict[PolicyName, _Watched] = {}

    def poll_answered(self, buckets: Iterable[Bucket], at: float) -> None:
        """Takes in a whole answer: buckets that it does not hold are not read."""
        watched: dict[PolicyName, _Watched] = {}
        for bucket in buckets:
            if bucket.policy == POLICIES_READ:
                self.budget.answered(bucket, at)
            # What polls and reads take of their own buckets is seen at each poll; and reading them would cost, too.
            elif bucket.policy != POLICIES_LIST:
                watched[bucket.policy] = self._seen(bucket, at)
        self._watched = watched

    def read_answered(self, bucket: Bucket, at: float) -> None:
        """Takes in the answer to a read."""
        self._watched[bucket.policy] = self._seen(bucket, at)

    def next(self, now: float, until: float, excluded: Collection[PolicyName] = ()) -> PlannedRead | None:
        """Returns the next read before ``until``, the next whole poll; None: there is none.

        It stands until something is taken in.
        """
        ready_at = self.budget.ready_at(now)
        if ready_at >= until:
            return None
        turns_at = self.budget.ready_at(now, 1 + KEPT_FOR_CROSSINGS_TOKENS)
        gap_seconds = self.budget.gap_seconds(now)
        planned: PlannedRead | None = None
        planned_for = math.inf
        for policy, watched in self._watched.items():
            if policy in excluded:
                continue
            for why, wanted_at in self._reasons(watched, watched.at + gap_seconds, until):
                at = max(wanted_at, now, turns_at if why is Why.TURN else ready_at)
                if at < until and (planned is None or (at, why, wanted_at) < (planned.at, planned.why, planned_for)):
                    planned, planned_for = PlannedRead(policy, at, why), wanted_at
        return planned

    def _seen(self, bucket: Bucket, at: float) -> _Watched:
        watched = self._watched.get(bucket.policy)
        if watched is None or watched.bucket.capacity != bucket.capacity:
            return _Watched(bucket, at, since=at)
        watched.see(bucket, at)
        return watched

    def _reasons(self, watched: _Watched, earliest: float, until: float) -> Iterator[tuple[Why, float]]:
        """Yields why and when to look at a bucket again."""
        yield Why.CROSSING, max(earliest, watched.crossing_at() + AFTER_CROSSING_SECONDS)
        if watched.at < watched.hot_until:
            yield Why.HOT, max(earliest, watched.fallen_at() + PACE_SECONDS)
        recovery_seconds = LEVELS[0] * watched.bucket.capacity / watched.bucket.refill_per_second
        if recovery_seconds < self._interval_seconds:
            # As many looks, evenly apart, as it takes for no recovery to fit in between two.
            looks = math.ceil((until - watched.at) / max(recovery_seconds, SHORTEST_GAP_SECONDS))
            if looks > 1:
                yield Why.TURN, watched.at + (until - watched.at) / looks
