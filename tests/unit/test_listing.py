"""Alerts as people and programs read them."""

from __future__ import annotations

import json

from exporter.alerts.alert import AlertState, Reason
from exporter.listing import _json, table
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
    (shown,) = json.loads(_json([alert(value=float("inf"))]))

    assert shown["value"] == "inf"
    assert shown["firing_since"] == "2026-03-10T12:00:00+00:00"
    assert shown["labels"]["alertname"] == "TokensLow"
