"""The JSON API: Prometheus' shapes, and the buckets."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from exporter.alerts.alert import Alert, AlertState, Severity
from exporter.web.api import alerts_json, buckets_json, go_float, go_time, rules_json
from exporter.web.sources import RuleGroupStatus, RuleStatus
from tests.support.builders import PARTICIPANT, POLICY, alert, at, bucket, failed, observed, poll, view


def data(body: bytes) -> Any:
    answer = json.loads(body)
    assert answer["status"] == "success"
    return answer["data"]


def rule(name: str = "TokensLow", **given: Any) -> RuleStatus:
    given.setdefault("labels", {"severity": "warning"})
    return RuleStatus(name, "dict_rate_limit_up == 0", 60.0, 0.0, **given)


def groups(*rules: RuleStatus, name: str = "dict", file: str = "rules/a.yml") -> RuleGroupStatus:
    return RuleGroupStatus(name, file, 15.0, list(rules), 7)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (85.0, "8.5e+01"),
        (1.0, "1e+00"),
        (0.0, "0e+00"),
        (-0.0, "-0e+00"),
        (0.05, "5e-02"),
        (-1234.5, "-1.2345e+03"),
        (1e100, "1e+100"),
        (5e-324, "5e-324"),
        (0.1 + 0.2, "3.0000000000000004e-01"),
        (123456789.0, "1.23456789e+08"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_values_are_written_as_go_writes_them(value: float, text: str):
    assert go_float(value) == text


def test_times_are_written_as_go_writes_them():
    assert go_time(at(0.25)) == "2026-03-10T12:00:00.250000Z"
    assert go_time(None) == "0001-01-01T00:00:00Z"


def test_an_alert_has_prometheus_fields():
    [shown] = data(alerts_json([alert(value=85.0, active_since=at(-60))]))["alerts"]

    assert shown == {
        "labels": {
            "alertname": "TokensLow",
            "severity": "warning",
            "participant": PARTICIPANT,
            "policy": POLICY,
        },
        "annotations": {"summary": "tokens are low"},
        "state": "firing",
        "activeAt": "2026-03-10T11:59:00Z",
        "value": "8.5e+01",
    }


def test_an_alert_that_is_kept_firing_says_since_when():
    [shown] = data(alerts_json([alert(keep_firing_since=at(30))]))["alerts"]

    assert shown["keepFiringSince"] == "2026-03-10T12:00:30Z"


def test_a_rule_has_prometheus_fields():
    body = rules_json([groups(rule(health="ok", evaluated_at=at(15), duration_seconds=0.002))], [alert()])

    [group] = data(body)["groups"]
    [shown] = group.pop("rules")
    assert group == {
        "name": "dict",
        "file": "rules/a.yml",
        "interval": 15.0,
        "limit": 7,
        "evaluationTime": 0.002,
        "lastEvaluation": "2026-03-10T12:00:15Z",
    }
    assert len(shown.pop("alerts")) == 1
    assert shown == {
        "state": "firing",
        "name": "TokensLow",
        "query": "dict_rate_limit_up == 0",
        "duration": 60.0,
        "keepFiringFor": 0.0,
        "labels": {"severity": "warning"},
        "annotations": {},
        "health": "ok",
        "evaluationTime": 0.002,
        "lastEvaluation": "2026-03-10T12:00:15Z",
        "type": "alerting",
    }


def test_a_rule_that_records_has_prometheus_fields():
    records = rule("a:b", kind="recording", health="err", last_error="many-to-many", labels={"team": "pix"})
    [group] = data(rules_json([groups(records)], [alert(name="a:b")]))["groups"]

    assert group["rules"] == [
        {
            "name": "a:b",
            "query": "dict_rate_limit_up == 0",
            "labels": {"team": "pix"},
            "health": "err",
            "lastError": "many-to-many",
            "evaluationTime": 0.0,
            "lastEvaluation": "0001-01-01T00:00:00Z",
            "type": "recording",
        }
    ]


@pytest.mark.parametrize(
    ("alerts", "state"),
    [
        ([], "inactive"),
        ([alert(state=AlertState.PENDING)], "pending"),
        ([alert(state=AlertState.PENDING, policy="A"), alert(policy="B")], "firing"),
        ([alert(group="another")], "inactive"),
    ],
)
def test_a_rule_is_in_the_worst_state_of_its_alerts(alerts: list[Alert], state: str):
    [group] = data(rules_json([groups(rule())], alerts))["groups"]

    assert group["rules"][0]["state"] == state


def test_two_rules_of_one_name_have_their_own_alerts():
    both = groups(rule(), rule(labels={"severity": "critical", "since": "{{ $value }}"}))

    [group] = data(rules_json([both], [alert(severity=Severity.CRITICAL)]))["groups"]

    assert [len(shown["alerts"]) for shown in group["rules"]] == [0, 1]


def test_a_rule_that_failed_says_why():
    [group] = data(rules_json([groups(rule(health="err", last_error="many-to-many"))], []))["groups"]

    assert (group["rules"][0]["health"], group["rules"][0]["lastError"]) == ("err", "many-to-many")


def test_rules_are_filtered_by_name_group_and_file():
    everything = [groups(rule("A"), rule("B")), groups(rule("C"), name="other", file="rules/b.yml")]

    def shown(**filters: Any) -> list[tuple[str, list[str]]]:
        found = data(rules_json(everything, [], **filters))["groups"]
        return [(group["name"], [r["name"] for r in group["rules"]]) for group in found]

    assert shown() == [("dict", ["A", "B"]), ("other", ["C"])]
    assert shown(rule_names=["B"]) == [("dict", ["B"])]
    assert shown(group_names=["other"]) == [("other", ["C"])]
    assert shown(files=["rules/a.yml"]) == [("dict", ["A", "B"])]


def test_rules_are_filtered_by_kind():
    everything = [groups(rule("A"), rule("a:b", kind="recording")), groups(rule("C"), name="other")]

    def shown(kind: str) -> list[list[str]]:
        return [[r["name"] for r in group["rules"]] for group in data(rules_json(everything, [], kind=kind))["groups"]]

    assert shown("") == [["A", "a:b"], ["C"]]
    assert shown("alerting") == [["A"], ["C"]]
    assert shown("recording") == [["a:b"]]


def test_alerts_can_be_left_out_of_rules():
    [group] = data(rules_json([groups(rule())], [alert()], with_alerts=False))["groups"]

    assert (group["rules"][0]["state"], group["rules"][0]["alerts"]) == ("firing", [])


def test_buckets_carry_state_and_derived_figures():
    known = replace(observed(bucket(9_000), rate=1_200.5, empty=math.inf), lowest_available_tokens=8_000)
    views = {PARTICIPANT: view(poll(known))}

    [participant] = data(b"".join(buckets_json(views)))["participants"]

    assert participant == {
        "participant": PARTICIPANT,
        "up": True,
        "psp_category": "A",
        "polled_at": "2026-03-10T12:00:00Z",
        "last_success_at": "2026-03-10T12:00:00Z",
        "poll_interval_seconds": 15.0,
        "buckets": [
            {
                "policy": POLICY,
                "available_tokens": 9_000,
                "capacity": 36_000,
                "refill_tokens": 1_200,
                "refill_period_seconds": 60,
                "utilization_percent": 75.0,
                "consumption_rate_per_minute": 1_200.5,
                "recovery_eta_seconds": 1_350.0,
                "exhaustion_projection_seconds": "+Inf",
                "error_404_rate": None,
                "error_429_rate": None,
                "lowest_available_tokens": 8_000,
                "observed_at": "2026-03-10T12:00:00Z",
            }
        ],
    }


def test_a_participant_that_never_answered_has_no_buckets():
    [participant] = data(b"".join(buckets_json({PARTICIPANT: view(failed())})))["participants"]

    assert (participant["up"], participant["last_success_at"], participant["buckets"]) == (False, None, [])


def test_buckets_are_filtered_by_participant_and_policy():
    def seen(participant: str) -> Any:
        return view(poll(bucket(policy="A"), bucket(policy="B"), participant=participant))

    views = {name: seen(name) for name in ("00000002", "00000001")}

    def shown(*filters: list[str]) -> list[tuple[str, list[str]]]:
        found = data(b"".join(buckets_json(views, *filters)))["participants"]  # type: ignore[arg-type]
        return [(p["participant"], [b["policy"] for b in p["buckets"]]) for p in found]

    assert shown() == [("00000001", ["A", "B"]), ("00000002", ["A", "B"])]
    assert shown(["00000002"]) == [("00000002", ["A", "B"])]
    assert shown([], ["B"]) == [("00000001", ["B"]), ("00000002", ["B"])]
