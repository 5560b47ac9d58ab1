"""The charts of a bucket's history, with their summary in words and their values as a table. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

from exporter.clock import utc
from exporter.durations import spaced
from exporter.numbers import counted
from exporter.web.status_page.chart import Scale, Span, TimeTick, area_between, gaps, scale_of, span, stairs, time_ticks
from exporter.web.status_page.formatting import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT
from exporter.web.status_page.queries import Range

if TYPE_CHECKING:
    from exporter.store.timeline import Band, Step, Steps

T = TypeVar("T")

MOST_BANDS: Final = 200
"""The most alerts that a chart shows."""

TOKENS_HEIGHT: Final = 220
CONSUMPTION_HEIGHT: Final = 110

_VISIBLE_PERCENT: Final = 0.2
"""The least width that is seen."""

_MOST_NAMED: Final = 2
"""More alerts are counted, not named."""


@dataclass(frozen=True, slots=True)
class Tick:
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class AlertBand:
    """``span`` is as wide as the alert was long; ``mark`` is seen however short it was."""

    severity: str
    span: Span
    mark: Span
    title: str


@dataclass(frozen=True, slots=True)
class TableRow:
    """Part of the time, for the table."""

    begins: datetime
    tokens: int | None
    lowest: int | None
    highest: int | None
    most_consumed: float | None
    refill: float | None
    alerts: str


@dataclass(frozen=True, slots=True)
class Plot:
    """``paths`` by their class in the style sheet, in the order in which they are drawn."""

    height: int
    paths: dict[str, str]
    ticks: list[Tick]
    labels: list[Tick]


@dataclass(frozen=True, slots=True)
class BucketCharts:
    """Tokens, and their consumption; ``values`` are what the page's script shows under the pointer, as JSON."""

    steps: int
    tokens: Plot
    consumption: Plot
    times: list[TimeTick]
    gaps: list[Span]
    bands: list[AlertBand]
    mark: float | None
    summary: str
    rows: list[TableRow]
    values: str


def bucket_charts(
    history: Steps,
    bands: Sequence[Band],
    range_: Range,
    since: datetime,
    *,
    now: datetime,
    mark: datetime | None = None,
) -> BucketCharts:
    """Returns the charts of a range from ``since`` on; what lies ahead of ``now`` is left out."""
    until = since + range_.length
    return BucketCharts(
        steps=range_.steps,
        tokens=_tokens(history.steps),
        consumption=_consumption(history.steps),
        times=time_ticks(since, until),
        gaps=gaps([step.tokens for step in history.steps]),
        # The last one is on top.
        bands=[_band(band, since, until, now) for band in sorted(bands, key=lambda b: b.severity == "critical")],
        mark=None if mark is None else span(mark, mark, since, until).left,
        summary=_summary(history.steps, bands, range_, since),
        rows=_rows(history.steps, bands, range_, since, now),
        values=_values(history.steps, range_, since),
    )


def _tokens(steps: Sequence[Step]) -> Plot:
    lowest, highest = [step.lowest for step in steps], [step.highest for step in steps]
    capacity = [step.capacity for step in steps]
    scale = scale_of([*capacity, *highest, *lowest], TOKENS_HEIGHT)
    paths = {"capacity": stairs(capacity, scale)}
    labels = []
    last = _last(capacity)
    if last is not None:
        labels.append(Tick(scale.y(last), "capacity"))
    for name, percent in (("limit", WARNING_LEFT_PERCENT), ("limit critical", CRITICAL_LEFT_PERCENT)):
        paths[name] = stairs([None if value is None else value * percent / 100 for value in capacity], scale)
        if last is not None:
            labels.append(Tick(scale.y(last * percent / 100), f"{percent} %"))
    paths["between"] = area_between(lowest, highest, scale)
    paths["line"] = stairs([step.tokens for step in steps], scale)
    return Plot(TOKENS_HEIGHT, paths, _ticks(scale), labels)


def _consumption(steps: Sequence[Step]) -> Plot:
    used = [step.consumed_per_minute for step in steps]
    most = [step.most_consumed if step.consumed_per_minute is not None else None for step in steps]
    refill = [step.refill_per_minute for step in steps]
    scale = scale_of([*most, *refill], CONSUMPTION_HEIGHT)
    paths = {"refill": stairs(refill, scale), "between": area_between(used, most, scale), "line": stairs(used, scale)}
    return Plot(CONSUMPTION_HEIGHT, paths, _ticks(scale), [])


def _ticks(scale: Scale) -> list[Tick]:
    return [Tick(scale.y(value), _short(value)) for value in scale.ticks()]


def _short(value: float) -> str:
    return f"{value / 1_000_000:g} M" if abs(value) >= 1_000_000 else f"{value:,.0f}"


def _band(band: Band, since: datetime, until: datetime, now: datetime) -> AlertBand:
    end = "it still fires" if band.until is None else f"until {utc(band.until)} UTC"
    title = f"{band.name} ({band.severity}) from {utc(band.since)} UTC, {end}"
    times = (band.since, band.until or now, since, until)
    return AlertBand(band.severity, span(*times), span(*times, least=_VISIBLE_PERCENT), title)


def _rows(
    steps: Sequence[Step], bands: Sequence[Band], range_: Range, since: datetime, now: datetime
) -> list[TableRow]:
    rows: list[TableRow] = []
    for first in range(0, len(steps), range_.steps_per_row):
        part = steps[first : first + range_.steps_per_row]
        begins, ends = since + first * range_.step, since + (first + range_.steps_per_row) * range_.step
        if begins > now:
            break
        fired = dict.fromkeys(b.name for b in reversed(bands) if b.since < ends and (b.until or now) >= begins)
        rows.append(
            TableRow(
                begins,
                _last(step.tokens for step in part),
                min(_present(step.lowest for step in part), default=None),
                max(_present(step.highest for step in part), default=None),
                max(_present(step.most_consumed for step in part), default=None),
                _last(step.refill_per_minute for step in part),
                ", ".join(fired),
            )
        )
    return rows


def _summary(steps: Sequence[Step], bands: Sequence[Band], range_: Range, since: datetime) -> str:
    answered = [(index, step) for index, step in enumerate(steps) if step.tokens is not None]
    if not answered:
        return f"No data for these {range_.label}."
    index, lowest = min(answered, key=lambda pair: pair[1].lowest or 0)
    _, last = answered[-1]
    when = f"{since + index * range_.step:%Y-%m-%d %H:%M} UTC"
    sentences = [f"Tokens: {last.tokens:,} of {last.capacity:,} at the end, fewest {lowest.lowest:,} at {when}."]
    most = max(_present(step.most_consumed for _, step in answered), default=None)
    if most is not None and last.refill_per_minute is not None:
        refill = _short(last.refill_per_minute)
        sentences.append(f"Consumption: at most {most:,.0f} a minute; refill {refill} a minute.")
    if missing := len(steps) - len(answered):
        sentences.append(f"No data for {spaced(missing * range_.step_seconds)} of it.")
    names = dict.fromkeys(band.name for band in reversed(bands))
    listed = f": {', '.join(names)}" if 0 < len(names) <= _MOST_NAMED else ""
    least = "At least " if len(bands) == MOST_BANDS else ""
    sentences.append(f"{least}{counted(len(bands), 'alert')} fired{listed}." if bands else "No alert fired.")
    return " ".join(sentences)


def _values(steps: Sequence[Step], range_: Range, since: datetime) -> str:
    values = [
        None
        if step.tokens is None
        else [
            *(step.tokens, step.lowest, step.highest, step.capacity),
            *map(_rounded, (step.consumed_per_minute, step.most_consumed, step.refill_per_minute)),
        ]
        for step in steps
    ]
    chart = {"since": since.timestamp(), "step": range_.step_seconds, "values": values}
    return json.dumps(chart, separators=(",", ":"))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1) if value < 10 else round(value)


def _present(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _last(values: Iterable[T | None]) -> T | None:
    return next(reversed(_present(values)), None)
