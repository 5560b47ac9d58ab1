"""The lowest level of a bucket of late: what answers showed, and what their counts of 429s prove."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from exporter.buckets.bucket import Bucket, ResponseCounts

REMEMBERED_SECONDS: Final = 300.0
"""How long an instance's counts are remembered while others answer: until its turn comes again."""


@dataclass(slots=True)
class LowestLevel:
    """Over the last ``window_seconds`` before the last answer. Time is an argument, in seconds, and never goes back.

    DICT answers 429 where a bucket has no token: between two answers of one Bridge instance of which the later counts
    more of them the bucket was empty, whatever they showed of it. Several instances may answer in turn. Where the
    capacity changes the levels begin again, and the counts of 429s go on.
    """

    window_seconds: float
    _capacity: int = 0
    _levels: list[tuple[float, int]] = field(default_factory=list)
    _counted: tuple[tuple[float, ResponseCounts], ...] = ()

    def see(self, bucket: Bucket, at: float) -> None:
        """Takes in an answer's state of the bucket."""
        level = bucket.available_tokens
        if self._has_refused(bucket.response_counts, at):
            level = min(level, 0)
        if bucket.capacity != self._capacity:
            self._capacity, self._levels = bucket.capacity, []
        # Each is above the one before it: what was lower is still the lowest, what was higher never will be.
        while self._levels and self._levels[-1][1] >= level:
            self._levels.pop()
        self._levels.append((at, level))
        while self._levels[0][0] <= at - self.window_seconds:
            del self._levels[0]

    def _has_refused(self, counts: ResponseCounts | None, at: float) -> bool:
        """Returns whether there were 429s since the last counts of that instance, which it remembers."""
        if counts is None:
            self._counted = ()
            return False
        before: ResponseCounts | None = None
        others: list[tuple[float, ResponseCounts]] = []
        for counted in self._counted:
            if counted[1].instance == counts.instance:
                before = counted[1]
            elif counted[0] > at - REMEMBERED_SECONDS:
                others.append(counted)
        self._counted = (*others, (at, counts))
        return before is not None and counts.has_refused_since(before)

    @property
    def tokens(self) -> int:
        """The lowest level, in tokens. Raises IndexError where none was seen."""
        return self._levels[0][1]
