"""A backtest's report as one HTML file that needs nothing else: totals, every alert, a timeline."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from exporter.backtest.comparison import Change
from exporter.backtest.report import beginning_told, gaps_told, scope, verdict
from exporter.backtest.tables import FAILING_TOLD, listed
from exporter.durations import short
from exporter.numbers import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from exporter.backtest.comparison import Pair
    from exporter.backtest.report import Report
    from exporter.buckets.bucket import Ispb
    from exporter.history.episodes import Episode
    from exporter.history.gaps import Gap
    from exporter.history.replay import Period

WIDTH: Final = 1000
"""Of a timeline, in its own units. Bars that would lie on one another are drawn as one."""

ROWS: Final = 200
"""A page with more timelines is for nobody."""

TOLD: Final = {Change.NEW: "new", Change.GONE: "gone", Change.CHANGED: "at other times", Change.SAME: "the same"}
_TICKS: Final = 8
_NARROWEST: Final = 2.0


@dataclass(frozen=True, slots=True)
class Bar:
    """Part of a timeline; ``count`` alerts, of which the first began at ``began``."""

    kind: str
    x: float
    width: float
    y: int
    height: int
    title: str
    began: str = ""
    count: int = 1


@dataclass(slots=True)
class Row:
    """The timeline of one alert of one bucket."""

    alert: str
    subject: str
    alerts: int = 0
    bars: list[Bar] = field(default_factory=list)

    @property
    def label(self) -> str:
        return f"{self.alert}, {self.subject}: {counted(self.alerts, 'alert')}"


@dataclass(frozen=True, slots=True)
class Tick:
    percent: float
    text: str


def html(report: Report, limit: int) -> str:
    """Returns the page; at most ``limit`` alerts are listed one by one."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters["span"] = short
    environment.filters["time"] = _time
    rows = _rows(report)
    kept, left = listed(report.pairs, limit)
    template = environment.from_string((Path(__file__).parent / "report.html").read_text("utf-8"))
    return template.render(
        report=report,
        scope=scope(report),
        verdict=verdict(report),
        gaps_told=gaps_told(report),
        beginning_told=beginning_told(report),
        failing=report.failing[:FAILING_TOLD],
        failing_left=max(0, len(report.failing) - FAILING_TOLD),
        ticks=list(ticks(report.period)),
        rows=rows[:ROWS],
        rows_left=max(0, len(rows) - ROWS),
        width=WIDTH,
        lines=(*report.by_rule, *report.by_policy),
        listed=kept,
        left=left,
        told=TOLD,
    )


def ticks(period: Period) -> Iterator[Tick]:
    """Yields times along the axis."""
    form = "%Y-%m-%d" if period.seconds > 4 * 86_400 else "%m-%d %H:%M" if period.seconds > 3_600 else "%H:%M:%S"
    for place in range(_TICKS):
        at = period.since + timedelta(seconds=period.seconds * place / _TICKS)
        yield Tick(100 * place / _TICKS, at.strftime(form))


def _rows(report: Report) -> list[Row]:
    """Returns the timelines, those with most alerts first."""
    gaps: dict[Ispb, list[Bar]] = defaultdict(list)
    for shown in report.gaps:
        gaps[shown.participant].append(_gap(shown.gap, report.period))
    by_subject: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in report.pairs:
        episode = pair.episode
        by_subject[episode.name, f"{episode.participant} {episode.policy or ''}".strip()].append(pair)
    made = [
        Row(
            alert,
            subject,
            len(pairs),
            [*gaps[pairs[0].episode.participant], *_merged(_bars(pairs, report.period))],
        )
        for (alert, subject), pairs in by_subject.items()
    ]
    return sorted(made, key=lambda row: (-row.alerts, row.alert, row.subject))


def _bars(pairs: Iterable[Pair], period: Period) -> Iterator[Bar]:
    for pair in pairs:
        if pair.mine is not None:
            yield _bar(pair.change, pair.mine, period, 1)
        if pair.other is not None:
            yield _bar("gone" if pair.mine is None else "other", pair.other, period, 14)


def _bar(kind: str, episode: Episode, period: Period, y: int) -> Bar:
    x, width = _place(episode.began_at, episode.resolved_at or period.until, period)
    ended = f"{short(episode.seconds(period.until))}, {episode.reason or 'still fires'}"
    began = _time(episode.began_at)
    return Bar(kind, x, width, y, 11, f"{began}: {ended}", began)


def _gap(gap: Gap, period: Period) -> Bar:
    x, width = _place(gap.begin, gap.end, period)
    return Bar("gap", x, width, 0, 26, f"nobody polled from {_time(gap.begin)} to {_time(gap.end)}")


def _place(begin: datetime, end: datetime, period: Period) -> tuple[float, float]:
    scale = WIDTH / period.seconds
    left = max(0.0, (begin - period.since).total_seconds() * scale)
    right = min(float(WIDTH), (end - period.since).total_seconds() * scale)
    return round(left, 2), round(max(right - left, _NARROWEST), 2)


def _merged(bars: Iterable[Bar]) -> list[Bar]:
    """Draws bars of one kind that touch as one, so that a page stays small however noisy the rules are."""
    made: list[Bar] = []
    last: dict[str, int] = {}
    for bar in sorted(bars, key=lambda bar: bar.x):
        place = last.get(bar.kind)
        before = made[place] if place is not None else None
        if place is None or before is None or bar.x >= before.x + before.width:
            last[bar.kind] = len(made)
            made.append(bar)
            continue
        width = max(before.x + before.width, bar.x + bar.width) - before.x
        count = before.count + 1
        made[place] = replace(
            before, width=round(width, 2), count=count, title=f"{count} alerts from {before.began} on"
        )
    return made


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
