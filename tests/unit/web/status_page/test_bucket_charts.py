"""The charts of a bucket's history."""

from __future__ import annotations

import json
from datetime import datetime

from exporter.store.timeline import Band, Step
from exporter.web.status_page.bucket_charts import BucketCharts
from exporter.web.status_page.queries import Range
from tests.support.builders import START, at

FOUR = Range("4m", "4 minutes", 60, 4, 2)


def step(tokens: int, lowest: int | None = None, highest: int | None = None, used: float = 5.0) -> Step:
    return Step(
        tokens=tokens,
        lowest=tokens if lowest is None else lowest,
        highest=tokens if highest is None else highest,
        capacity=100,
        refill_per_minute=10.0,
        consumed_per_minute=used,
        most_consumed=used,
    )


def chart(*steps: Step, bands: tuple[Band, ...] = (), mark: datetime | None = None) -> BucketCharts:
    filled = [*steps, *(Step() for _ in range(4 - len(steps)))]
    return BucketCharts(filled, bands, FOUR, START, at(240), mark)


def band(name: str = "Low", severity: str = "warning", since: float = 60, until: float | None = 120) -> Band:
    return Band(name, severity, at(since), None if until is None else at(until))


def test_the_summary_says_in_words_what_the_chart_shows():
    charts = chart(step(50), step(30, lowest=7), step(40, used=12.4), bands=(band(),))

    assert charts.summary == (
        "Tokens: 40 of 100 at the end, fewest 7 at 2026-03-10 12:01 UTC. Consumption: at most 12 a minute; "
        "refill 10 a minute. No data for 1m of it. 1 alert fired: Low."
    )


def test_nothing_known_is_said():
    assert chart().summary == "No data for these 4 minutes."


def test_the_table_has_the_extremes_of_each_part_and_the_alerts_in_it():
    charts = chart(step(50, highest=60), step(30, lowest=7), step(40), step(41), bands=(band(until=119),))

    assert [(row.begins, row.tokens, row.lowest, row.highest, row.alerts) for row in charts.rows] == [
        (START, 30, 7, 60, "Low"),
        (at(120), 41, 40, 41, ""),
    ]


def test_the_values_for_the_pointer_have_a_gap_where_nothing_is_known():
    values = json.loads(chart(step(50), Step(), step(30, lowest=7)).values)

    assert values == {
        "since": START.timestamp(),
        "step": 60,
        "values": [[50, 50, 50, 100, 5, 5, 10], None, [30, 7, 30, 100, 5, 5, 10], None],
    }


def test_lines_break_where_no_poll_was_answered():
    charts = chart(step(100), Step(), step(100), step(100))

    assert charts.tokens.paths["line"].count("M") == 2
    assert [gap.left for gap in charts.gaps] == [25.0]


def test_the_thresholds_follow_a_capacity_that_changes():
    smaller = Step(5, 5, 5, 50, 10.0, 1.0, 1.0)

    charts = chart(step(100), step(100), smaller, smaller)

    assert [charts.tokens.paths[name].count("V") for name in ("capacity", "limit", "limit critical")] == [1, 1, 1]


def test_an_alert_that_still_fires_reaches_up_to_now_and_critical_ones_are_on_top():
    charts = chart(step(1), bands=(band("Critical", "critical", 120, None), band()))

    assert [(band_.severity, band_.span.left, band_.span.width) for band_ in charts.bands] == [
        ("warning", 25.0, 25.0),
        ("critical", 50.0, 50.0),
    ]
    assert charts.bands[0].mark == charts.bands[0].span
    assert charts.bands[1].title == "Critical (critical) from 2026-03-10 12:02:00 UTC, it still fires"


def test_an_alert_is_as_wide_as_it_was_long_and_its_mark_is_seen():
    [band_] = chart(step(1), bands=(band(since=60, until=60.024),)).bands

    assert (band_.span.width, band_.mark.width) == (0.01, 0.2)


def test_the_time_asked_for_is_marked():
    assert chart(step(1), mark=at(60)).mark == 25.0
    assert chart(step(1)).mark is None
