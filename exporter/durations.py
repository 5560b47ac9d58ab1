"""Durations: as Prometheus writes them, as people read them, and as one waits before trying again."""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from typing import Final

_UNITS: Final = {"y": 31536000, "w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_DURATION: Final = re.compile("".join(rf"(?:(\d+){unit})?" for unit in _UNITS), re.ASCII)
_LONGEST_SECONDS: Final = 2**63 / 10**9
"""What Go counts in 64 bits of nanoseconds: 292 years."""


_MOST_DOUBLINGS: Final = 30
"""By then a wait has long reached its limit."""


class DurationOutOfRange(ValueError):
    """A duration is too long for Prometheus."""


def parse_duration(text: str) -> float:
    """Returns seconds of a duration in Prometheus' notation, such as ``1h30m``. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if text == "0":
        return 0.0
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration; write it as 15s, 5m or 1h30m")
    seconds = sum(float(n) * size for n, size in zip(match.groups(), _UNITS.values(), strict=True) if n)
    if seconds >= _LONGEST_SECONDS:
        raise DurationOutOfRange(f"{text!r} is too long a duration; the longest is 292y")
    return seconds


class Duration(float):
    """Seconds, written as in Prometheus: exact to the millisecond."""

    __slots__ = ()

    def __str__(self) -> str:
        left, text = round(self * 1000), ""
        for unit in ("d", "h", "m", "s", "ms"):
            count, left = divmod(left, round(_UNITS[unit] * 1000))
            text += f"{count}{unit}" if count else ""
        return text or "0s"


def short(seconds: float, separator: str = "") -> str:
    """Returns whole seconds in their two largest units: ``3d2h``, ``12m30s``, ``33s``, and ``never`` for infinity."""
    return separator.join(f"{count}{unit}" for count, unit in _largest_units(seconds)) or "never"


def spaced(seconds: float) -> str:
    """Returns the same with a space between: ``3d 2h``."""
    return short(seconds, " ")


def in_words(seconds: float) -> str:
    """Returns whole seconds in their two largest units, for sentences: ``3 d 2 h``, ``10 min 5 s``, ``33 s``."""
    return " ".join(f"{count} {'min' if unit == 'm' else unit}" for count, unit in _largest_units(seconds)) or "never"


def _largest_units(seconds: float) -> list[tuple[int, str]]:
    """Returns the largest unit and the one below it, that one only where it is not 0; nothing for infinity."""
    if math.isinf(seconds):
        return []
    left = max(round(seconds), 0)
    counts = [(left // 86_400, "d"), (left // 3_600 % 24, "h"), (left // 60 % 60, "m"), (left % 60, "s")]
    largest = next((index for index, (count, _) in enumerate(counts) if count), len(counts) - 1)
    return [counts[largest], *(unit for unit in counts[largest + 1 : largest + 2] if unit[0])]


@dataclass(frozen=True, slots=True)
class Backoff:
    """``first_seconds`` is the longest wait before anything failed; each failure doubles it, up to a limit."""

    first_seconds: float
    longest_seconds: float

    def seconds(self, failures: int, jitter: float | None = None) -> float:
        """Returns the seconds to wait after that many failures in a row: between half and all of the longest.

        ``jitter`` is between 0 and 1, by default random: those that failed together come back spread out.
        """
        jitter = random.random() if jitter is None else jitter  # noqa: S311 - not a secret
        longest = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures, _MOST_DOUBLINGS))
        return longest * (0.5 + 0.5 * jitter)
