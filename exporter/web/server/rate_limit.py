"""Limits the rate of requests by a token bucket, as exporter-toolkit does."""

from __future__ import annotations

import math


class RateLimiter:
    """Lets one request through every ``interval_seconds``, and up to ``burst`` at once after a pause."""

    def __init__(self, interval_seconds: float, burst: int, at: float) -> None:
        self._interval_seconds = interval_seconds
        self._burst = burst
        self._tokens = float(burst)
        self._at = at

    def allows(self, at: float) -> bool:
        """Whether a request at ``at`` (seconds of a clock that never goes back) may pass; it is counted then."""
        self._tokens = min(self._burst, self._tokens + (at - self._at) / self._interval_seconds)
        self._at = at
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def retry_after_seconds(self) -> int:
        """Whole seconds until the next request may pass, at least 1."""
        return max(1, math.ceil((1 - self._tokens) * self._interval_seconds))
