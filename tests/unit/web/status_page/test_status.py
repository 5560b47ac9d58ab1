"""What the status page says: order, filters, pages, and what alerts wait for."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.bucket import Ispb
from exporter.durations import spaced
from exporter.web.sources import RuleGroupStatus, RuleStatus
from exporter.web.status_page.status import (
    BUCKETS_PER_PAGE,
    CRITICAL_LEFT_PERCENT,
    WARNING_LEFT_PERCENT,
    Asked,
    Evaluation,
    alert_rows,
    bucket_page,
    evaluation,
    figure,
    rule_rows,
    value_of,
    waits_for,
)
from tests.support.builders import PARTICIPANT, POLICY, alert, at, bucket, failed, poll, view

if TYPE_CHECKING:
    from exporter.buckets.observation import View

RULES = Path(__file__).parents[4] / "rules" / "dict-rate-limit.yml"


def seen(participant: str = PARTICIPANT, **left: int) -> dict[Ispb, View]:
    """A participant whose buckets hold so many tokens of 100."""
    buckets = [bucket(tokens, policy=policy, capacity=100) for policy, tokens in left.items()]
    return {Ispb(participant): view(poll(*buckets, participant=participant))}


def order(views: dict[Ispb, View], *alerts: Any, **asked: Any) -> list[str]:
    return [row.policy for row in bucket_page(views, alerts, Asked(**asked)).rows]


LEVEL = "dict_rate_limit_utilization_percent >= 80"


def rule(expr: str = "dict_rate_limit_up == 0", **given: Any) -> RuleStatus:
    return RuleStatus("TokensLow", expr, 60.0, 120.0, **given)


def test_rules_are_current_for_three_polls_at_least_a_minute():
    views = {PARTICIPANT: view(poll())}
    (interval,) = {v.poll.interval_seconds for v in views.values()}
    groups = [RuleGroupStatus("dict", "a.yml", 0.0, [rule(evaluated_at=at(0)), rule(evaluated_at=None)])]

    assert interval == 15.0
    assert evaluation(groups, views, at(60)) == Evaluation(at(0), current=True)
    assert evaluation(groups, views, at(61)) == Evaluation(at(0), current=False)
    assert evaluation([], views, at(61)) == Evaluation(None, current=True)


def test_the_marks_are_where_the_shipped_rules_warn():
    thresholds = set(
        re.findall(r"\(dict_rate_limit_utilization_percent and .*== 1\) >= (\d+)", RULES.read_text(encoding="utf-8"))
    )

    assert {f"{100 - WARNING_LEFT_PERCENT}", f"{100 - CRITICAL_LEFT_PERCENT}"} <= thresholds


def test_the_emptiest_bucket_is_first():
    assert order(seen(FULL=100, LOW=15, HALF=50, DRY=0)) == ["DRY", "LOW", "HALF", "FULL"]


def test_a_bucket_with_an_alert_is_before_emptier_ones_and_the_severest_is_first():
    views = seen(DRY=0, WARNED=60, CRITICAL=70, PENDING=50)

    rows = order(
        views,
        alert(policy="WARNED", severity=Severity.WARNING),
        alert(policy="CRITICAL", severity=Severity.CRITICAL),
        alert(policy="PENDING", severity=Severity.CRITICAL, state=AlertState.PENDING),
    )

    assert rows == ["CRITICAL", "WARNED", "PENDING", "DRY"]


def test_a_row_has_its_own_alerts_worst_first():
    alerts = [alert("A", policy="X"), alert("B", policy="X", severity=Severity.CRITICAL), alert("C", policy=None)]

    [row] = bucket_page(seen(X=5), alerts, Asked()).rows

    assert [shown.name for shown in row.alerts] == ["B", "A"]


@pytest.mark.parametrize(
    ("tokens", "level"), [(100, "ok"), (21, "ok"), (20, "warning"), (11, "warning"), (10, "critical"), (0, "empty")]
)
def test_a_level_begins_at_its_mark(tokens: int, level: str):
    [row] = bucket_page(seen(X=tokens), [], Asked()).rows

    assert row.level == level


def test_filters_leave_what_was_asked_for():
    views = seen("11111111", A=5, B=50) | seen("11112222", A=90) | seen("22222222", A=1)

    def found(**asked: Any) -> list[tuple[str, str]]:
        return [(row.participant, row.policy) for row in bucket_page(views, [], Asked(**asked)).rows]

    assert found(participant="1111") == [("11111111", "A"), ("11111111", "B"), ("11112222", "A")]
    assert found(policy="B") == [("11111111", "B")]
    assert found(level="critical") == [("22222222", "A"), ("11111111", "A")]


def test_counts_by_level_do_not_depend_on_the_level_asked_for():
    page = bucket_page(seen(A=0, B=5, C=15, D=50), [], Asked(level="empty"))

    assert page.at_most == {"ok": 4, "warning": 3, "critical": 2, "empty": 1}
    assert page.total == 1


def test_many_buckets_come_in_pages():
    views = seen(**{f"P{number:03d}": number % 101 for number in range(120)})

    pages = [bucket_page(views, [], Asked(page=number)) for number in (1, 2, 3, 99)]

    assert [len(page.rows) for page in pages] == [BUCKETS_PER_PAGE, BUCKETS_PER_PAGE, 20, 20]
    assert [page.first for page in pages] == [0, 50, 100, 100]
    assert len({row.policy for page in pages[:3] for row in page.rows}) == 120


def test_no_buckets_are_one_empty_page():
    page = bucket_page({}, [], Asked())

    assert (page.rows, page.pages, page.total) == ([], 1, 0)


def test_a_bucket_that_the_last_poll_did_not_confirm_is_marked():
    views = {PARTICIPANT: view(poll(bucket(10, capacity=20)), failed(15))}

    [row] = bucket_page(views, [], Asked()).rows

    assert not row.answered
    assert row.observed_at == at(0)


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
def test_what_makes_no_sense_in_a_query_is_left_out(query: dict[str, str]):
    assert Asked.of(query) == Asked()


def test_a_query_is_read():
    query = {"participant": "1234", "policy": "A", "level": "warning", "alerts": "all", "page": "3"}

    assert Asked.of(query) == Asked("1234", "A", "warning", "all", 3)


def test_alerts_are_worst_first_and_of_equals_the_oldest():
    alerts = [
        alert("Young", seconds=50),
        alert("Old", seconds=0),
        alert("Critical", seconds=55, severity=Severity.CRITICAL),
        alert("Pending", severity=Severity.CRITICAL, state=AlertState.PENDING),
    ]

    rows = alert_rows(alerts, [], {}, Asked(), at(60))

    assert [row.alert.name for row in rows] == ["Critical", "Old", "Young", "Pending"]
    assert rows[1].age == timedelta(seconds=60)


def test_alerts_are_filtered_too():
    alerts = [alert(policy="A"), alert(policy="B"), alert(policy=None), alert(participant="99999999")]

    def found(**asked: Any) -> int:
        return len(alert_rows(alerts, [], {}, Asked(**asked), at(0)))

    assert (found(), found(policy="A"), found(participant=PARTICIPANT)) == (4, 1, 3)


def test_a_pending_alert_waits_for_the_rest_of_its_time():
    pending = alert(state=AlertState.PENDING, seconds=0)

    assert waits_for(pending, rule(), None, at(45)) == "its condition to stay true for 15s more"
    assert waits_for(pending, rule(), None, at(90)) == "its condition to stay true for 0s more"
    assert waits_for(pending, None, None, at(45)) == "its condition to stay true"


def test_an_alert_that_is_kept_waits_for_its_condition_to_stay_away():
    kept = alert(keep_firing_since=at(0))

    assert waits_for(kept, rule(), None, at(60)) == "its condition to stay away for 1m more"


def test_an_alert_of_a_silent_participant_waits_for_the_bridge():
    assert waits_for(alert(), rule(), view(poll(), failed(15)), at(20)) == "the Bridge to answer"


def test_an_alert_of_a_low_bucket_waits_for_tokens():
    low = view(poll(bucket(0)))

    assert waits_for(alert(), rule(expr=LEVEL), low, at(0)) == "tokens to come back (full in 30m)"


def test_an_alert_about_something_else_does_not_wait_for_tokens():
    low = view(poll(bucket(0)))
    share = rule(expr="dict_rate_limit_error_404_rate > 0.2")

    assert waits_for(alert(), share, low, at(0)) == "its condition to end"


@pytest.mark.parametrize("shown", [None, view(poll(bucket())), view(poll(bucket(policy="OTHER")))])
def test_any_other_alert_waits_for_its_condition_to_end(shown: View | None):
    assert waits_for(alert(policy=POLICY), rule(), shown, at(0)) == "its condition to end"


def test_alerts_that_say_that_one_bucket_is_low_are_one_line_with_the_worst_first():
    groups = [RuleGroupStatus("dict", "a.yml", 0.0, [replace(rule(LEVEL), name=name) for name in ("Low", "Critical")])]
    alerts = [
        alert("Low", policy="A"),
        alert("Critical", policy="A", severity=Severity.CRITICAL),
        alert("Low", policy="B"),
        alert("High404Rate", policy="A"),
        alert("Critical", policy="B", state=AlertState.PENDING),
    ]

    rows = alert_rows(alerts, groups, {}, Asked(), at(0))

    assert [(row.alert.name, row.alert.policy, [less.name for less in row.also]) for row in rows] == [
        ("Critical", "A", ["Low"]),
        ("High404Rate", "A", []),
        ("Low", "B", []),
        ("Critical", "B", []),
    ]


@pytest.mark.parametrize(
    ("expr", "value", "text"),
    [
        (LEVEL, 91.66, "91.66 %"),
        ("dict_rate_limit_exhaustion_projection_seconds < 600", 312.0, "5m 12s"),
        ("dict_rate_limit_error_404_rate > 0.2", 0.41, "41 %"),
        ("dict_rate_limit_available_tokens <= 0", -3.0, "-3 tokens"),
        ("dict_rate_limit_capacity * 2", 36_000.0, "36,000"),
    ],
)
def test_an_alerts_value_has_its_unit(expr: str, value: float, text: str):
    assert value_of(alert(value=value), rule(expr), view(poll(bucket()))) == text


def test_an_alert_that_is_held_while_nobody_answers_has_no_value():
    held = rule('dict_rate_limit_utilization_percent >= 80 or ALERTS{alertname="X"} and on (participant) up == 0')

    assert value_of(alert(value=1.0), held, view(poll(bucket()), failed(15))) == "held"
    assert value_of(alert(value=1.0), held, view(poll(bucket()))) == "1 %"


def test_rule_files_are_named_shortly():
    groups = [RuleGroupStatus("dict", "/etc/rules/a.yml", 0.0, [rule()])]

    [row] = rule_rows(groups, [])

    assert (row.file, row.group.file) == ("a.yml", "/etc/rules/a.yml")


def test_rules_are_shown_with_the_number_of_their_alerts():
    groups = [RuleGroupStatus("dict", "rules/a.yml", 0.0, [rule()])]
    alerts = [alert(policy="A"), alert(policy="B"), alert(policy="C", state=AlertState.PENDING), alert(group="other")]

    [row] = rule_rows(groups, alerts)

    assert (row.firing, row.pending) == (2, 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.4, "0s"),
        (59.4, "59s"),
        (60, "1m"),
        (1_830, "30m 30s"),
        (3_600, "1h"),
        (3_660, "1h 1m"),
        (3_601, "1h"),
        (90_000, "1d 1h"),
        (-5, "0s"),
        (432_000, "5d"),
        (math.inf, "never"),
    ],
)
def test_durations_are_said_in_two_units(seconds: float, text: str):
    assert spaced(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.35634, "0.3563"), (95.714, "95.71"), (0.0, "0"), (36_000.0, "36,000"), (-1_499.6, "-1,500"), (math.inf, "inf")],
)
def test_an_alerts_value_is_written_without_an_exponent(value: float, text: str):
    assert figure(value) == text


@pytest.mark.parametrize(
    ("text", "page"), [("2", 2), ("0", 1), ("-1", 1), ("x", 1), ("", 1), ("9" * 5_000, 1_000_000), ("\u0662", 1)]
)
def test_a_page_is_a_number_from_1_whatever_is_asked_for(text: str, page: int):
    assert Asked.of({"page": text}).page == page
