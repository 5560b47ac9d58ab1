"""Which bucket to read next between two whole polls, and when. Pure: time is an argument, in seconds.

First what may cross a level before the next poll: as its trend goes, and as it burst before, when the next burst is
expected, or at any time where bursts are not regular. Then the buckets that can fall and recover unseen: those whose
refill from empty to the highest level takes less than a poll interval. Then nothing. POLICIES_READ pays for it: see
`ReadBudget`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from exporter.buckets.bucket import Bucket, PolicyName
from exporter.buckets.catalog import POLICIES_LIST, POLICIES_READ
from exporter.poller.read_budget import SHORTEST_GAP_SECONDS, ReadBudget
from exporter.poller.watched import Watched

NO_POLICIES_READ: Final = "NO_POLICIES_READ"
"""The obstacle to reads that whole answers hold no POLICIES_READ."""

RESERVE_TOO_LARGE: Final = "RESERVE_TOO_LARGE"
"""The obstacle to reads that the reserve is not below what POLICIES_READ can hold."""

PACE_SECONDS: Final = 1.5
"""How late a level is read that a burst may cross at any time."""

AFTER_CROSSING_SECONDS: Final = 0.2
"""How long after a predicted crossing the bucket is read: not just before it."""

FALLING_GAP_SHARE: Final = 0.3
EXPECTED_GAP_SHARE: Final = 0.5
"""Of the budget's gap: between two looks at a bucket that falls, or whose burst is expected now."""

SHORTEST_FALLING_GAP_SECONDS: Final = 0.5
"""Between two looks at a bucket that falls, however much the budget holds."""

KEPT_FOR_CROSSINGS_TOKENS: Final = 12.0
"""Reads that the share allows and that taking turns leaves for what may cross a level."""


class Why(Enum):
    """Why a bucket is to be read."""

    CROSSING = "a level is crossed, as its trend goes"
    EXPECTED = "a burst is expected now"
    HOT = "it burst of late, and may do so at any time"
    RISING = "a level is left behind, as its trend goes"
    TURN = "it may fall and recover unseen"


YIELDED_SECONDS: Final = {Why.RISING: 2.0, Why.TURN: 3.0}
"""By how much what is due for another reason is let go first, where there are not tokens enough for both."""


@dataclass(frozen=True, slots=True)
class PlannedRead:
    policy: PolicyName
    at: float
    why: Why


class ReadPlanner:
    """Decides for one participant. ``interval_seconds`` is between whole polls, which may be stretched.

    ``obstacle`` is what the last whole answer put in the way: `NO_POLICIES_READ`, `RESERVE_TOO_LARGE`; None: nothing.
    """

    def __init__(self, share: float, reserve: int, interval_seconds: float) -> None:
        self.budget = ReadBudget(share, reserve)
        self.obstacle: str | None = None
        self._interval_seconds = interval_seconds
        self._polled_at = math.inf
        self._watched: dict[PolicyName, Watched] = {}

    def poll_answered(self, buckets: Iterable[Bucket], at: float) -> None:
        """Takes in a whole answer: buckets that it does not hold are not read."""
        watched: dict[PolicyName, Watched] = {}
        self.obstacle, self._polled_at = NO_POLICIES_READ, at
        for bucket in buckets:
            if bucket.policy == POLICIES_READ:
                self.budget.answered(bucket, at)
                self.obstacle = RESERVE_TOO_LARGE if bucket.capacity <= self.budget.reserve else None
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
        if self.obstacle is not None or ready_at >= until:
            return None
        interval_seconds = max(self._interval_seconds, until - self._polled_at)
        turns_at = self.budget.ready_at(now, 1 + KEPT_FOR_CROSSINGS_TOKENS)
        gap_seconds = self.budget.gap_seconds(now)
        planned: PlannedRead | None = None
        planned_rank = math.inf
        for policy, watched in self._watched.items():
            if policy in excluded or (watched.is_calm and watched.recovery_seconds >= interval_seconds):
                continue
            for why, due in self._reasons(watched, gap_seconds, interval_seconds, until):
                at = max(due, now, turns_at if why is Why.TURN else ready_at)
                rank = due + YIELDED_SECONDS.get(why, 0.0)
                if at < until and (planned is None or (at, rank) < (planned.at, planned_rank)):
                    planned, planned_rank = PlannedRead(policy, at, why), rank
        return planned

    def _seen(self, bucket: Bucket, at: float) -> Watched:
        watched = self._watched.get(bucket.policy)
        if watched is None or watched.bucket.capacity != bucket.capacity:
            return Watched(bucket, at, since=at)
        watched.see(bucket, at, self._interval_seconds)
        return watched

    def _reasons(
        self, watched: Watched, gap_seconds: float, interval_seconds: float, until: float
    ) -> Iterator[tuple[Why, float]]:
        """Yields why and when to look at a bucket again."""
        crossing_at = watched.crossing_at() + AFTER_CROSSING_SECONDS
        if watched.change < 0:
            yield Why.CROSSING, max(watched.at + _falling_gap_seconds(gap_seconds), crossing_at)
        else:
            yield Why.RISING, max(watched.at + gap_seconds, crossing_at)
        if watched.is_hot:
            yield from self._reasons_of_bursts(watched, gap_seconds)
        if watched.recovery_seconds < interval_seconds:
            # No recovery fits in between two looks that are so far apart.
            looks = math.ceil((until - watched.at) / max(watched.recovery_seconds, SHORTEST_GAP_SECONDS))
            if looks > 1:
                yield Why.TURN, watched.at + (until - watched.at) / looks

    def _reasons_of_bursts(self, watched: Watched, gap_seconds: float) -> Iterator[tuple[Why, float]]:
        burst_seconds = watched.burst_seconds()
        expected = watched.bursts.expected(watched.at) if watched.bursts is not None else None
        if burst_seconds is None:
            yield Why.TURN, watched.at + PACE_SECONDS + 2 * gap_seconds
            return
        if watched.is_falling:
            still_seconds = watched.at - watched.since
            yield Why.CROSSING, watched.at + max(_falling_gap_seconds(gap_seconds), burst_seconds, still_seconds)
        if expected is None:
            yield Why.HOT, watched.at + max(gap_seconds, burst_seconds + PACE_SECONDS)
        else:
            yield Why.EXPECTED, max(watched.at + EXPECTED_GAP_SHARE * gap_seconds, expected[0] + burst_seconds)
            yield Why.TURN, watched.at + burst_seconds + PACE_SECONDS + gap_seconds


def _falling_gap_seconds(gap_seconds: float) -> float:
    return max(SHORTEST_FALLING_GAP_SECONDS, FALLING_GAP_SHARE * gap_seconds)
