"""Durations as people read them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def in_words(seconds: float) -> str:
    """Returns whole seconds in the two largest units: ``33 s``, ``10 min 5 s``, ``2 h 4 min``, ``3 d 2 h``."""
    left = max(round(seconds), 0)
    for index, (unit, size) in enumerate(_UNITS[:-1]):
        if left >= size:
            smaller, smaller_size = _UNITS[index + 1]
            rest = left % size // smaller_size
            return f"{left // size} {unit} {rest} {smaller}" if rest else f"{left // size} {unit}"
    return f"{left} s"
