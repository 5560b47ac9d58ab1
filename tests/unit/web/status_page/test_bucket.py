"""What a bucket's page says of its past."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from exporter.store.timeline import Band, Change, Step, Steps
from exporter.web.status_page.bucket import Drawn, drawn, range_around, told
from exporter.web.status_page.queries import RANGES, Range
from tests.support.builders import START, at

FOUR = Range("4m", "4 minutes", 60, 4, 2)


def step(tokens: int, lowest: int | None = None, highest: int | None = None, used: float = 5.0) -> Step:
    return Step(
        known=True,
        tokens=tokens,
        lowest=tokens if lowest is None else lowest,
        highest=tokens if highest is None else highest,
        capacity=100,
        refill_per_minute=10.0,
        consumed_per_minute=used,
        most_consumed=used,
    )


def chart(*steps: Step, bands: tuple[Band, ...] = (), **given: object) -> Drawn:
    made = [*steps, *(Step() for _ in range(4 - len(steps)))]
    return drawn(Steps(made, with_extremes=True), bands, FOUR, START, now=at(240), **given)  # type: ignore[arg-type]


def band(name: str = "Low", severity: str = "warning", since: float = 60, until: float | None = 120) -> Band:
    return Band(name, severity, at(since), None if until is None else at(until))


def test_the_summary_says_in_words_what_the_chart_shows():
    made = chart(step(50), step(30, lowest=7), step(40, used=12.4), bands=(band(),))

    assert made.summary == (
        "Tokens: 40 of 100 at the end, fewest 7 at 2026-03-10 12:01 UTC. Consumption: at most 12 a minute; "
        "refill 10 a minute. Not known for 1m of it. 1 alert fired: Low."
    )


def test_nothing_known_is_said():
    assert chart().summary == "Nothing is known of these 4 minutes."


def test_the_table_has_the_extremes_of_each_part_and_the_alerts_in_it():
    made = chart(step(50, highest=60), step(30, lowest=7), step(40), step(41), bands=(band(until=119),))

    assert [(row.begins, row.tokens, row.lowest, row.highest, row.alerts) for row in made.rows] == [
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
    made = chart(step(100), Step(), step(100), step(100))

    assert made.tokens.count("M") == 2
    assert [gap.left for gap in made.gaps] == [25.0]


def test_the_thresholds_follow_a_capacity_that_changes():
    smaller = Step(True, 5, 5, 5, 50, 10.0, 1.0, 1.0)

    made = chart(step(100), step(100), smaller, smaller)

    assert made.capacity.count("V") == made.warning.count("V") == made.critical.count("V") == 1


def test_an_alert_that_still_fires_reaches_up_to_now_and_critical_ones_are_on_top():
    made = chart(step(1), bands=(band("Critical", "critical", 120, None), band()))

    assert [(shown.severity, shown.place.left, shown.place.width) for shown in made.bands] == [
        ("warning", 25.0, 25.0),
        ("critical", 50.0, 50.0),
    ]
    assert made.bands[0].mark == made.bands[0].place
    assert made.bands[1].title == "Critical (critical) from 2026-03-10 12:02:00 UTC, it still fires"


def test_an_alert_is_as_wide_as_it_was_long_and_its_mark_is_seen():
    [shown] = chart(step(1), bands=(band(since=60, until=60.024),)).bands

    assert (shown.place.width, shown.mark.width) == (0.01, 0.2)


def test_the_time_asked_for_is_marked():
    assert chart(step(1), mark=at(60)).mark == 25.0
    assert chart(step(1)).mark is None


def change(state: str, seconds: float = 90, **given: object) -> Change:
    known = {"reason": None, "firing_since": at(30), "keep_firing_since": None} | given
    return Change("Low", "warning", state, at(seconds), tokens=7, capacity=100, active_since=START, **known)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (change("pending", 0), "Its condition became true."),
        (change("firing", 0), "Its condition became true; it waited for nothing more."),
        (change("firing", 30), "Its condition had been true for 30s, as `for` asks."),
        (change("resolved", reason="no_data"), "It fired for 1m, until its series vanished."),
        (
            change("resolved", reason="recovered", keep_firing_since=at(70)),
            "It fired for 1m, the last 20s held by `keep_firing_for`, until its condition was no longer true.",
        ),
    ],
)
def test_a_change_says_what_it_waited_for(made: Change, words: str):
    assert told(made) == words


@pytest.mark.parametrize(
    ("lasted", "name"), [(60, "1h"), (1_201, "6h"), (86_400, "7d"), (10 * 86_400, "30d"), (90 * 86_400, "30d")]
)
def test_an_alert_is_shown_in_a_range_in_which_it_is_seen_whole(lasted: float, name: str):
    found = range_around(lasted, list(RANGES.values()))

    assert found.name == name
    assert name == "30d" or found.length >= timedelta(seconds=3 * lasted)
