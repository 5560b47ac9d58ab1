"""Scales and paths of charts over steps of time. Pure.

A chart's x axis counts steps; its plot is stretched to the screen's width, so that
only y is in pixels. Step ``n`` lies between ``n`` and ``n + 1``: what a bucket holds
it holds until it changes, so lines are stairs. None is a gap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TICKS: Final = 4
"""About so many lines across a chart."""

_TIMES: Final = 6
"""At most so many times along the axis: as many as fit a phone."""

_MARGIN_PERCENT: Final = 4
"""So near an end of the axis a time would not fit."""

_ROUND_SECONDS: Final = tuple(
    timedelta(**{unit: count}).total_seconds()
    for unit, counts in (("minutes", (1, 5, 10, 15, 30)), ("hours", (1, 2, 3, 4, 6, 12)), ("days", (1, 2, 5, 7, 10)))
    for count in counts
)


@dataclass(frozen=True, slots=True)
class Scale:
    """From 0, or the lowest value below it, at the bottom of ``height`` pixels to ``top`` at the top."""

    top: float
    height: float
    bottom: float = 0.0

    def y(self, value: float) -> float:
        """Returns pixels from the top; what lies outside is at the edge."""
        share = (min(max(value, self.bottom), self.top) - self.bottom) / (self.top - self.bottom)
        return round(self.height * (1 - share), 1)

    def ticks(self) -> list[float]:
        """Returns round values from the bottom to the top."""
        step = round_step((self.top - self.bottom) / TICKS)
        first, last = math.ceil(self.bottom / step), math.floor(self.top / step)
        return [number * step for number in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class TimeTick:
    """A time on the axis; ``percent`` from its left end."""

    percent: float
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """Part of the axis, in percent of its width."""

    left: float
    width: float


def scaled(values: Sequence[float | None], height: float, *others: float) -> Scale:
    """Returns a scale that shows all values and others; above the greatest there is some room."""
    known = [value for value in (*values, *others) if value is not None]
    top = max(known, default=0.0)
    return Scale(top * 1.06 if top > 0 else 1.0, height, min(0.0, *known) if known else 0.0)


def round_step(least: float) -> float:
    """Returns the smallest of 1, 2, 5, 10, 20, 50 ... that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(max(least, 0.1)))
    found = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9))
    return max(found, 1.0)


def stairs(values: Sequence[float | None], scale: Scale) -> str:
    """Returns the path of a line that keeps each value for its step, broken where there is none."""
    drawn: list[str] = []
    for begin, run in _runs(values):
        drawn.append(f"M{begin} {scale.y(run[0]):g}{_along(begin, [scale.y(value) for value in run])}")
    return "".join(drawn)


def between(lowest: Sequence[float | None], highest: Sequence[float | None], scale: Scale) -> str:
    """Returns the path around what lies between two lines."""
    drawn: list[str] = []
    for begin, tops in _runs(highest):
        bottoms = [scale.y(value) for value in lowest[begin : begin + len(tops)] if value is not None]
        forth = [scale.y(value) for value in tops]
        end = begin + len(tops)
        back = _along(-end, bottoms[::-1], sign=-1)
        drawn.append(f"M{begin} {forth[0]:g}{_along(begin, forth)}V{bottoms[-1]:g}{back}Z")
    return "".join(drawn)


def gaps(values: Sequence[object | None]) -> list[Span]:
    """Returns where nothing is known."""
    found: list[Span] = []
    place = 0
    for missing, run in groupby(values, key=lambda value: value is None):
        count = sum(1 for _ in run)
        if missing:
            found.append(Span(_percent(place / len(values)), _percent(count / len(values))))
        place += count
    return found


def span(begin: datetime, end: datetime, since: datetime, until: datetime, least: float = 0.0) -> Span:
    """Returns the part of an axis from ``since`` to ``until`` between two times, ``least`` percent at least."""
    whole = (until - since).total_seconds()
    left = min(max(0.0, (begin - since).total_seconds() / whole), 1.0)
    right = min(max(left, (end - since).total_seconds() / whole), 1.0)
    width = max(100 * (right - left), least)
    return Span(round(min(100 * left, 100 - width), 3), round(width, 3))


def time_ticks(since: datetime, until: datetime) -> list[TimeTick]:
    """Returns round times, in UTC."""
    whole = (until - since).total_seconds()
    step = next((seconds for seconds in _ROUND_SECONDS if whole / seconds <= _TIMES), _ROUND_SECONDS[-1])
    form = "%d %b" if step >= 86_400 else "%H:%M"
    found: list[TimeTick] = []
    at = math.ceil(since.timestamp() / step) * step
    while at <= until.timestamp():
        time = datetime.fromtimestamp(at, UTC)
        text = time.strftime("%d %b" if form == "%H:%M" and whole > 86_400 and time.hour == 0 else form)
        percent = _percent((at - since.timestamp()) / whole)
        if _MARGIN_PERCENT <= percent <= 100 - _MARGIN_PERCENT:
            found.append(TimeTick(percent, time, text))
        at += step
    return found


def _runs(values: Sequence[float | None]) -> Iterator[tuple[int, list[float]]]:
    """Yields where each unbroken run begins, and its values."""
    begin = 0
    run: list[float] = []
    for place, value in enumerate([*values, None]):
        if value is not None:
            if not run:
                begin = place
            run.append(value)
        elif run:
            yield begin, run
            run = []


def _along(begin: int, heights: Sequence[float], sign: int = 1) -> str:
    """Returns the way over stairs, from where it stands at the first; equal ones are one stair."""
    way: list[str] = []
    place = begin
    for height, same in groupby(heights):
        if place != begin:
            way.append(f"V{height:g}")
        place += sum(1 for _ in same)
        way.append(f"H{sign * place}")
    return "".join(way)


def _percent(share: float) -> float:
    return round(100 * share, 3)
