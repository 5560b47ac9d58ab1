"""A feed that is silent: when it counts as lost, and the failed polls that stand in for its exporter's."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Failure, Poll

SILENT_INTERVALS: Final = 3
"""A feed that is silent for this many poll intervals is lost."""

CONNECT_SECONDS: Final = 10.0
"""A connection may take this long to open, where intervals are short."""


class Silence:
    """How long one feed has been silent. ``interval_seconds`` is the exporter's poll interval, as far as is known."""

    def __init__(self, target: str, interval_seconds: float, staleness_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self._target = target
        self._staleness_seconds = staleness_seconds
        self._last_polls: dict[str, Poll] = {}
        self._heard_at = 0.0

    def heard(self) -> None:
        """Notes that the feed was heard just now."""
        self._heard_at = asyncio.get_running_loop().time()

    def pause(self) -> None:
        """Counts no silence until `heard`: the reconciler is held up, and the exporter keeps what it does not send."""
        self._heard_at = float("inf")

    def unpause(self) -> None:
        """Counts silence from now on where it was paused."""
        self._heard_at = min(self._heard_at, asyncio.get_running_loop().time())

    def note(self, poll: Poll) -> None:
        """Keeps the participant's last poll: a failed one that stands in continues it."""
        self._last_polls[poll.participant] = poll

    def reset(self) -> None:
        self._last_polls.clear()

    @property
    def left_seconds(self) -> float:
        """How long until the feed is lost; 0 or less: it is."""
        return self._heard_at + SILENT_INTERVALS * self.interval_seconds - asyncio.get_running_loop().time()

    def timeout_seconds(self, *, connected: bool) -> float:
        """Returns how long to wait for the next message."""
        silent_seconds = SILENT_INTERVALS * self.interval_seconds
        return silent_seconds if connected else max(silent_seconds, CONNECT_SECONDS)

    def failed_poll(self, participant: str, stream_id: str, now: datetime) -> Poll:
        """Returns a failed poll in place of the one that the exporter may have made."""
        failure = Failure(
            "FEED_LOST", f"the exporter at {self._target} has been silent for {SILENT_INTERVALS} intervals"
        )
        last = self._last_polls.get(participant)
        if last is not None:
            # The exporter's clock may be ahead of ours, and what lies before an evaluated poll would not be evaluated.
            silent = timedelta(seconds=asyncio.get_running_loop().time() - self._heard_at)
            at = max(now, last.polled_at + silent)
            return replace(last, sequence=0, polled_at=at, result=failure, duration_seconds=0.0, traceparent=None)
        return Poll(
            stream_id=stream_id,
            sequence=0,
            participant=Ispb(participant),
            polled_at=now,
            interval_seconds=self.interval_seconds,
            staleness_seconds=self._staleness_seconds,
            result=failure,
        )
