"""The time: UTC that goes on while the wall clock is behind; and how people read it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Final

log = logging.getLogger(__name__)

SUDDEN_SECONDS: Final = 300.0
"""A wall clock that is further than this from where it must be by monotonic time was set."""

BELIEVED_AFTER_SECONDS: Final = 300.0
"""How long a wall clock that was set must stay so: one that is wrong for seconds changes nothing."""


def _since_boot() -> float:
    """Returns monotonic seconds that go on while the machine sleeps, where the system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Clock:
    """UTC time that goes on while the wall clock is behind.

    It goes back only where the wall clock was set back by more than ``SUDDEN_SECONDS``, and stayed so for
    ``BELIEVED_AFTER_SECONDS``; a jump ahead is followed as late. Never behind the time that `advance_to` was given.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = _since_boot) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last = wall()
        self._last_monotonic = monotonic()
        self._floor = -math.inf
        self._jumped_since: float | None = None

    def now(self) -> datetime:
        wall, monotonic = self._wall(), self._monotonic()
        elapsed_seconds = monotonic - self._last_monotonic
        self._last_monotonic = monotonic
        self._floor += elapsed_seconds
        steady = self._last + elapsed_seconds
        ahead_seconds = wall - steady
        if abs(ahead_seconds) <= SUDDEN_SECONDS:
            self._jumped_since = None
            self._last = max(wall, steady)
        elif self._jumped_since is None or monotonic - self._jumped_since < BELIEVED_AFTER_SECONDS:
            self._jumped_since = monotonic if self._jumped_since is None else self._jumped_since
            self._last = steady
        else:
            self._jumped_since = None
            self._last = max(wall, self._floor)
            log.warning("clock was set, following it", extra={"by_seconds": round(self._last - steady)})
        return datetime.fromtimestamp(self._last, UTC)

    def advance_to(self, at: datetime) -> None:
        """Never shows a time before ``at`` again: what happened then must not lie ahead."""
        behind_seconds = (at - self.now()).total_seconds()
        if behind_seconds > 1:
            log.warning(
                "clock is behind the last poll in the database, going on from there",
                extra={"behind_seconds": round(behind_seconds)},
            )
        self._floor = max(self._floor, at.timestamp())
        self._last = max(self._last, self._floor)


def in_utc(at: datetime) -> str:
    """Formats a time in UTC, to the second: ``2026-11-29 17:03:15``."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def with_local_time(at: datetime, zone: tzinfo) -> str:
    """Returns ``2026-11-29 17:03:15 UTC (14:03:15 -03)``, in whole seconds; where ``zone`` is UTC, that alone."""
    local = at.astimezone(zone)
    text = f"{in_utc(at)} UTC"
    return text if local.tzname() == "UTC" else f"{text} ({local:%H:%M:%S %Z})"
