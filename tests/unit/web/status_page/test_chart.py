"""Scales and paths of charts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from exporter.web.status_page.chart import (
    Scale,
    Span,
    area_between,
    gaps,
    round_step,
    scale_of,
    span,
    sparkline,
    sparkline_area,
    stairs,
    time_ticks,
)

SINCE = datetime(2026, 3, 10, 11, 3, tzinfo=UTC)


def test_zero_is_at_the_bottom_and_the_greatest_value_has_room_above():
    scale = scale_of([0, None, 50], 100)

    assert (scale.y(0), scale.y(50), scale.y(53)) == (100.0, 5.7, 0.0)


def test_a_bucket_in_debt_moves_the_bottom():
    scale = scale_of([-20, 80], 100)

    assert (scale.bottom, scale.y(-20)) == (-20, 100.0)
    assert scale.ticks() == [0.0, 50.0]


def test_what_lies_outside_is_drawn_at_the_edge():
    assert [Scale(100, 50).y(value) for value in (-1, 101, float("inf"))] == [50.0, 0.0, 0.0]


def test_nothing_known_has_a_scale_too():
    assert scale_of([None, None], 100).ticks() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("least", "step"), [(0, 1), (0.3, 1), (1, 1), (1.1, 2), (3, 5), (6, 10), (17.5, 20), (9_000, 10_000)]
)
def test_ticks_are_round(least: float, step: float):
    assert round_step(least) == step


def test_a_line_keeps_each_value_for_its_step_and_breaks_where_there_is_none():
    assert stairs([0, 50, 50, None, 100], Scale(100, 100)) == "M0 100H1V50H3M4 0H5"


def test_a_value_alone_is_seen():
    assert stairs([None, 100, None], Scale(100, 100)) == "M1 0H2"


def test_what_lies_between_two_lines_is_drawn_around_run_by_run():
    path = area_between([0, 40, None, 90], [10, 50, None, 100], Scale(100, 100))

    assert path == "M0 90H1V50H2V60H1V100H0ZM3 0H4V10H3Z"


def test_nothing_known_draws_nothing():
    assert (stairs([None], Scale(1, 1)), area_between([None], [None], Scale(1, 1))) == ("", "")


def test_gaps_are_where_nothing_is_known():
    assert gaps([None, 1, 2, None]) == [Span(0.0, 25.0), Span(75.0, 25.0)]
    assert gaps([0, 1]) == []


def test_what_is_short_is_still_seen_and_what_sticks_out_is_cut():
    until = SINCE + timedelta(hours=1)

    assert span(SINCE + timedelta(minutes=30), SINCE + timedelta(minutes=45), SINCE, until) == Span(50.0, 25.0)
    assert span(SINCE - timedelta(days=1), SINCE, SINCE, until, least=0.3) == Span(0.0, 0.3)
    assert span(until, until + timedelta(days=1), SINCE, until, least=0.3) == Span(99.7, 0.3)


@pytest.mark.parametrize(
    ("length", "texts"),
    [
        (timedelta(hours=1), ["11:10", "11:20", "11:30", "11:40", "11:50", "12:00"]),
        (timedelta(hours=24), ["16:00", "20:00", "00:00", "04:00", "08:00"]),
        (timedelta(days=7), ["12 Mar", "14 Mar", "16 Mar"]),
        (timedelta(days=30), ["13 Mar", "18 Mar", "23 Mar", "28 Mar", "02 Apr", "07 Apr"]),
    ],
)
def test_times_along_the_axis_are_round_and_few(length: timedelta, texts: list[str]):
    assert [tick.text for tick in time_ticks(SINCE, SINCE + length)] == texts


def test_a_time_stands_where_it_is():
    [first, *_] = time_ticks(SINCE, SINCE + timedelta(hours=1))

    assert (first.percent, first.at) == (round(100 * 7 / 60, 3), datetime(2026, 3, 10, 11, 10, tzinfo=UTC))


def test_a_sparkline_breaks_where_nothing_is_known():
    assert sparkline([None, 0.0, 50.0, None, 100.0]) == ["1,0 2,50", "4,100 4,100"]


def test_the_area_under_a_line_goes_down_to_empty():
    assert sparkline_area("1,0 2,50") == "1,100 1,0 2,50 2,100"
