"""What a bucket's page says: worked out here, laid out by the template. Pure: time is an argument."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from exporter.durations import spaced
from exporter.numbers import counted
from exporter.web.status_page.chart import Scale, Span, TimeTick, between, gaps, scaled, span, stairs, time_ticks
from exporter.web.status_page.status import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from exporter.store.timeline import Band, Change, Step, Steps
    from exporter.web.status_page.queries import Range

BANDS: Final = 200
CHANGES: Final = 20
"""So many alerts in a chart, and so many changes of alerts, are shown at most."""

TOKENS_HEIGHT: Final = 220
USE_HEIGHT: Final = 110

_SEEN_PERCENT: Final = 0.2

_NAMED: Final = 2
"""More alerts than so many are counted, not named."""

REASONS: Final = {
    "recovered": "its condition was no longer true",
    "policy_gone": "the answers no longer held the bucket",
    "no_data": "its series vanished",
    "rule_removed": "its rule was removed",
    "rule_changed": "its rule was changed",
    "participant_removed": "the participant was removed from the configuration",
}
"""Why an alert resolved."""


@dataclass(frozen=True, slots=True)
class Tick:
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class BandShown:
    """``place`` is as wide as the alert was long; ``mark`` is seen however short it was."""

    severity: str
    place: Span
    mark: Span
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """Part of the time, for the table."""

    begins: datetime
    tokens: int | None
    lowest: int | None
    highest: int | None
    most_consumed: float | None
    refill: float | None
    alerts: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """Both charts, what they say in words, and the values for who points at them (JSON)."""

    since: datetime
    until: datetime
    steps: int
    tokens: str
    tokens_between: str
    capacity: str
    warning: str
    critical: str
    token_ticks: list[Tick]
    labels: list[Tick]
    used: str
    most_used: str
    refill: str
    use_ticks: list[Tick]
    times: list[TimeTick]
    gaps: list[Span]
    bands: list[BandShown]
    mark: float | None
    summary: str
    rows: list[Row]
    values: str


def drawn(
    steps: Steps,
    bands: Sequence[Band],
    asked: Range,
    since: datetime,
    *,
    now: datetime,
    mark: datetime | None = None,
) -> Drawn:
    """Returns the charts of the time from ``since`` on; what lies ahead of ``now`` is left out."""
    until = since + asked.length
    shown = steps.steps
    tokens = [step.tokens for step in shown]
    capacity = [step.capacity for step in shown]
    used = [step.consumed_per_minute for step in shown]
    refill = [step.refill_per_minute for step in shown]
    most = [step.most_consumed if step.consumed_per_minute is not None else None for step in shown]
    scale = scaled([*capacity, *(step.highest for step in shown), *(step.lowest for step in shown)], TOKENS_HEIGHT)
    use_scale = scaled([*most, *refill], USE_HEIGHT)
    last = next((step.capacity for step in reversed(shown) if step.capacity is not None), None)
    return Drawn(
        since=since,
        until=until,
        steps=asked.steps,
        tokens=stairs(tokens, scale),
        tokens_between=between([step.lowest for step in shown], [step.highest for step in shown], scale),
        capacity=stairs(capacity, scale),
        warning=stairs(_share(capacity, WARNING_LEFT_PERCENT), scale),
        critical=stairs(_share(capacity, CRITICAL_LEFT_PERCENT), scale),
        token_ticks=_ticks(scale),
        labels=_labels(last, scale),
        used=stairs(used, use_scale),
        most_used=between(used, most, use_scale),
        refill=stairs(refill, use_scale),
        use_ticks=_ticks(use_scale),
        times=time_ticks(since, until),
        gaps=gaps(tokens),
        # What is drawn last is seen.
        bands=[_band(b, since, until, now) for b in sorted(bands, key=lambda b: b.severity == "critical")],
        mark=None if mark is None else span(mark, mark, since, until).left,
        summary=_summary(shown, bands, asked, since),
        rows=list(_rows(shown, bands, asked, since, now)),
        values=_values(shown, since, asked),
    )


def told(change: Change) -> str:
    """Returns what an alert waited for before a change of its state, in a sentence."""
    if change.state == "pending":
        return "Its condition became true."
    if change.state == "firing":
        waited = (change.at - change.active_since).total_seconds()
        if waited < 1:
            return "Its condition became true; it waited for nothing more."
        return f"Its condition had been true for {spaced(waited)}, as `for` asks."
    fired = spaced((change.at - (change.firing_since or change.active_since)).total_seconds())
    because = REASONS.get(change.reason or "", change.reason or "it ended")
    held = ""
    if change.keep_firing_since is not None and change.keep_firing_since < change.at:
        kept = spaced((change.at - change.keep_firing_since).total_seconds())
        held = f", the last {kept} held by `keep_firing_for`"
    return f"It fired for {fired}{held}, until {because}."


def range_around(seconds: float, ranges: Sequence[Range]) -> Range:
    """Returns the shortest range in which something of this length is seen whole, with what was beside it."""
    return next((r for r in ranges if r.length >= timedelta(seconds=3 * seconds)), ranges[-1])


def _ticks(scale: Scale) -> list[Tick]:
    return [Tick(scale.y(value), _short(value)) for value in scale.ticks()]


def _labels(capacity: int | None, scale: Scale) -> list[Tick]:
    if capacity is None:
        return []
    lines = ((WARNING_LEFT_PERCENT, f"{WARNING_LEFT_PERCENT} %"), (CRITICAL_LEFT_PERCENT, f"{CRITICAL_LEFT_PERCENT} %"))
    return [Tick(scale.y(capacity), "capacity"), *(Tick(scale.y(capacity * p / 100), text) for p, text in lines)]


def _share(values: Sequence[int | None], percent: float) -> list[float | None]:
    return [None if value is None else value * percent / 100 for value in values]


def _short(value: float) -> str:
    return f"{value / 1_000_000:g} M" if abs(value) >= 1_000_000 else f"{value:,.0f}"


def _band(band: Band, since: datetime, until: datetime, now: datetime) -> BandShown:
    ended = "it still fires" if band.until is None else f"until {band.until:%Y-%m-%d %H:%M:%S} UTC"
    title = f"{band.name} ({band.severity}) from {band.since:%Y-%m-%d %H:%M:%S} UTC, {ended}"
    place = (band.since, band.until or now, since, until)
    return BandShown(band.severity, span(*place), span(*place, least=_SEEN_PERCENT), title)


def _rows(steps: Sequence[Step], bands: Sequence[Band], asked: Range, since: datetime, now: datetime) -> list[Row]:
    found: list[Row] = []
    for first in range(0, len(steps), asked.row):
        part = steps[first : first + asked.row]
        begins, ends = since + first * asked.step, since + (first + asked.row) * asked.step
        if begins > now:
            break
        fired = dict.fromkeys(b.name for b in reversed(bands) if b.since < ends and (b.until or now) >= begins)
        found.append(
            Row(
                begins,
                next((step.tokens for step in reversed(part) if step.tokens is not None), None),
                min((step.lowest for step in part if step.lowest is not None), default=None),
                max((step.highest for step in part if step.highest is not None), default=None),
                max((step.most_consumed for step in part if step.most_consumed is not None), default=None),
                next((step.refill_per_minute for step in reversed(part) if step.refill_per_minute is not None), None),
                ", ".join(fired),
            )
        )
    return found


def _summary(steps: Sequence[Step], bands: Sequence[Band], asked: Range, since: datetime) -> str:
    known = [(n, step) for n, step in enumerate(steps) if step.tokens is not None]
    if not known:
        return f"Nothing is known of these {asked.words}."
    lowest_at, lowest = min(known, key=lambda found: found[1].lowest or 0)
    last = known[-1][1]
    when = f"{since + lowest_at * asked.step:%Y-%m-%d %H:%M} UTC"
    words = [f"Tokens: {last.tokens:,} of {last.capacity:,} at the end, fewest {lowest.lowest:,} at {when}."]
    most = max((step.most_consumed for _, step in known if step.most_consumed is not None), default=None)
    if most is not None and last.refill_per_minute is not None:
        words.append(f"Consumption: at most {most:,.0f} a minute; refill {_short(last.refill_per_minute)} a minute.")
    missing = (len(steps) - len(known)) * asked.seconds
    if missing:
        words.append(f"Not known for {spaced(missing)} of it.")
    names = dict.fromkeys(band.name for band in reversed(bands))
    listed = f": {', '.join(names)}" if 0 < len(names) <= _NAMED else ""
    least = "At least " if len(bands) == BANDS else ""
    words.append(f"{least}{counted(len(bands), 'alert')} fired{listed}." if bands else "No alert fired.")
    return " ".join(words)


def _values(steps: Sequence[Step], since: datetime, asked: Range) -> str:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, 1) if value < 10 else round(value)

    return json.dumps(
        {
            "since": since.timestamp(),
            "step": asked.seconds,
            "values": [
                None
                if step.tokens is None
                else [
                    step.tokens,
                    step.lowest,
                    step.highest,
                    step.capacity,
                    rounded(step.consumed_per_minute),
                    rounded(step.most_consumed),
                    rounded(step.refill_per_minute),
                ]
                for step in steps
            ],
        },
        separators=(",", ":"),
    )
