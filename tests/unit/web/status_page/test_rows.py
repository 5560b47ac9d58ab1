"""The status page's list of buckets: order, filters, levels and pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.bucket import Ispb
from exporter.store.timeline import Change
from exporter.web.sources import CurrentState, RuleGroupStatus, RuleStatus
from exporter.web.status_page.queries import StatusQuery
from exporter.web.status_page.rows import (
    BUCKETS_PER_PAGE,
    alert_rows,
    describe_change,
    list_buckets,
    rule_rows,
    value_text,
    waits_for,
)
from tests.support.builders import PARTICIPANT, POLICY, START, alert, at, bucket, failed, observed, poll, read, view

if TYPE_CHECKING:
    from exporter.buckets.observation import View


def seen(participant: str = PARTICIPANT, **left: int) -> dict[Ispb, View]:
    """A participant whose buckets hold so many tokens of 100."""
    buckets = [bucket(tokens, policy=policy, capacity=100) for policy, tokens in left.items()]
    return {Ispb(participant): view(poll(*buckets, participant=participant))}


def order(views: dict[Ispb, View], *alerts: Any, **query: Any) -> list[str]:
    return [row.bucket.policy for row in list_buckets(CurrentState(at(0), views, alerts), StatusQuery(**query)).rows]


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

    [row] = list_buckets(CurrentState(at(0), seen(X=5), alerts), StatusQuery()).rows

    assert [shown.name for shown in row.alerts] == ["B", "A"]


@pytest.mark.parametrize(
    ("tokens", "level"), [(100, "ok"), (21, "ok"), (20, "warning"), (11, "warning"), (10, "critical"), (0, "empty")]
)
def test_a_level_begins_at_its_mark(tokens: int, level: str):
    [row] = list_buckets(CurrentState(at(0), seen(X=tokens), []), StatusQuery()).rows

    assert row.level == level


def test_a_bucket_is_as_low_as_it_was_of_late():
    dipped = replace(observed(bucket(80, policy="DIPPED", capacity=100)), lowest_available_tokens=0)
    views = {Ispb(PARTICIPANT): view(poll(dipped, bucket(30, policy="LOW", capacity=100)))}

    listed = list_buckets(CurrentState(at(0), views, []), StatusQuery())

    assert [(row.bucket.policy, row.level, row.was_lower) for row in listed.rows] == [
        ("DIPPED", "empty", True),
        ("LOW", "ok", False),
    ]
    lower = replace(observed(bucket(99, capacity=100)), lowest_available_tokens=50)
    [row] = list_buckets(CurrentState(at(0), {Ispb(PARTICIPANT): view(poll(lower))}, []), StatusQuery()).rows
    assert not row.was_lower
    assert listed.at_most["empty"] == 1


def test_a_bucket_is_as_of_the_last_whole_poll_whatever_was_read_since():
    whole = poll(bucket(80, policy="A", capacity=100), bucket(80, policy="B", capacity=100))
    after = view(whole, read(bucket(70, policy="A", capacity=100), seconds=7, sequence=2))
    unanswered = view(whole, failed(15))

    def answered(seen: View) -> dict[str, bool]:
        listed = list_buckets(CurrentState(at(20), {Ispb(PARTICIPANT): seen}, []), StatusQuery())
        return {row.bucket.policy: row.answered for row in listed.rows}

    assert answered(after) == {"A": True, "B": True}
    assert answered(unanswered) == {"A": False, "B": False}
    assert answered(view(whole, failed(15), read(bucket(70, policy="A", capacity=100), seconds=17, sequence=3))) == {
        "A": True,
        "B": False,
    }


def test_filters_leave_what_was_asked_for():
    views = seen("11111111", A=5, B=50) | seen("11112222", A=90) | seen("22222222", A=1)

    def found(**query: Any) -> list[tuple[str, str]]:
        return [
            (row.participant, row.bucket.policy)
            for row in list_buckets(CurrentState(at(0), views, []), StatusQuery(**query)).rows
        ]

    assert found(participant="1111") == [("11111111", "A"), ("11111111", "B"), ("11112222", "A")]
    assert found(policy="B") == [("11111111", "B")]
    assert found(level="critical") == [("22222222", "A"), ("11111111", "A")]


def test_counts_by_level_do_not_depend_on_the_level_asked_for():
    page = list_buckets(CurrentState(at(0), seen(A=0, B=5, C=15, D=50), []), StatusQuery(level="empty"))

    assert page.at_most == {"ok": 4, "warning": 3, "critical": 2, "empty": 1}
    assert page.total == 1


def test_many_buckets_come_in_pages():
    views = seen(**{f"P{number:03d}": number % 101 for number in range(120)})

    pages = [list_buckets(CurrentState(at(0), views, []), StatusQuery(page=number)) for number in (1, 2, 3, 99)]

    assert [len(page.rows) for page in pages] == [BUCKETS_PER_PAGE, BUCKETS_PER_PAGE, 20, 20]
    assert [page.first for page in pages] == [0, 50, 100, 100]
    assert len({row.bucket.policy for page in pages[:3] for row in page.rows}) == 120


def test_no_buckets_are_one_empty_page():
    page = list_buckets(CurrentState(at(0), {}, []), StatusQuery())

    assert (page.rows, page.pages, page.total) == ([], 1, 0)


def test_a_bucket_that_the_last_poll_did_not_confirm_is_marked():
    views = {PARTICIPANT: view(poll(bucket(10, capacity=20)), failed(15))}

    [row] = list_buckets(CurrentState(at(0), views, []), StatusQuery()).rows

    assert not row.answered
    assert row.visible.observed_at == at(0)


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


def rule(expr: str = "dict_rate_limit_up == 0", **fields: Any) -> RuleStatus:
    return RuleStatus("TokensLow", expr, 60.0, 120.0, **fields)


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
    assert value_text(alert(value=value), rule(expr), view(poll(bucket()))) == text


def test_an_alert_that_is_kept_while_nobody_answers_has_no_value():
    kept = rule('dict_rate_limit_utilization_percent >= 80 or ALERTS{alertname="X"} and on (participant) up == 0')

    assert value_text(alert(value=1.0), kept, view(poll(bucket()), failed(15))) == "kept firing"
    assert value_text(alert(value=1.0), kept, view(poll(bucket()))) == "1 %"


def change(state: str, seconds: float = 90, **changes: object) -> Change:
    times = {"reason": None, "firing_since": at(30), "keep_firing_since": None} | changes
    return Change("Low", "warning", state, at(seconds), tokens=7, capacity=100, active_since=START, **times)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (change("pending", 0), "Its condition became true."),
        (change("firing", 0), "Its condition became true; it waited for nothing more."),
        (change("firing", 30), "Its condition had been true for 30s, as `for` asks."),
        (change("resolved", reason="no_data"), "It fired for 1m, until its series vanished."),
        (
            change("resolved", reason="recovered", keep_firing_since=at(70)),
            "It fired for 1m, the last 20s because of `keep_firing_for`, until its condition was no longer true.",
        ),
    ],
)
def test_a_change_says_what_it_waited_for(changed: Change, sentence: str):
    assert describe_change(changed) == sentence


BARE_RULE = RuleStatus("TokensLow", "dict_rate_limit_up == 0", 60.0, 120.0)


def test_rule_files_are_named_shortly():
    groups = [RuleGroupStatus("dict", "/etc/rules/a.yml", 0.0, [BARE_RULE])]

    [row] = rule_rows(CurrentState(at(0), {}, [], groups))

    assert (row.file, row.group.file) == ("a.yml", "/etc/rules/a.yml")


def test_rules_are_shown_with_the_number_of_their_alerts():
    groups = [RuleGroupStatus("dict", "rules/a.yml", 0.0, [BARE_RULE])]
    alerts = [alert(policy="A"), alert(policy="B"), alert(policy="C", state=AlertState.PENDING), alert(group="other")]

    [row] = rule_rows(CurrentState(at(0), {}, alerts, groups))

    assert (row.firing, row.pending) == (2, 1)
