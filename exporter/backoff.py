"""How long to wait before trying again: twice as long each time, up to a limit, and spread out."""

from __future__ import annotations

import random
from dataclasses import dataclass

MOST_DOUBLINGS = 30
"""By then a wait has long reached its limit."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """``first_seconds`` is the longest wait before anything failed; each failure doubles it."""

    first_seconds: float
    longest_seconds: float

    def seconds(self, failures: int, jitter: float | None = None) -> float:
        """Returns the seconds to wait after that many failures in a row: between half and all of the longest.

        ``jitter`` is between 0 and 1, by default random: those that failed together come back spread out.
        """
        jitter = random.random() if jitter is None else jitter  # noqa: S311 - not a secret
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures, MOST_DOUBLINGS))
        return longest * (0.5 + 0.5 * jitter)
