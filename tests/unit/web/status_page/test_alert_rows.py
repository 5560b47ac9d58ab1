"""The status page's lines of open alerts: order, filters, and which share a line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from exporter.alerts.alert import AlertState, Severity
from exporter.web.sources import CurrentState, RuleGroupStatus, RuleStatus
from exporter.web.status_page.alert_rows import alert_rows
from exporter.web.status_page.queries import StatusQuery
from tests.support.builders import PARTICIPANT, alert, at

LEVEL = "dict_rate_limit_utilization_percent >= 80"


def test_alerts_are_worst_first_and_of_equals_the_oldest():
    alerts = [
        alert("Young", seconds=50),
        alert("Old", seconds=0),
        alert("Critical", seconds=55, severity=Severity.CRITICAL),
        alert("Pending", severity=Severity.CRITICAL, state=AlertState.PENDING),
    ]

    rows = alert_rows(CurrentState(at(60), {}, alerts), StatusQuery())

    assert [row.alert.name for row in rows] == ["Critical", "Old", "Young", "Pending"]
    assert rows[1].age == timedelta(seconds=60)


def test_alerts_are_filtered_too():
    alerts = [alert(policy="A"), alert(policy="B"), alert(policy=None), alert(participant="99999999")]

    def found(**query: Any) -> int:
        return len(alert_rows(CurrentState(at(0), {}, alerts), StatusQuery(**query)))

    assert (found(), found(policy="A"), found(participant=PARTICIPANT)) == (4, 1, 3)


def test_alerts_that_say_that_one_bucket_is_low_are_one_line_with_the_worst_first():
    groups = [
        RuleGroupStatus("dict", "a.yml", 0.0, [RuleStatus(name, LEVEL, 60.0, 120.0) for name in ("Low", "Critical")])
    ]
    alerts = [
        alert("Low", policy="A"),
        alert("Critical", policy="A", severity=Severity.CRITICAL),
        alert("Low", policy="B"),
        alert("High404Rate", policy="A"),
        alert("Critical", policy="B", state=AlertState.PENDING),
    ]

    rows = alert_rows(CurrentState(at(0), {}, alerts, groups), StatusQuery())

    assert [(row.alert.name, row.alert.policy, [milder.name for milder in row.also]) for row in rows] == [
        ("Critical", "A", ["Low"]),
        ("High404Rate", "A", []),
        ("Low", "B", []),
        ("Critical", "B", []),
    ]
