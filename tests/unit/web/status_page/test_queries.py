"""What readers of the pages about the past may ask for."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from exporter.buckets.bucket import CRITICAL_LEFT_PERCENT, WARNING_LEFT_PERCENT
from exporter.web.status_page.queries import (
    RANGES,
    AlertsQuery,
    HistoryQuery,
    InvalidQuery,
    StatusQuery,
    range_around,
)

RULES = Path(__file__).parents[4] / "rules" / "dict-rate-limit.yml"
NOW = datetime(2026, 3, 10, 12, 0, 7, tzinfo=UTC)


def test_every_range_is_as_long_as_its_name_and_its_table_has_whole_rows():
    lengths = {name: range_.length for name, range_ in RANGES.items()}

    assert lengths == {
        "1h": timedelta(hours=1),
        "6h": timedelta(hours=6),
        "24h": timedelta(days=1),
        "7d": timedelta(days=7),
        "30d": timedelta(days=30),
    }
    assert all(range_.steps % range_.steps_per_row == 0 for range_ in RANGES.values())


def test_a_range_ends_with_the_step_that_it_is_now():
    since, until = HistoryQuery.parse({"range": "1h"}, NOW).window(NOW)

    assert until == datetime(2026, 3, 10, 12, 0, 10, tzinfo=UTC)
    assert until - since == timedelta(hours=1)


def test_a_range_lies_around_the_time_asked_for_but_not_ahead():
    early = HistoryQuery.parse({"range": "6h", "at": "2026-03-09T12:00:00Z"}, NOW)
    late = HistoryQuery.parse({"range": "6h", "at": "2026-03-10T11:00:00Z"}, NOW)

    assert early.window(NOW)[0] == datetime(2026, 3, 9, 9, 0, 30, tzinfo=UTC)
    assert late.window(NOW) == HistoryQuery(RANGES["6h"]).window(NOW)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"range": "9h"}, "range='9h' is none of 1h, 6h, 24h, 7d, 30d."),
        ({"at": "noon"}, "at='noon' is no time: write 2026-03-10T12:00:00Z."),
        ({"at": "0001-01-01T00:00:00+14:00"}, "is no time"),
        ({"at": "9999-01-01"}, "is no time from 1970 to 9000"),
        ({"at": "2026-03-10T13:00:00Z"}, "lies ahead: it is 2026-03-10 12:00:07 UTC."),
    ],
)
def test_what_makes_no_sense_of_a_bucket_is_refused(query: dict[str, str], words: str):
    with pytest.raises(InvalidQuery) as refused:
        HistoryQuery.parse(query, NOW)

    assert words in str(refused.value)


@pytest.mark.parametrize(
    "text", ["2026-03-09T12:00:00Z", "2026-03-09 12:00", "2026-03-09T09:00:00-03:00", "2026-03-09T14:00:00 02:00"]
)
def test_a_time_is_read_as_people_and_browsers_write_it(text: str):
    assert HistoryQuery.parse({"at": text}, NOW).at == datetime(2026, 3, 9, 12, tzinfo=UTC)


def test_past_alerts_are_those_of_the_last_week_unless_asked_otherwise():
    query = AlertsQuery.parse({}, NOW)

    assert (query.since, query.until, query.sort, query.page) == (NOW - timedelta(days=7), None, "-began", 1)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"from": "2026-03-11T00:00"}, "must be before to (2026-03-10 12:00 UTC)"),
        ({"from": "2026-03-09", "to": "2026-03-08"}, "from (2026-03-09 00:00 UTC) must be before"),
        ({"to": "soon"}, "to='soon' is no time"),
        ({"severity": "bad"}, "severity='bad' is none of critical, warning, info."),
        ({"state": "open"}, "state='open' is none of firing, pending, resolved."),
        ({"sort": "-value"}, "sort='value' is none of began,"),
        ({"page": "0"}, "page='0' is no number from 1 to 200"),
        ({"page": "201"}, "page='201' is no number"),
        ({"page": "\u0662"}, "is no number"),
        ({"participant": "12a"}, "is not the beginning of an ISPB"),
        ({"participant": "123456789"}, "is not the beginning of an ISPB"),
        ({"policy": "A\0"}, "hold no NUL"),
    ],
)
def test_what_makes_no_sense_of_past_alerts_is_refused(query: dict[str, str], words: str):
    with pytest.raises(InvalidQuery) as refused:
        AlertsQuery.parse(query, NOW)

    assert words in str(refused.value)


def read(link: str) -> dict[str, str]:
    return dict(parse_qsl(link.removeprefix("?")))


def test_a_query_is_written_as_it_was_read():
    parameters = {
        "participant": "1234",
        "policy": "A",
        "alert": "TokensLow",
        "severity": "warning",
        "state": "resolved",
        "from": "2026-03-01T00:00:00Z",
        "to": "2026-03-02T00:00:00Z",
        "sort": "duration",
        "page": "3",
    }

    query = AlertsQuery.parse(parameters, NOW)

    assert read(query.link()) == parameters
    assert read(query.link(sort="-began")) == {n: v for n, v in parameters.items() if n not in ("sort", "page")}
    assert read(query.link(page=4))["page"] == "4"


@pytest.mark.parametrize(
    ("lasted", "name"), [(60, "1h"), (1_201, "6h"), (86_400, "7d"), (10 * 86_400, "30d"), (90 * 86_400, "30d")]
)
def test_an_alert_is_shown_in_a_range_in_which_it_is_seen_whole(lasted: float, name: str):
    range_ = range_around(lasted)

    assert range_.name == name
    assert name == "30d" or range_.length >= timedelta(seconds=3 * lasted)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"page": "0"},
        {"page": "-1"},
        {"page": "nonsense"},
        {"page": "\u0663"},
        {"level": "nonsense"},
        {"alerts": "many"},
        {"participant": " "},
    ],
)
def test_what_makes_no_sense_of_the_status_page_is_left_out(query: dict[str, str]):
    assert StatusQuery.parse(query) == StatusQuery()


def test_a_query_of_the_status_page_is_read():
    query = {"participant": "1234", "policy": "A", "level": "warning", "alerts": "all", "page": "3"}

    assert StatusQuery.parse(query) == StatusQuery("1234", "A", "warning", "all", 3)


@pytest.mark.parametrize(
    ("text", "page"), [("2", 2), ("0", 1), ("-1", 1), ("x", 1), ("", 1), ("9" * 5_000, 1_000_000), ("\u0662", 1)]
)
def test_a_page_is_a_number_from_1_whatever_is_asked_for(text: str, page: int):
    assert StatusQuery.parse({"page": text}).page == page


def test_a_link_keeps_the_filter_and_goes_back_to_the_first_page():
    query = StatusQuery("1234", "A B", "warning", page=3)

    assert query.link() == "?participant=1234&policy=A+B&level=warning"
    assert query.link(page=4, policy="") == "?participant=1234&level=warning&page=4"


def test_the_marks_are_where_the_shipped_rules_warn():
    shares = re.findall(r"_capacity <= ([\d.]+)\n +and on", RULES.read_text(encoding="utf-8"))

    assert [100 * float(share) for share in shares] == [WARNING_LEFT_PERCENT, CRITICAL_LEFT_PERCENT]
