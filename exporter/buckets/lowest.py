"""The lowest level of a bucket of late: what answers showed, and what their counts of 429s prove."""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.buckets.bucket import Bucket, ResponseCounts


@dataclass(slots=True)
class LowestLevel:
    """Over the last ``window_seconds`` before the last answer. Time is an argument, in seconds, and never goes back.

    DICT answers 429 where a bucket has no token: between two answers of one Bridge instance of which the later counts
    more of them the bucket was empty, whatever they showed of it.
    """

    window_seconds: float
    _levels: list[tuple[float, int]] = field(default_factory=list)
    _counts: ResponseCounts | None = None

    def see(self, bucket: Bucket, at: float) -> None:
        """Takes in an answer's state of the bucket."""
        counts, before = bucket.response_counts, self._counts
        level = bucket.available_tokens
        if counts is not None and before is not None and counts.has_refused_since(before):
            level = min(level, 0)
        self._counts = counts
        # Each is above the one before it: what was lower is still the lowest, what was higher never will be.
        while self._levels and self._levels[-1][1] >= level:
            self._levels.pop()
        self._levels.append((at, level))
        while self._levels[0][0] <= at - self.window_seconds:
            del self._levels[0]

    @property
    def tokens(self) -> int:
        """The lowest level, in tokens. Raises IndexError where none was seen."""
        return self._levels[0][1]
