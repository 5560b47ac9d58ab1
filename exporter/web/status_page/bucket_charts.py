"""The charts of a bucket's history, with their summary in words and their values as a table. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar

from exporter.buckets.bucket import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT
from exporter.clock import in_utc
from exporter.durations import spaced
from exporter.numbers import counted
from exporter.web.status_page.chart import Scale, Span, TimeTick, area_between, gaps, scale_of, span, stairs, time_ticks
from exporter.web.status_page.queries import Range

if TYPE_CHECKING:
    from exporter.store.timeline import Band, Step

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
    """The charts of ``range`` from ``since`` on, with their table; what lies ahead of ``now`` is left out.

    ``alerts`` are those that fired, the latest first; ``marked`` is a time to be pointed out.
    """

    steps: Sequence[Step]
    alerts: Sequence[Band]
    range: Range
    since: datetime
    now: datetime
    marked: datetime | None = None

    @property
    def tokens(self) -> Plot:
        lowest, highest = [step.lowest for step in self.steps], [step.highest for step in self.steps]
        capacity = [step.capacity for step in self.steps]
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
        paths["line"] = stairs([step.tokens for step in self.steps], scale)
        return Plot(TOKENS_HEIGHT, paths, _ticks(scale), labels)

    @property
    def consumption(self) -> Plot:
        used = [step.consumed_per_minute for step in self.steps]
        most = [step.most_consumed if step.consumed_per_minute is not None else None for step in self.steps]
        refill = [step.refill_per_minute for step in self.steps]
        scale = scale_of([*most, *refill], CONSUMPTION_HEIGHT)
        paths = {"refill": stairs(refill, scale), "between": area_between(used, most, scale)}
        return Plot(CONSUMPTION_HEIGHT, paths | {"line": stairs(used, scale)}, _ticks(scale), [])

    @property
    def times(self) -> list[TimeTick]:
        return time_ticks(self.since, self.since + self.range.length)

    @property
    def gaps(self) -> list[Span]:
        return gaps([step.tokens for step in self.steps])

    @property
    def mark(self) -> float | None:
        return None if self.marked is None else self._span(self.marked, self.marked).left

    @property
    def bands(self) -> list[AlertBand]:
        """Critical alerts are on top: the last one is."""
        bands = []
        for alert in sorted(self.alerts, key=lambda alert: alert.severity == "critical"):
            end = "it still fires" if alert.until is None else f"until {in_utc(alert.until)} UTC"
            title = f"{alert.name} ({alert.severity}) from {in_utc(alert.since)} UTC, {end}"
            times = alert.since, alert.until or self.now
            bands.append(AlertBand(alert.severity, self._span(*times), self._span(*times, _VISIBLE_PERCENT), title))
        return bands

    def _span(self, begin: datetime, end: datetime, least: float = 0.0) -> Span:
        return span(begin, end, self.since, self.since + self.range.length, least)

    @property
    def rows(self) -> list[TableRow]:
        rows: list[TableRow] = []
        for first in range(0, len(self.steps), self.range.steps_per_row):
            part = self.steps[first : first + self.range.steps_per_row]
            begins = self.since + first * self.range.step
            ends = begins + self.range.steps_per_row * self.range.step
            if begins > self.now:
                break
            fired = (a.name for a in reversed(self.alerts) if a.since < ends and (a.until or self.now) >= begins)
            rows.append(
                TableRow(
                    begins,
                    _last(step.tokens for step in part),
                    min(_present(step.lowest for step in part), default=None),
                    max(_present(step.highest for step in part), default=None),
                    max(_present(step.most_consumed for step in part), default=None),
                    _last(step.refill_per_minute for step in part),
                    ", ".join(dict.fromkeys(fired)),
                )
            )
        return rows

    @property
    def summary(self) -> str:
        """What the charts show, in sentences."""
        answered = [(index, step) for index, step in enumerate(self.steps) if step.tokens is not None]
        if not answered:
            return f"No data for these {self.range.label}."
        index, lowest = min(answered, key=lambda pair: pair[1].lowest or 0)
        _, last = answered[-1]
        when = f"{self.since + index * self.range.step:%Y-%m-%d %H:%M} UTC"
        sentences = [f"Tokens: {last.tokens:,} of {last.capacity:,} at the end, fewest {lowest.lowest:,} at {when}."]
        most = max(_present(step.most_consumed for _, step in answered), default=None)
        if most is not None and last.refill_per_minute is not None:
            refill = _short(last.refill_per_minute)
            sentences.append(f"Consumption: at most {most:,.0f} a minute; refill {refill} a minute.")
        if missing := len(self.steps) - len(answered):
            sentences.append(f"No data for {spaced(missing * self.range.step_seconds)} of it.")
        names = dict.fromkeys(alert.name for alert in reversed(self.alerts))
        listed = f": {', '.join(names)}" if len(names) <= _MOST_NAMED else ""
        least = "At least " if len(self.alerts) == MOST_BANDS else ""
        fired = f"{least}{counted(len(self.alerts), 'alert')} fired{listed}."
        return " ".join([*sentences, fired if self.alerts else "No alert fired."])

    @property
    def values(self) -> str:
        """What the page's script shows under the pointer, as JSON."""
        values = [
            None
            if step.tokens is None
            else [
                *(step.tokens, step.lowest, step.highest, step.capacity),
                *map(_rounded, (step.consumed_per_minute, step.most_consumed, step.refill_per_minute)),
            ]
            for step in self.steps
        ]
        chart = {"since": self.since.timestamp(), "step": self.range.step_seconds, "values": values}
        return json.dumps(chart, separators=(",", ":"))


def _ticks(scale: Scale) -> list[Tick]:
    return [Tick(scale.y(value), _short(value)) for value in scale.ticks()]


def _short(value: float) -> str:
    return f"{value / 1_000_000:g} M" if abs(value) >= 1_000_000 else f"{value:,.0f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1) if value < 10 else round(value)


def _present(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _last(values: Iterable[T | None]) -> T | None:
    return next(reversed(_present(values)), None)
