from __future__ import annotations

import re
from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest

from exporter.backtest.html import ROWS, WIDTH, html, ticks
from exporter.history.replay import Gap, Period
from tests.support.builders import START, at
from tests.support.reports import episode, reported


def bars(page: str) -> list[dict[str, str]]:
    return [
        dict(re.findall(r'([\w-]+)="([^"]*)"', rect)) | {"title": title}
        for rect, title in re.findall(r"<rect ([^>]*)><title>([^<]*)</title>", page)
    ]


def test_an_alert_is_a_bar_where_it_fired():
    (bar,) = bars(html(reported([episode(360, 720)]), 50))

    assert (bar["class"], float(bar["x"]), float(bar["width"])) == ("new", 100, 100)
    assert bar["title"] == "2026-03-10 12:06:00: 6m, recovered"


def test_each_side_has_its_own_half():
    report = reported([episode(0, 60), episode(600, 720)], [episode(630, 720), episode(1800, 2400)])

    found = [(bar["class"], bar["y"]) for bar in bars(html(report, 50))]

    assert sorted(found) == [("changed", "1"), ("gone", "14"), ("new", "1"), ("other", "14")]


def test_what_began_before_and_goes_on_is_cut_at_the_edges():
    (bar,) = bars(html(reported([episode(-3600, None)]), 50))

    assert (float(bar["x"]), float(bar["width"])) == (0, 1000)


def test_a_gap_is_drawn_behind():
    first, _ = bars(html(reported([episode(0, 60)], gaps=[Gap(at(360), at(720))]), 50))

    assert (first["class"], float(first["x"]), first["height"]) == ("gap", 100, "26")


def test_bars_that_would_lie_on_one_another_are_one():
    report = reported([episode(n, n + 0.5) for n in range(100)])

    (bar,) = bars(html(report, 0))

    assert bar["title"].startswith("100 alerts from 2026-03-10 12:00:00 on")


def test_a_page_of_noisy_rules_stays_small():
    page = html(reported([episode(n / 2, n / 2 + 0.2) for n in range(6000)]), 50)

    assert len(bars(page)) <= WIDTH / 2
    assert "and 5950 more" in page


def test_the_quietest_of_very_many_timelines_are_left_out():
    page = html(reported([episode(n, n + 10, policy=f"P{n}") for n in range(ROWS + 100)]), 50)

    assert page.count("<svg viewBox") == ROWS
    assert "and 100 quieter alerts and buckets" in page


def test_names_are_escaped():
    page = html(reported([episode(0, 60, policy="<b>&")]), 50)

    assert "<b>" not in page
    assert "&lt;b&gt;&amp;" in page


def test_the_page_needs_nothing_else():
    page = html(reported([episode(0, 60)]), 50)

    assert not re.search(r"<(script|link|img)|url\(|https?://", page)


def test_its_tags_are_closed():
    body = re.sub(r"<meta [^>]*>", "", html(reported([episode(0, 60)], [episode(30, 60)]), 50))

    ET.fromstring(body.replace("<!DOCTYPE html>", "").replace("<br>", "<br/>"))


@pytest.mark.parametrize(
    ("length", "first"),
    [(timedelta(days=30), "2026-03-10"), (timedelta(days=1), "03-10 12:00"), (timedelta(minutes=10), "12:00:00")],
)
def test_the_axis_is_as_fine_as_the_period_is_short(length, first):
    axis = list(ticks(Period(START, START + length)))

    assert axis[0][1] == first
    assert [percent for percent, _ in axis] == [12.5 * n for n in range(8)]
