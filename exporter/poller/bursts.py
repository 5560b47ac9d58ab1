"""When sudden falls of a bucket come: learned from when they came before. Pure: times are arguments, in seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final

ONE_BURST_SECONDS: Final = 5.0
"""Falls that are seen within this time are one burst."""

REGULAR_BURSTS: Final = 4
"""At least this number must lie in their places before the next is expected in its own."""

KEPT_BURSTS: Final = 5

JITTER_SECONDS: Final = 0.75
"""How far from its place a regular burst may begin."""

WIDEST_SHARE: Final = 0.25
"""Of the period: where the next may begin in more of it than this, it is expected at no time."""

MOST_PERIODS: Final = 1.5
"""Periods for each time between two bursts, on average: where more would have gone unseen, they are not regular."""

MOST_MISSED: Final = 2
"""After more than these that were not seen none is expected."""

Span = tuple[float, float]
"""From when until when."""


@dataclass(slots=True)
class Bursts:
    """The last bursts of one bucket, each known to have begun between two looks.

    They are regular where there is a period that puts one into each of these spans; then the next has its span, too.
    """

    _began: tuple[Span, ...] = ()
    _period_seconds: float = 0.0
    _next: Span | None = None

    def note(self, earliest: float, latest: float) -> None:
        """Takes in a burst that began between two instants."""
        if self._began and latest - self._began[-1][1] < ONE_BURST_SECONDS:
            return
        self._began = (*self._began, (earliest, latest))[-KEPT_BURSTS:]
        self._next = None
        for count in range(len(self._began), REGULAR_BURSTS - 1, -1):
            if self._learn(self._began[-count:]):
                return

    def expected(self, at: float) -> Span | None:
        """Returns from when until when the next may begin, of those that may begin after ``at``; None: at any time."""
        if self._next is None:
            return None
        begins, ends = self._next
        missed = max(0, math.ceil((at - ends) / self._period_seconds))
        if missed > MOST_MISSED:
            return None
        return begins + missed * self._period_seconds, ends + missed * self._period_seconds

    def _learn(self, began: Sequence[Span]) -> bool:
        middles = [(earliest + latest) / 2 for earliest, latest in began]
        between = [later - earlier for earlier, later in pairwise(middles)]
        number, spans = 0, []
        for (earliest, latest), since_last in zip(began, [0.0, *between], strict=True):
            # One that was not seen leaves twice the time.
            number += round(since_last / min(between))
            spans.append((number, earliest - JITTER_SECONDS, latest + JITTER_SECONDS))
        if number > MOST_PERIODS * len(between):
            return False
        pairs = list(combinations(spans, 2))
        least = max((later[1] - earlier[2]) / (later[0] - earlier[0]) for earlier, later in pairs)
        most = min((later[2] - earlier[1]) / (later[0] - earlier[0]) for earlier, later in pairs)
        if least > most:
            return False
        following = number + 1
        begins = min(max(earliest + (following - n) * period for n, earliest, _ in spans) for period in (least, most))
        ends = max(min(latest + (following - n) * period for n, _, latest in spans) for period in (least, most))
        if ends - begins > WIDEST_SHARE * least:
            return False
        self._period_seconds, self._next = (least + most) / 2, (begins, ends)
        return True
