"""Scales and paths of charts over steps of time. Pure.

A chart's x axis counts steps; its plot is stretched to the screen's width, so that only y is in pixels. Step ``n`` lies
between ``n`` and ``n + 1``: a bucket keeps its state until it changes, so lines have steps. None is a gap.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

TICKS: Final = 4
"""About how many lines go across a chart."""

_MOST_TIMES: Final = 6
"""As many times as fit along the axis on a phone."""

_MARGIN_PERCENT: Final = 4
"""A time nearer to an end of the axis would not fit."""

_MINUTES: Final = (1, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1_440, 2_880, 7_200, 10_080, 14_400)
"""Possible distances between times on the axis."""


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
        return [multiple * step for multiple in range(first, last + 1)]


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


def scale_of(values: Sequence[float | None], height: float) -> Scale:
    """Returns a scale that shows all values, with some room above the greatest."""
    present = [value for value in values if value is not None]
    top = max(present, default=0.0)
    return Scale(top * 1.06 if top > 0 else 1.0, height, min(0.0, *present) if present else 0.0)


def round_step(least: float) -> float:
    """Returns the smallest of 1, 2, 5, 10, 20, 50 ... that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(max(least, 0.1)))
    return max(1.0, next(power * digit for digit in (1, 2, 5, 10) if power * digit >= least * (1 - 1e-9)))


def stairs(values: Sequence[float | None], scale: Scale) -> str:
    """Returns the path of a line that keeps each value for its step, broken at gaps."""
    lines = ((begin, [scale.y(value) for value in run]) for begin, run in _runs(values))
    return "".join(f"M{begin} {heights[0]:g}{_stairs(begin, heights)}" for begin, heights in lines)


def area_between(lowest: Sequence[float | None], highest: Sequence[float | None], scale: Scale) -> str:
    """Returns the path around the area between two lines that have the same gaps."""
    path = ""
    for begin, run in _runs(highest):
        end = begin + len(run)
        tops = [scale.y(value) for value in run]
        bottoms = [scale.y(value) for value in lowest[begin:end] if value is not None]
        back = _stairs(-end, bottoms[::-1], sign=-1)
        path += f"M{begin} {tops[0]:g}{_stairs(begin, tops)}V{bottoms[-1]:g}{back}Z"
    return path


def sparkline(values: Sequence[float | None]) -> list[str]:
    """Returns the points of each unbroken line of a small chart. A single point becomes a dash."""
    lines = ([f"{step},{value:.0f}" for step, value in enumerate(run, begin)] for begin, run in _runs(values))
    return [" ".join(points if len(points) > 1 else points * 2) for points in lines]


def sparkline_area(points: str) -> str:
    """Returns the points of the area under a line of a sparkline, whose bottom is 100."""
    first, last = points.partition(",")[0], points.rpartition(" ")[2].partition(",")[0]
    return f"{first},100 {points} {last},100"


def gaps(values: Sequence[object | None]) -> list[Span]:
    missing = [0.0 if value is None else None for value in values]
    return [Span(_percent(begin / len(values)), _percent(len(run) / len(values))) for begin, run in _runs(missing)]


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
    step = 60 * next((minutes for minutes in _MINUTES if whole / 60 / minutes <= _MOST_TIMES), _MINUTES[-1])
    ticks: list[TimeTick] = []
    for timestamp in range(math.ceil(since.timestamp() / step) * step, math.floor(until.timestamp()) + 1, step):
        at = datetime.fromtimestamp(timestamp, UTC)
        is_day = step >= 86_400 or (whole > 86_400 and at.hour == 0)
        percent = _percent((timestamp - since.timestamp()) / whole)
        if _MARGIN_PERCENT <= percent <= 100 - _MARGIN_PERCENT:
            ticks.append(TimeTick(percent, at, f"{at:%d %b}" if is_day else f"{at:%H:%M}"))
    return ticks


def _runs(values: Sequence[float | None]) -> Iterator[tuple[int, list[float]]]:
    """Yields where each unbroken run begins, and its values."""
    for is_gap, steps in groupby(enumerate(values), key=lambda step: step[1] is None):
        if not is_gap:
            numbers, run = zip(*steps, strict=True)
            yield numbers[0], list(run)


def _stairs(begin: int, heights: Sequence[float], sign: int = 1) -> str:
    """Returns the path over stairs, from the height of the first; equal heights are one stair."""
    path, x = "", begin
    for height, same in groupby(heights):
        x += len(list(same))
        path += f"V{height:g}H{sign * x}"
    return path.removeprefix(f"V{heights[0]:g}")


def _percent(share: float) -> float:
    return round(100 * share, 3)
