"""Alerts as people and programs read them."""

from __future__ import annotations

import json

import pytest

from exporter.alerts.alert import AlertState, Reason
from exporter.cli.listing import as_of, render, table
from exporter.store.reader import Activity
from tests.support.builders import alert, at


def test_the_table_shows_one_line_per_alert() -> None:
    resolved = alert("Other", state=AlertState.RESOLVED, resolved_at=at(90), reason=Reason.RECOVERED, policy=None)

    head, first, second = table([alert(), resolved], at(3_700)).splitlines()

    assert " ".join(head.split()) == "ALERT SEVERITY STATE PARTICIPANT POLICY SINCE (UTC) AGE VALUE REASON"
    assert " ".join(first.split()) == ("TokensLow warning firing 12345678 ENTRIES_WRITE 2026-03-10 12:00:00 1h1m 85")
    assert " ".join(second.split()) == ("Other warning resolved 12345678 2026-03-10 12:00:00 1m30s 85 recovered")


def test_days_are_shown_as_such() -> None:
    assert " 2d3h " in table([alert()], at(2 * 86_400 + 3 * 3_600))


def test_json_holds_every_field_with_times_in_utc() -> None:
    (entry,) = json.loads(render([alert(value=float("inf"))], "json"))

    assert entry["value"] == "inf"
    assert entry["firing_since"] == "2026-03-10T12:00:00+00:00"
    assert entry["labels"]["alertname"] == "TokensLow"


def test_csv_has_a_header_and_ends_its_lines_as_rfc_4180_says() -> None:
    quoted = alert(policy=None, annotations={"summary": 'low, or "nearly"'})

    header, line, rest = render([quoted], "csv").split("\r\n")

    assert header.startswith("alertname,severity,state,participant,policy,active_since,firing_since,resolved_at,value,")
    assert line.startswith("TokensLow,warning,firing,12345678,,2026-03-10T12:00:00+00:00,2026-03-10T12:00:00+00:00,,85")
    assert line.endswith('"{""summary"": ""low, or \\""nearly\\""""}"')
    assert rest == ""


def test_how_fresh_alerts_are_and_who_leads_is_said() -> None:
    assert as_of(Activity("host:1", at(0), 15.0, 4.2)) == "Rules were evaluated 4s ago; host:1 leads."
    assert as_of(Activity(None, None, None, None)) == "No rule was ever evaluated, and no process leads."


@pytest.mark.parametrize(
    ("activity", "leads"),
    [
        (Activity(None, at(0), 15.0, 4.0), "no process leads"),
        (Activity(None, at(0), 15.0, 900.0), "no process leads"),
        (Activity("host:1", at(0), 15.0, 900.0), "host:1 leads"),
    ],
)
def test_alerts_that_nobody_evaluates_are_said_to_be_old(activity, leads) -> None:
    said = as_of(activity)

    assert said.startswith("AS OF 2026-03-10 12:00:00 UTC: no rule has been evaluated for ")
    assert said.endswith(f", and {leads}.")
