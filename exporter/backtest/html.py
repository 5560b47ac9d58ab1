"""A backtest's report as one self-contained HTML file: totals, every alert, a timeline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from exporter.backtest.comparison import Pair
from exporter.backtest.report import CHANGE_WORDS, MOST_FAILURES, Report
from exporter.clock import in_utc
from exporter.durations import short
from exporter.history.replay import Period
from exporter.numbers import counted

WIDTH: Final = 1000
"""Of a timeline, in its own units. Bars that would overlap are drawn as one."""

ROWS: Final = 200
"""The most timelines on a page: more would be unreadable."""

_TICKS: Final = 8
_MIN_BAR_WIDTH: Final = 2.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a timeline: of ``count`` alerts, the first of which began at ``began``, or of a gap."""

    kind: str
    x: float
    width: float
    y: int
    height: int
    title: str
    began: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """The timeline of one alert of one bucket."""

    alert: str
    subject: str
    alerts: int
    bars: list[Bar]


def html(report: Report, limit: int) -> str:
    """Returns the page; at most ``limit`` alerts are listed one by one."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters |= {"span": short, "time": in_utc, "counted": counted}
    rows = _rows(report)
    pairs, pairs_left = report.select_pairs(limit)
    template = environment.from_string((Path(__file__).parent / "report.html").read_text("utf-8"))
    return template.render(
        report=report,
        failed=report.failed[:MOST_FAILURES],
        failed_left=max(0, len(report.failed) - MOST_FAILURES),
        ticks=list(ticks(report.period)),
        rows=rows[:ROWS],
        rows_left=max(0, len(rows) - ROWS),
        width=WIDTH,
        pairs=pairs,
        pairs_left=pairs_left,
        change_words=CHANGE_WORDS,
    )


def ticks(period: Period) -> Iterator[tuple[float, str]]:
    """Yields times along the axis, each with its distance from the left end in percent."""
    form = "%Y-%m-%d" if period.seconds > 4 * 86_400 else "%m-%d %H:%M" if period.seconds > 3_600 else "%H:%M:%S"
    for index in range(_TICKS):
        at = period.since + timedelta(seconds=period.seconds * index / _TICKS)
        yield 100 * index / _TICKS, at.strftime(form)


def _rows(report: Report) -> list[Row]:
    """Returns the timelines, those with most alerts first."""
    gap_bars: dict[str, list[Bar]] = defaultdict(list)
    for ispb, gap in report.gaps:
        title = f"no polls from {in_utc(gap.begin)} to {in_utc(gap.end)}"
        gap_bars[ispb].append(Bar("gap", *_extent(gap.begin, gap.end, report.period), 0, 26, title))
    by_subject: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in report.pairs:
        by_subject[pair.episode.name, pair.episode.participant, pair.episode.policy or ""].append(pair)
    rows = []
    for (alert, participant, policy), pairs in by_subject.items():
        bars = [*gap_bars[participant], *_merge(_alert_bars(pairs, report.period))]
        rows.append(Row(alert, f"{participant} {policy}".strip(), len(pairs), bars))
    return sorted(rows, key=lambda row: (-row.alerts, row.alert, row.subject))


def _alert_bars(pairs: Iterable[Pair], period: Period) -> Iterator[Bar]:
    for pair in pairs:
        other = "gone" if pair.mine is None else "other"
        for kind, episode, y in ((pair.change, pair.mine, 1), (other, pair.other, 14)):
            if episode is not None:
                began, end = in_utc(episode.began_at), episode.resolved_at or period.until
                title = f"{began}: {short(episode.seconds(end))}, {episode.reason or 'still fires'}"
                yield Bar(kind, *_extent(episode.began_at, end, period), y, 11, title, began)


def _extent(begin: datetime, end: datetime, period: Period) -> tuple[float, float]:
    """Returns x and width of a bar."""
    scale = WIDTH / period.seconds
    left = max(0.0, (begin - period.since).total_seconds() * scale)
    right = min(float(WIDTH), (end - period.since).total_seconds() * scale)
    return round(left, 2), round(max(right - left, _MIN_BAR_WIDTH), 2)


def _merge(bars: Iterable[Bar]) -> list[Bar]:
    """Merges bars of one kind that touch, so that a page stays small however many alerts there are."""
    merged: list[Bar] = []
    last: dict[str, int] = {}
    for bar in sorted(bars, key=lambda bar: bar.x):
        index = last.get(bar.kind)
        if index is None or bar.x >= merged[index].x + merged[index].width:
            last[bar.kind] = len(merged)
            merged.append(bar)
            continue
        first, count = merged[index], merged[index].count + 1
        width = round(max(first.x + first.width, bar.x + bar.width) - first.x, 2)
        merged[index] = replace(first, width=width, count=count, title=f"{count} alerts from {first.began} on")
    return merged
