"""What was shown of buckets, beside what they had: dips, how late they were shown, and levels that never were."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from exporter.buckets.catalog import POLICIES_LIST, POLICIES_READ
from exporter.buckets.observation import Observation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from exporter.buckets.observation import BucketObservation, Poll

FLICKER_SECONDS = 2.0
"""A shorter time above a level, within a dip, does not end it: a token that came back and was taken."""

LONGEST_BURST_SECONDS = 3.0
PROBE_SECONDS = 0.1
EMPTY_SECONDS = (0.8, 3.0)
"""About a second: from when to when."""
ANSWERED_WITHIN_SECONDS = 17.0
"""Until the next whole answer, at the default interval."""
LOWEST_SECONDS = 60.0 + ANSWERED_WITHIN_SECONDS
"""How far a lowest level looks back: a count tells of the time since the answer before."""

Key = tuple[str, str]
"""Participant and policy."""


@dataclass(frozen=True)
class Dip:
    """A time at or below a level, and after how long it was shown; None: it was not.

    ``number`` counts those of one bucket and level, from 0.
    """

    number: int
    seconds: float
    delay_seconds: float | None


@dataclass
class Truth:
    """Tokens of each bucket at instants in seconds since 1970, close together and in order."""

    levels: dict[Key, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    capacities: dict[str, int] = field(default_factory=dict)
    refills: dict[str, int] = field(default_factory=dict)

    def dips(self, key: Key, share: float, since: float) -> list[tuple[float, float]]:
        """Returns from when until when a bucket was at this share of its capacity, or below."""
        limit = share * self.capacities[key[1]]
        spans: list[tuple[float, float]] = []
        began: float | None = None
        for at, tokens in self.levels[key]:
            if tokens <= limit and began is None:
                began = at
            elif tokens > limit and began is not None:
                if spans and began - spans[-1][1] < FLICKER_SECONDS:
                    began = spans.pop()[0]
                spans.append((began, at))
                began = None
        return [span for span in spans if span[0] > since]

    def around(self, key: Key, at: float) -> tuple[int, int] | None:
        """Returns the least and the most tokens that there can have been at an instant; None: not known."""
        after = self._after(key, at)
        if after is None:
            return None
        before, then = self.levels[key][after - 1][1], self.levels[key][after][1]
        # One token comes or goes unseen between two probes.
        least, most = min(before, then) - 1, max(before, then) + 1
        if self._stepped(key[0], at):
            most = max(most, min(before + self.refills[key[1]], self.capacities[key[1]]))
        return least, most

    def left_after(self, key: Key, at: float) -> int | None:
        """Returns the most tokens that there can be after one was taken at an instant; None: not known."""
        after = self._after(key, at)
        return None if after is None else max(self.levels[key][after - 1][1] - 1, self.levels[key][after][1])

    def _stepped(self, participant: str, at: float) -> bool:
        """Returns whether all buckets of a participant were refilled at once about then."""
        for key, samples in self.levels.items():
            after = self._after(key, at) if key[0] == participant else None
            if after is not None and samples[after][1] - samples[after - 1][1] > max(2, self.refills[key[1]] / 2):
                return True
        return False

    def _after(self, key: Key, at: float) -> int | None:
        samples = self.levels[key]
        after = bisect_left(samples, (at, 0))
        return after if 0 < after < len(samples) else None


@dataclass
class Shown:
    """What an exporter showed, in the order of its polls and reads."""

    polls: list[Poll] = field(default_factory=list)

    @property
    def since(self) -> float:
        """When each participant had been polled once, and a burst that was under way then is over."""
        first: dict[str, float] = {}
        for poll in self.polls:
            first.setdefault(poll.participant, poll.polled_at.timestamp())
        return max(first.values()) + LONGEST_BURST_SECONDS

    @property
    def reads(self) -> list[Poll]:
        return [poll for poll in self.polls if poll.is_read]

    def buckets(self) -> Iterator[tuple[Key, float, float, BucketObservation]]:
        """Yields what was shown of each bucket: participant and policy, when, of which instant of the Bridge."""
        for poll in self.polls:
            if isinstance(poll.result, Observation):
                shown_at, observed_at = poll.polled_at.timestamp(), poll.result.observed_at.timestamp()
                for each in poll.result.buckets:
                    yield (poll.participant, each.bucket.policy), shown_at, observed_at, each


def dips(truth: Truth, shown: Shown, share: float) -> dict[Key, list[Dip]]:
    """Returns the dips to a share of the capacity of each bucket, and when they were shown."""
    levels: dict[Key, list[tuple[float, int]]] = defaultdict(list)
    for key, shown_at, _, each in shown.buckets():
        levels[key].append((shown_at, each.bucket.available_tokens))
    return {
        key: [
            Dip(number, ended - began, _delay(levels[key], began, ended, share * truth.capacities[key[1]]))
            for number, (began, ended) in enumerate(truth.dips(key, share, shown.since))
        ]
        for key in list(truth.levels)
        if key[1] != POLICIES_LIST and key[1] != POLICIES_READ
    }


def proven_empty(truth: Truth, shown: Shown, participants: Collection[str]) -> list[bool]:
    """Returns of each time that a bucket was empty for about a second whether a lowest level of 0 was shown after it.

    Refused calls are counted, and the next answer tells the count.
    """
    shown_empty: dict[Key, list[float]] = defaultdict(list)
    for key, _, observed_at, each in shown.buckets():
        if each.lowest_tokens <= 0:
            shown_empty[key].append(observed_at)
    return [
        any(began - PROBE_SECONDS <= at <= ended + ANSWERED_WITHIN_SECONDS for at in shown_empty[key])
        for key in truth.levels
        if key[0] in participants
        for began, ended in truth.dips(key, 0.0, shown.since)
        if EMPTY_SECONDS[0] <= ended - began < EMPTY_SECONDS[1]
    ]


def never_empty(truth: Truth, shown: Shown) -> int:
    """Returns how many lowest levels of 0 were shown of buckets that had not been empty of late."""
    empty = {key: [at for at, tokens in levels if tokens <= 0] for key, levels in truth.levels.items()}
    count = 0
    for key, _, observed_at, each in shown.buckets():
        of_bucket = empty.get(key, [])
        after = bisect_left(of_bucket, observed_at - LOWEST_SECONDS)
        was_empty = after < len(of_bucket) and of_bucket[after] <= observed_at + PROBE_SECONDS
        count += each.lowest_tokens <= 0 and not was_empty
    return count


def never_there(truth: Truth, shown: Shown) -> int:
    """Returns how many levels were shown that the bucket did not have."""
    count = 0
    for key, _, observed_at, each in shown.buckets():
        around = truth.around(key, observed_at)
        count += around is not None and not around[0] <= each.bucket.available_tokens <= around[1]
    return count


def below_reserve(truth: Truth, shown: Shown, reserve: int) -> int:
    """Returns how many reads took POLICIES_READ below the reserve."""
    count = 0
    for poll in shown.reads:
        assert isinstance(poll.result, Observation)
        left = truth.left_after((poll.participant, POLICIES_READ), poll.result.observed_at.timestamp())
        if left is not None and left < reserve:
            count += 1
    return count


def longest_gap_seconds(truth: Truth) -> float:
    """Returns the longest time for which the truth is not known."""
    return max(later[0] - earlier[0] for samples in truth.levels.values() for earlier, later in pairwise(samples))


def _delay(levels: list[tuple[float, int]], began: float, ended: float, limit: float) -> float | None:
    first = bisect_left(levels, (began - PROBE_SECONDS, 0))
    for at, tokens in levels[first:]:
        if at > ended + PROBE_SECONDS:
            return None
        if tokens <= limit:
            return max(0.0, at - began)
    return None
