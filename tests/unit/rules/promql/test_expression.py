"""Expressions give what Prometheus gives."""

from __future__ import annotations

import math

import pytest

from exporter.alerts.alert import AlertState
from exporter.buckets.observation import Category
from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.functions import CLOCK
from tests.support.builders import PARTICIPANT, alert, at, bucket, failed, observed, poll, view
from tests.support.rules import evaluated, number, vector

TWO = view(
    poll(
        observed(bucket(9_000, policy="A"), rate=10.0, empty=math.inf),
        observed(bucket(36_000, policy="B"), rate=0.0),
        known=Category("A", at(-60), "B"),
    )
)
A = f'{{participant="{PARTICIPANT}", policy="A"}}'
B = f'{{participant="{PARTICIPANT}", policy="B"}}'
TWO_NAMES = "(dict_rate_limit_up or on (participant, __name__) dict_rate_limit_category_changed_timestamp_seconds)"
ALONE = f'{{participant="{PARTICIPANT}"}}'
CHANGED = f'{{participant="{PARTICIPANT}", previous_psp_category="B", psp_category="A"}}'


def test_a_selector_gives_the_gauge_of_every_bucket():
    assert evaluated("dict_rate_limit_utilization_percent", TWO) == {
        f"dict_rate_limit_utilization_percent{A}": 75.0,
        f"dict_rate_limit_utilization_percent{B}": 0.0,
    }


def test_a_gauge_without_a_value_is_absent():
    assert evaluated("dict_rate_limit_exhaustion_projection_seconds", TWO) == {
        f"dict_rate_limit_exhaustion_projection_seconds{A}": math.inf
    }
    assert evaluated("dict_rate_limit_error_404_rate", TWO) == {}


def test_values_are_floats():
    assert all(type(value) is float for _, _, value in vector("dict_rate_limit_available_tokens", TWO))


def test_gauges_of_the_participant_carry_no_policy():
    assert evaluated("dict_rate_limit_up", TWO) == {f"dict_rate_limit_up{ALONE}": 1.0}
    assert evaluated("dict_rate_limit_category_changed_timestamp_seconds", TWO) == {
        f"dict_rate_limit_category_changed_timestamp_seconds{CHANGED}": at(-60).timestamp()
    }


def test_the_info_metric_carries_the_category():
    assert evaluated("dict_rate_limit_participant_info", TWO) == {
        f'dict_rate_limit_participant_info{{participant="{PARTICIPANT}", psp_category="A"}}': 1.0
    }
    assert evaluated("dict_rate_limit_participant_info", view(poll(category=None))) == {}


@pytest.mark.parametrize(
    ("matcher", "policies"),
    [
        ('policy="A"', "A"),
        ('policy!="A"', "B"),
        ('policy=~"A|C"', "A"),
        ('policy=~"[AB]"', "AB"),
        ('policy=~""', ""),
        ('policy!~"A.*"', "B"),
        ('policy=~"A", participant="12345678"', "A"),
        ('participant="87654321"', ""),
        ('nothing=""', "AB"),
        ('nothing!=""', ""),
        ("policy=~`(?i)a`", "A"),
        ("policy='A'", "A"),
    ],
)
def test_matchers_select_by_label(matcher: str, policies: str):
    found = evaluated(f"dict_rate_limit_capacity{{{matcher}}}", TWO)

    assert set(found) == {f'dict_rate_limit_capacity{{participant="{PARTICIPANT}", policy="{p}"}}' for p in policies}


def test_regular_expressions_match_the_whole_value():
    assert evaluated('dict_rate_limit_capacity{participant=~"2345"}', TWO) == {}


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        ("1 / 0", math.inf),
        ("-1 / 0", -math.inf),
        ("1 / -0", -math.inf),
        ("0 / 0", math.nan),
        ("NaN / 0", math.nan),
        ("Inf / 0", math.inf),
        ("5 % 3", 2.0),
        ("-5 % 3", -2.0),
        ("5 % -3", 2.0),
        ("5 % 0", math.nan),
        ("Inf % 3", math.nan),
        ("5 % Inf", 5.0),
        ("1e308 * 10", math.inf),
        ("1e308 ^ 2", math.inf),
        ("-1e308 ^ 3", -math.inf),
        ("2 ^ 0.5", math.sqrt(2)),
        ("4 ^ -0.5", 0.5),
        ("0 ^ -1", math.inf),
        ("0 ^ 0", 1.0),
        ("NaN ^ 0", 1.0),
        ("1 ^ NaN", 1.0),
        ("2 ^ NaN", math.nan),
        ("(-8) ^ 1.5", math.nan),
        ("(-0) ^ -3", -math.inf),
        ("(-1) ^ Inf", 1.0),
        ("0.5 ^ Inf", 0.0),
        ("2 ^ Inf", math.inf),
        ("(-Inf) ^ 3", -math.inf),
        ("(-Inf) ^ -2", 0.0),
        ("2 ^ 1e19", math.inf),
        ("(-1) ^ 1e19", 1.0),
        ("0.5 ^ 1e19", 0.0),
        ("1e-320 ^ 2", 0.0),
        ("10 ^ 3", 1000.0),
        ("79.75 ^ 2", 6360.0625),
        ("0 ^ -2", math.inf),
        ("(-0) ^ -2", math.inf),
        ("(-1e308) ^ 2", math.inf),
        ("-2 ^ 2", -4.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("10 - 3 - 2", 5.0),
        ("2 + 3 * 4", 14.0),
        ("7 % 4 * 2", 6.0),
        ("1 < bool 2", 1.0),
        ("2 <= bool 1", 0.0),
        ("NaN == bool NaN", 0.0),
        ("NaN != bool NaN", 1.0),
        ("0x1F", 31.0),
        (".5 + 5.", 5.5),
        ("--1", 1.0),
    ],
)
def test_numbers_are_computed_as_go_computes_them(expr: str, value: float):
    assert number(expr) == pytest.approx(value, rel=0, abs=0, nan_ok=True)


def test_minus_zero_stays_minus_zero():
    assert math.copysign(1.0, number("-0")) == -1.0
    assert math.copysign(1.0, number("0 * -1")) == -1.0


def test_time_is_that_of_the_poll_in_whole_milliseconds():
    assert evaluated("vector(time())", view(poll(seconds=0.0014))) == {"{}": at(0).timestamp() + 0.001}


@pytest.mark.parametrize(
    ("expr", "value"),
    [
        ("hour()", 12), ("minute()", 0), ("day_of_week()", 2), ("day_of_month()", 10), ("days_in_month()", 31),
        ("month()", 3), ("year()", 2026), ("days_in_month(vector(951782400))", 29), ("day_of_week(vector(0))", 4),
        ("year(vector(-62135596800))", 1), ("hour(vector(-1))", 23), ("hour(vector(-0.5))", 0),
        ("year(vector(253402300799))", 9999),
    ],
)  # fmt: skip
def test_clock_functions_read_utc(expr: str, value: float):
    assert evaluated(expr) == {"{}": value}


@pytest.mark.parametrize("function", CLOCK)
@pytest.mark.parametrize("seconds", ["NaN", "Inf", "-Inf", "1e30", "253402300800", "-62135596801"])
def test_clock_functions_know_the_years_from_1_to_9999(function: str, seconds: str):
    assert evaluated(f"{function}(vector({seconds}))") == pytest.approx({"{}": math.nan}, nan_ok=True)


@pytest.mark.parametrize(
    ("expr", "values"),
    [
        ("abs(dict_rate_limit_utilization_percent - 80)", (5.0, 80.0)),
        ("ceil(dict_rate_limit_utilization_percent / 10)", (8.0, 0.0)),
        ("floor(dict_rate_limit_utilization_percent / 10)", (7.0, 0.0)),
        ("sgn(dict_rate_limit_utilization_percent - 75)", (0.0, -1.0)),
        ("round(dict_rate_limit_utilization_percent / 10)", (8.0, 0.0)),
        ("round(dict_rate_limit_utilization_percent, 50)", (100.0, 0.0)),
        ("round(dict_rate_limit_utilization_percent, 0)", (math.nan, math.nan)),
        ("clamp(dict_rate_limit_utilization_percent, 10, 50)", (50.0, 10.0)),
        ("clamp_min(dict_rate_limit_utilization_percent, 10)", (75.0, 10.0)),
        ("clamp_max(dict_rate_limit_utilization_percent, 10)", (10.0, 0.0)),
        ("clamp_min(dict_rate_limit_utilization_percent * Inf, NaN)", (math.inf, math.nan)),
        ("-dict_rate_limit_utilization_percent", (-75.0, -0.0)),
        ("100 - dict_rate_limit_utilization_percent", (25.0, 100.0)),
        ("dict_rate_limit_utilization_percent > bool 50", (1.0, 0.0)),
        ("50 > bool dict_rate_limit_utilization_percent", (0.0, 1.0)),
        ("dict_rate_limit_utilization_percent / dict_rate_limit_capacity * 36000", (75.0, 0.0)),
        ("dict_rate_limit_utilization_percent > bool dict_rate_limit_consumption_rate_per_minute", (1.0, 0.0)),
    ],
)  # fmt: skip
def test_what_is_computed_drops_the_name_and_keeps_the_labels(expr: str, values: tuple[float, float]):
    assert evaluated(expr, TWO) == pytest.approx({A: values[0], B: values[1]}, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    ("number", "floor", "ceil", "rounded"),
    [("-0.5", -1, 0, 0), ("-2.5", -3, -2, -2), ("2.5", 2, 3, 3), ("0.49999999999999994", 0, 1, 1)],
)
def test_halves_are_rounded_up(number: str, floor: float, ceil: float, rounded: float):
    for function, value in (("floor", floor), ("ceil", ceil), ("round", rounded)):
        assert evaluated(f"{function}(vector({number}))") == {"{}": value}
    assert evaluated("round(vector(-0.5)) / 0") == pytest.approx({"{}": math.nan}, nan_ok=True)
    [(_, _, minus_zero)] = vector("ceil(vector(-0.5))")
    assert math.copysign(1.0, minus_zero) == -1.0


def test_clamping_between_limits_that_cross_gives_nothing():
    assert evaluated("clamp(dict_rate_limit_up, 2, 1)", TWO) == {}


@pytest.mark.parametrize(
    "expr",
    [
        "dict_rate_limit_utilization_percent >= 75",
        "75 <= dict_rate_limit_utilization_percent",
        "dict_rate_limit_utilization_percent == 75",
        "dict_rate_limit_utilization_percent != 0",
        "+dict_rate_limit_utilization_percent > 0",
        "dict_rate_limit_utilization_percent > ignoring (nothing) dict_rate_limit_consumption_rate_per_minute",
        "dict_rate_limit_utilization_percent > on (participant) group_left dict_rate_limit_up",
        'dict_rate_limit_utilization_percent and on (policy, participant) dict_rate_limit_capacity{policy="A"}',
        'dict_rate_limit_utilization_percent unless ignoring (psp_category) dict_rate_limit_capacity{policy="B"}',
    ],
)
def test_what_filters_keeps_name_and_value(expr: str):
    assert evaluated(expr, TWO) == {f"dict_rate_limit_utilization_percent{A}": 75.0}


def test_a_filter_with_on_drops_the_name_unless_it_is_listed():
    kept = "dict_rate_limit_capacity > on (participant, policy{}) dict_rate_limit_capacity - 1"

    assert set(evaluated(kept.format(""), TWO)) == {A, B}
    assert set(
        evaluated("dict_rate_limit_capacity >= on (participant, policy, __name__) dict_rate_limit_capacity", TWO)
    ) == {
        f"dict_rate_limit_capacity{A}",
        f"dict_rate_limit_capacity{B}",
    }


@pytest.mark.parametrize(
    ("expr", "found"),
    [
        ("sum by (participant) (dict_rate_limit_utilization_percent)", {ALONE: 75.0}),
        ("min without (policy) (dict_rate_limit_utilization_percent)", {ALONE: 0.0}),
        ("max (dict_rate_limit_utilization_percent) by (participant)", {ALONE: 75.0}),
        ("avg by (participant) (dict_rate_limit_utilization_percent)", {ALONE: 37.5}),
        ("count by (participant) (dict_rate_limit_utilization_percent)", {ALONE: 2.0}),
        ("group by (participant) (dict_rate_limit_utilization_percent)", {ALONE: 1.0}),
        ("sum by (participant, policy) (dict_rate_limit_utilization_percent)", {A: 75.0, B: 0.0}),
        ("sum by (participant) (dict_rate_limit_error_404_rate)", {}),
        ("avg by (participant) (dict_rate_limit_capacity * 1e304)", {ALONE: 3.6e308}),
        ("avg by (participant) (dict_rate_limit_utilization_percent * Inf or dict_rate_limit_up)", {ALONE: math.nan}),
        ("max by (participant) (dict_rate_limit_utilization_percent / 0)", {ALONE: math.inf}),
        ("min by (participant) (dict_rate_limit_utilization_percent * NaN)", {ALONE: math.nan}),
        ("count by (participant, __name__) (dict_rate_limit_up or dict_rate_limit_capacity)",
         {f"dict_rate_limit_up{ALONE}": 1.0, f"dict_rate_limit_capacity{ALONE}": 2.0}),
    ],
)  # fmt: skip
def test_aggregations_group_by_label(expr: str, found: dict[str, float]):
    assert evaluated(expr, TWO) == pytest.approx(found, rel=1e-15, nan_ok=True)


def test_nan_is_greatest_and_least_only_where_there_is_nothing_else():
    mixed = "{} by (participant) (dict_rate_limit_utilization_percent / (dict_rate_limit_utilization_percent > bool 0))"

    assert evaluated(mixed.format("max"), TWO) == {ALONE: 75.0}
    assert evaluated(mixed.format("min"), TWO) == {ALONE: 75.0}


def test_labels_are_joined_from_the_one_side():
    joined = "dict_rate_limit_capacity * on (participant) group_left (psp_category) dict_rate_limit_participant_info"

    assert evaluated(joined, TWO) == {
        f'{{participant="{PARTICIPANT}", policy="{policy}", psp_category="A"}}': 36_000.0 for policy in "AB"
    }


def test_the_one_side_may_be_the_left_one():
    joined = "dict_rate_limit_participant_info - on (participant) group_right (psp_category) dict_rate_limit_up"

    assert evaluated(joined, TWO) == {f'{{participant="{PARTICIPANT}", psp_category="A"}}': 0.0}


def test_a_joined_label_that_the_one_side_lacks_is_removed():
    joined = "dict_rate_limit_capacity * on (participant) group_left (policy) dict_rate_limit_up"

    with pytest.raises(RuleEvaluationFailed, match="grouping labels must ensure unique matches"):
        evaluated(joined, TWO)


def test_the_name_can_be_joined_too():
    joined = "dict_rate_limit_up * on (participant) group_left (__name__) dict_rate_limit_participant_info"

    assert set(evaluated(joined, TWO)) == {f"dict_rate_limit_participant_info{ALONE}"}


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        ("dict_rate_limit_up + on (participant) dict_rate_limit_capacity",
         r"found duplicate series for the match group \{participant=\"12345678\"\} on the right hand-side"),
        ("dict_rate_limit_capacity + on (participant) group_right dict_rate_limit_up",
         r"on the left hand-side of the operation: \[dict_rate_limit_capacity\{.*policy=\"B\"\}, .*many-to-many"),
        ("dict_rate_limit_capacity + on (participant) dict_rate_limit_up",
         r"many-to-one matching must be explicit \(group_left/group_right\)"),
        ("-(dict_rate_limit_capacity or on (policy, participant, __name__) dict_rate_limit_available_tokens)",
         "vector cannot contain metrics with the same labelset"),
        (f"{TWO_NAMES} + on (participant, __name__) {TWO_NAMES}",
         "vector cannot contain metrics with the same labelset"),
    ],
)  # fmt: skip
def test_what_does_not_match_clearly_fails(expr: str, why: str):
    with pytest.raises(RuleEvaluationFailed, match=why):
        evaluated(expr, TWO)


def test_a_match_that_the_comparison_filters_out_does_not_count():
    assert len(evaluated("dict_rate_limit_utilization_percent > on (participant) dict_rate_limit_up", TWO)) == 1


def test_nothing_on_one_side_is_nothing_and_no_failure():
    assert evaluated("dict_rate_limit_error_404_rate + on (participant) dict_rate_limit_capacity", TWO) == {}


def test_a_failure_on_the_left_of_and_shows_though_the_right_is_empty():
    failing = "(dict_rate_limit_capacity + on (participant) dict_rate_limit_up)"

    with pytest.raises(RuleEvaluationFailed):
        evaluated(f"{failing} and on (participant) dict_rate_limit_error_404_rate", TWO)


def test_or_adds_what_the_left_side_does_not_have():
    either = 'dict_rate_limit_capacity{policy="A"} or on (participant, policy) dict_rate_limit_utilization_percent'

    assert evaluated(either, TWO) == {
        f"dict_rate_limit_capacity{A}": 36_000.0,
        f"dict_rate_limit_utilization_percent{B}": 0.0,
    }


def test_the_time_of_day_can_be_a_condition():
    at_noon = "dict_rate_limit_utilization_percent > 50 and on () (hour() >= 8 < 20)"

    assert set(evaluated(at_noon, TWO)) == {f"dict_rate_limit_utilization_percent{A}"}
    assert evaluated("dict_rate_limit_up unless on () (hour() == 12)", TWO) == {}


def test_alerts_are_series_of_the_open_alerts():
    open_alerts = [alert(policy="A"), alert(policy="B", state=AlertState.PENDING), alert("Other", policy=None)]

    series = 'ALERTS{{alertname="TokensLow", alertstate="{}", participant="12345678", policy="{}", severity="warning"}}'
    assert evaluated('ALERTS{alertname="TokensLow"}', TWO, open_alerts) == {
        series.format("firing", "A"): 1.0,
        series.format("pending", "B"): 1.0,
    }
    assert len(evaluated('ALERTS{alertstate="firing"}', TWO, open_alerts)) == 2
    assert len(evaluated('ALERTS{policy=""}', TWO, open_alerts)) == 1
    assert evaluated('ALERTS{severity="critical"}', TWO, open_alerts) == {}


def test_since_when_alerts_are_active_is_a_series_of_each_in_whole_seconds():
    begun = alert(policy="A", seconds=90.7)
    open_alerts = [begun, alert(policy="B", state=AlertState.PENDING), alert("Other", policy=None)]

    series = 'ALERTS_FOR_STATE{{alertname="TokensLow", participant="12345678", policy="{}", severity="warning"}}'
    assert evaluated('ALERTS_FOR_STATE{alertname="TokensLow"}', TWO, open_alerts) == {
        series.format("A"): float(int(begun.active_since.timestamp())),
        series.format("B"): open_alerts[1].active_since.timestamp(),
    }
    assert evaluated('ALERTS_FOR_STATE{alertname="TokensLow", alertstate="firing"}', TWO, open_alerts) == {}
    assert set(evaluated('ALERTS_FOR_STATE{policy=""}', TWO, open_alerts)) == {
        'ALERTS_FOR_STATE{alertname="Other", participant="12345678", severity="warning"}'
    }


def test_an_alert_holds_while_the_bridge_does_not_answer():
    held = 'max by (participant, policy) (ALERTS{alertname="TokensLow"} and on (participant) dict_rate_limit_up == 0)'

    assert evaluated(held, view(poll(), failed(15)), [alert(policy="A")]) == {A: 1.0}
    assert evaluated(held, TWO, [alert(policy="A")]) == {}
