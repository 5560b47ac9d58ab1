"""Expressions give what Prometheus gives; what is outside the subset is refused, with the construct's text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from exporter.alerts.alert import AlertState
from exporter.buckets.observation import Category
from exporter.errors import RuleEvaluationFailed, RuleFileInvalid
from exporter.rules.files.loading import load
from exporter.rules.promql.expression import compile_rule
from exporter.rules.promql.functions import CALENDAR
from exporter.rules.promql.refusal import ExpressionRefused
from tests.support.builders import PARTICIPANT, alert, at, bucket, failed, observed, poll, view
from tests.support.rules import evaluated, number, refusal, rule_file, vector

if TYPE_CHECKING:
    from pathlib import Path

UP = "dict_rate_limit_up"
CAPACITY = "dict_rate_limit_capacity"

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


@pytest.mark.parametrize("function", CALENDAR)
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
        ("stddev by (participant) (dict_rate_limit_utilization_percent)", {ALONE: 37.5}),
        ("stdvar by (participant) (dict_rate_limit_utilization_percent)", {ALONE: 1406.25}),
        ("quantile by (participant) (0.5, dict_rate_limit_utilization_percent)", {ALONE: 37.5}),
        ("quantile by (participant) (2, dict_rate_limit_utilization_percent)", {ALONE: math.inf}),
        ("topk by (participant) (1, dict_rate_limit_utilization_percent)",
         {f"dict_rate_limit_utilization_percent{A}": 75.0}),
        ("bottomk by (participant) (1.9, dict_rate_limit_utilization_percent)",
         {f"dict_rate_limit_utilization_percent{B}": 0.0}),
        ("topk by (participant) (0.9, dict_rate_limit_utilization_percent)", {}),
        ("stddev by (participant) (dict_rate_limit_utilization_percent * 1e307)", {ALONE: math.nan}),
        ('count_values by (participant, __name__) ("v", dict_rate_limit_capacity)',
         {f'dict_rate_limit_capacity{{participant="{PARTICIPANT}", v="36000"}}': 2.0}),
        ('count_values by (participant) ("__name__", dict_rate_limit_up)', {f"1{ALONE}": 1.0}),
        ('count_values by (participant) (("level"), dict_rate_limit_up)',
         {f'{{level="1", participant="{PARTICIPANT}"}}': 1.0}),
        ('count_values by (participant) ("the level", dict_rate_limit_up)',
         {f'{{participant="{PARTICIPANT}", "the level"="1"}}': 1.0}),
        ("topk by (participant) (1e18, dict_rate_limit_up)", {f"dict_rate_limit_up{ALONE}": 1.0}),
        ('count_values by (participant) ("level", dict_rate_limit_capacity)',
         {f'{{level="36000", participant="{PARTICIPANT}"}}': 2.0}),
        ('count_values without (policy) ("level", dict_rate_limit_capacity * 1e-9)',
         {f'{{level="0.000036", participant="{PARTICIPANT}"}}': 2.0}),
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


@pytest.mark.parametrize(
    ("k", "why"), [("NaN", "value is NaN"), ("1e19", r"value 1e\+19 overflows"), ("9.2233720368547748e18", "overflows")]
)
def test_a_count_that_is_none_fails(k: str, why: str):
    with pytest.raises(RuleEvaluationFailed, match=why):
        evaluated(f"topk by (participant) ({k}, dict_rate_limit_up)", TWO)


@pytest.mark.parametrize(
    ("expr", "labels"),
    [
        ('label_replace({}, "to", "$2-${{1}}", "policy", "(.)(.*)")', {"to": "-A", "policy": "A"}),
        ('label_replace({}, "to", "x", "policy", "")', {"policy": "A"}),
        ('label_replace({}, "to", "x", "nothing", "")', {"to": "x", "policy": "A"}),
        ('label_replace({}, "policy", "", "policy", ".*")', {}),
        ('label_replace({}, "policy", "$name", "policy", "(?P<name>.)")', {"policy": "A"}),
        ('label_replace({}, "to", "$1", "__name__", "dict_(.*)_up")', {"to": "rate_limit", "policy": "A"}),
        ('label_join({}, "to", "-", "policy", "nothing", "policy")', {"to": "A--A", "policy": "A"}),
        ('label_join({}, "policy", "")', {}),
        ('label_join({}, ("to"), (("-")), "policy")', {"to": "A", "policy": "A"}),
    ],
)
def test_labels_are_written(expr: str, labels: dict[str, str]):
    up = 'dict_rate_limit_up * on (participant) group_right dict_rate_limit_capacity{policy="A"} > 0'
    named = expr.format(f'label_replace({up}, "__name__", "dict_rate_limit_up", "", "")')

    [(name, written, value)] = vector(named, TWO)

    assert (name, dict(written.pairs), value) == (UP, {"participant": PARTICIPANT, **labels}, 36_000.0)


def test_labels_that_no_longer_tell_series_apart_fail():
    with pytest.raises(RuleEvaluationFailed, match="same labelset"):
        evaluated('label_replace(dict_rate_limit_capacity, "policy", "", "", "")', TWO)


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


@pytest.mark.parametrize("operator", ["*", "==", "== bool"])
def test_the_name_can_be_joined_too(operator: str):
    joined = f"dict_rate_limit_up {operator} on (participant) group_left (__name__) dict_rate_limit_participant_info"

    assert set(evaluated(joined, TWO)) == {f"dict_rate_limit_participant_info{ALONE}"}


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        ("dict_rate_limit_up + on (participant) dict_rate_limit_capacity",
         r"found duplicate series for the match group \{participant=\"12345678\"\} on the right hand-side"),
        ("dict_rate_limit_capacity + on (participant) group_right dict_rate_limit_up",
         r"on the left hand-side of the operation: \[dict_rate_limit_capacity\{.*policy=\"A\"\}, .*many-to-many"),
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


def test_a_match_that_the_comparison_filters_out_counts_too():
    with pytest.raises(RuleEvaluationFailed, match="many-to-one matching must be explicit"):
        evaluated("dict_rate_limit_utilization_percent > on (participant) dict_rate_limit_up", TWO)


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


@pytest.mark.parametrize(
    ("expr", "construct", "why"),
    [
        (f"{UP}[5m]", f"`{UP}[5m]`", "is a range vector: a function, as max_over_time, makes an instant vector of it"),
        (f"{UP}[5m:1m]", f"`{UP}[5m:1m]`", "is a range vector"),
        (f"max_over_time({UP}[(1m - 2m)])", f"{UP}[(1m - 2m)]", "a duration of a range or a step is a millisecond or"),
        (f"max_over_time({UP}[5m:(0)])", "", "a duration of a range or a step is a millisecond or more"),
        (f"max_over_time({UP}[1m / (1 - 1)])", "", "a duration is divided by zero"),
        (f"{UP} offset (292y * 2)", "", "the duration comes to more than 292y, or to no number"),
        (f"max_over_time({UP}[step()])", "[step()]", "a duration of a range or a step is a millisecond or more"),
        (f"max_over_time({UP}[min_of(5m, range())])", "", "a duration of a range or a step is a millisecond or more"),
        (f"max_over_time({UP}[min_of(5m, 1e9 ^ 99 - 1e9 ^ 99)])", "", "or to no number"),
        (f"max_over_time({UP}[12h:3s])", f"{UP}[12h:3s]", "looks at 86,401 samples of a series at each poll: 50,"),
        (f"max_over_time(max_over_time({UP}[2h:1m])[2h:])", "", "looks at 86,641 samples of a series at each poll"),
        (f"max_over_time(avg_over_time({UP}[12h])[11h:1m])", "", "looks at 1,905,421 samples of a series at each poll"),
        (f"max_over_time({UP}[6h:1s]) + max_over_time({UP}[6h:1s])", "", "looks at 259,203 samples"),
        (f"max_over_time({UP}[5m] anchored)", "", "takes no anchored range; changes, delta, increase, rate, resets do"),
        (f"changes({UP}[5m] smoothed)", f"changes({UP}[5m] smoothed)", "takes no smoothed range; delta, increase, ra"),
        (f"topk(1, {UP})", f"topk(1, {UP})", "topk must keep participant"),
        (f'count_values by (participant) ("participant", {UP})', "", "may not write the label participant"),
        (f'count_values by (participant) ("", {UP})', "", "count_values is given a label that has no name"),
        (f'label_replace({UP}, "__type__", "a", "b", "")', "", "label_replace may not write the label __type__"),
        (f'label_replace({UP}, "a", "\\xff", "b", "")', "", "label_replace writes what is not UTF-8"),
        (f'label_replace({UP}, "a", "\\x00", "b", "")', "", "label_replace writes a NUL character"),
        (f'label_join({UP}, "a", "\\xff", "b")', "", "label_join writes what is not UTF-8"),
        (f'label_join({UP}, "a\\x00", "", "b")', "", "label_join writes a NUL character"),
        (f'label_join({UP}, "a", "", "")', "", "label_join is given a label that has no name"),
        (f'{UP}{{a=~"\\xff"}}', "", "error parsing regexp: it is not UTF-8"),
        (f'{UP}{{a=~"(?P<é>a)"}}', "", "invalid or unsupported Perl syntax"),
        (f"{UP} + fill(1) {UP}", "fill(1)", "fill is behind a feature flag in Prometheus, and is not supported"),
        (f"mad_over_time({UP}[5m])", "", "mad_over_time is behind a feature flag in Prometheus"),
        (f"nothing({UP})", "", "1:1: there is no function nothing"),
        (f"absnt({UP})", "", "did you mean absent?"),
        (f"{UP} >/ {UP}", "", ">/ is not supported: rules see no histograms"),
        (f'label_replace({UP}, "participant", "$1", "b", "(.*)")', "", "may not write the label participant"),
        (f'label_join({UP}, "participant", "", "b")', "", "label_join may not write the label participant"),
        (f'label_replace({UP}, "a", "$1", "b", "(")', "", "error parsing regexp: missing )"),
        (f'label_replace({UP}, "\\xff", "$1", "b", "")', "", "is given a label that has no name in UTF-8"),
        (f"absent({UP})", f"absent({UP})", 'needs a selector itself, with participant="..." once: what it gives'),
        (f'absent(max by (participant) ({UP}{{participant="1"}}))', "", "needs a selector itself, with participant="),
        (f'absent({UP}{{participant="1", participant=~"1|2"}})', "", "needs a selector itself, with participant="),
        (f"absent_over_time({UP}[5m])", "", "needs a selector itself, with participant="),
        (f'absent_over_time({UP}{{participant="1"}}[5m] anchored)', "", "takes no anchored range"),
        (f'absent({UP}{{participant="1", a="\\x00"}})', "", "absent writes a NUL character, which"),
        (f'absent({UP}{{participant="1", a="\\xff"}})', "", "absent writes what is not UTF-8"),
        (f'absent({UP}{{participant="1", "\\xff"="a"}})', "", "absent is given a label that has no name in UTF-8"),
        (f"{UP} > on () group_left () max_over_time(vector(time())[10y:1ms])", "", "look back less, or take"),
        (f"max_over_time({UP}[30d])", "", "50,000 are the most; look back less"),
        (f"count_over_time((hour() < 5)[10y:1ms]) * on () group_right () {UP}", "", "take larger steps"),
        (f'count_over_time(label_replace({UP}, "a", "$1", "policy", "(.)")[36h:20s])', "", "take larger steps"),
        (f'hour() > scalar({UP}{{participant="1"}})', "", "combines a number of 1 with what is of no participant"),
        (f"{UP} > scalar({UP})", f"scalar({UP})", 'needs participant="...": a number is that of one participant'),
        (f'{UP} > scalar({UP}{{participant="1"}})', "", 'is about 1 on one side only: select participant="1" on'),
        (f'{UP}{{participant="1"}} > scalar({UP}{{participant="1"}}) + scalar({UP}{{participant="2"}})', "",
         "combines numbers of two participants"),
        (f'topk by (participant) (scalar({UP}{{participant="1"}}), {UP})', "", "is about 1 on one side only"),
        (f'predict_linear({UP}[5m], scalar({UP}{{participant="1"}}))', "", "is about 1 on one side only"),
        (f'{UP} > on () group_left () vector(scalar({UP}{{participant="1"}}))', "", "cannot become a vector"),
        (f'{UP}{{a="1" or b="2"}}', UP, "1:26: unexpected `or`"),
        ('{__name__=~"dict_.*"}', "__name__", "a selector must name its metric"),
        (f'{UP}{{"x"="1"}} + {{"{UP}", __name__!~"d.*"}}', "__name__", "selects nothing: its matchers on __name__"),
        ('"text"', "text", "a string is not supported"),
        ("up", "`up` is not a metric of this program", "did you mean dict_rate_limit_up?"),
        ("dict_rate_limit_utilisation_percent", "dict_rate_limit_utilisation_percent",
         "did you mean dict_rate_limit_utilization_percent?"),
        ("node_load1", "`node_load1` is not a metric of this program", "Prometheus can have rules of its own"),
        ("dict_rate_limit_alerts_created_total", "", "is a counter of the process, which rules do not see; ALERTS{al"),
        ("dict_rate_limit_reads_total", "", "is a counter of the process, and rules see these: dict_rate_limit_... a"),
        ("dict_rate_limit_response_total", "", "did you mean dict_rate_limit_responses_total?"),
        ("dict_rate_limit_monitoring_duration_seconds_sum", "", "is a part of a histogram, and rules see these: "),
        ("dict_rate_limit_database_up", "", "is no metric of a bucket or a participant, and rules see no others: "),
        ("dict_rate_limit_xyz", "", "is no metric of a bucket or a participant"),
        (f"histogram_quantile(0.9, {UP})", "", "rules see no histograms"),
        (f"clamp({UP}, 0, scalar({UP}))", f"scalar({UP})", "a number is that of one participant"),
        (f'{UP} >= "80"', "", '"80" is a text, where a number or an instant vector must be: write it without quotes'),
        (f"{UP} >= 80%", "", "1:26: unexpected end; `80%` is no number: write 80 (of a percentage) or 0.8 (of a sh"),
        (f"({UP} >= 80%) or {UP}", "", "1:27: unexpected `)`; `80%` is no number"),
        (f"{UP} >= 80% or {UP}", "", "1:30: unexpected `dict_rate_limit_up`; `80%` is no number"),
        (f"{UP}[5m] > 1", "", "1:1: > is for numbers and instant vectors, not for a range vector"),
        (f"{UP} = 1", "", "1:20: unexpected `=`; a comparison is written ==, >=, <= or !="),
        (f"{UP} && {UP}", "", "1:20: unexpected character `&`; write `and`"),
        (f"{UP} || {UP}", "", "1:20: unexpected character `|`; write `or`"),
        (f"{UP}{{policy=A}}", "", '1:27: unexpected `A`; a text is written in quotes: policy="A"'),
        (f"max by participant ({UP})", "", "1:8: unexpected `participant`; labels stand in brackets: by (participant)"),
        (f"{UP} offset Inf", "", "1:27: the duration is too long"),
        (f'{UP}{{"dict_rate_limit_up"}}', "", "1:1: the metric's name is given twice"),
        (f"{UP}[0]", "", "a duration of a range or a step is greater than 0"),
        (f'{UP}{{policy=~"a("}}', "", '1:20: "a(" is not a regular expression: error parsing regexp: missing ):'),
        (f'{UP}{{policy=~"\\\\C"}}', "", "regex"),
        (f'{UP}{{policy=~"a{{1001}}"}}', UP, "invalid repetition size: {1001}"),
        (f'{UP}{{policy="\\d"}}', "", "1:27: `\\d` is no escape that a string knows"),
        (f"{UP} > 1 or", "", "1:26: unexpected end"),
        (f"({UP} > 1\n  > > 2)", "", "2:5: unexpected `>`"),
        (f"({UP}", "", "1:20: unexpected end: a `(` is not closed, that of line 1, column 1"),
        (f"{UP})", "", "1:20: unexpected `)`: nothing is open"),
        (f"{UP} ? 1", "", "unexpected character `?`"),
        (f'{UP}{{a="b', "", "a string that is not closed"),
        (f"{UP} > 1 > bool", "", "unexpected end"),
        (f"abs({UP}, 1)", "", "1:1: abs takes 1 argument, and has 2"),
        ("1 > 2", "", "1:3: > compares two numbers, which Prometheus takes with bool only"),
    ],
)  # fmt: skip
def test_constructs_outside_the_subset_are_named(expr: str, construct: str, why: str):
    told = refusal(expr)

    assert why in told
    assert construct in told


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        (f"sum({CAPACITY})", "sum must keep participant"),
        (f"max by (policy) ({CAPACITY})", "max must keep participant"),
        (f"count without (participant) ({CAPACITY})", "count must keep participant"),
        (f"{CAPACITY} > on (policy) {CAPACITY}", "> must match on participant"),
        (f"{CAPACITY} > ignoring (participant, policy) group_left {UP}", "> must match on participant"),
        (f"{CAPACITY} and on (policy) {CAPACITY}", "and must match on participant"),
        (f"vector(1) and on () {UP}", "only the right side of and carries participant"),
        (f"vector(1) or {UP}", "only one side of or carries participant"),
        (f"{UP} or on () vector(1)", "only one side of or carries participant"),
        (f"vector(1) + on () {UP}", "+ loses participant"),
        (f"{UP} + on () vector(1)", "+ loses participant"),
        (f"vector(1) + on () group_left {UP}", "+ loses participant"),
        (f"{UP} + on () group_right vector(1)", "+ loses participant"),
        (f"{UP} + on () group_left (participant) vector(1)", "+ loses participant"),
    ],
)
def test_what_would_look_across_participants_is_refused(expr: str, why: str):
    assert why in refusal(expr)


@pytest.mark.parametrize(
    "expr",
    [
        f"{UP} > on () group_left vector(0)",
        f"vector(0) < on () group_right {UP}",
        f"{UP} and on () hour() > 8",
        f"{UP} unless on () (minute() < 5 or vector(3) > 2)",
        f"{UP} + ignoring (nothing) {UP}",
        f"max without () ({UP})",
        f"hour({UP}) > bool 5",
        f"{UP} > 5m",
        '{"dict_rate_limit_up", __name__=~"dict_.*"}',
        f'label_replace({UP}, "x", "$1", "policy", "(.*)a)|(b")',
        '{"dict_rate_limit_up"}',
        f'{UP}{{"participant"="1",}}',
        f'sum by ("participant") ({UP})',
        f'{UP}{{policy="\\xff"}}',
        f'{UP}{{policy=~"(?<n>a)"}}',
        f"topk by (participant) (2, {CAPACITY})",
        f"limitk by (participant) (2, {CAPACITY})",
        f'label_replace({UP}, "policy", "$1", "participant", "(.*)")',
    ],
)
def test_what_keeps_participant_is_accepted(expr: str):
    compile_rule(expr)


@pytest.mark.parametrize(
    "expr", ["1", "vector(1)", "hour() > 5", "time() > bool 5", "max by (participant) (vector(1))"]
)
def test_a_rule_needs_series_that_carry_participant(expr: str):
    with pytest.raises(ExpressionRefused, match=r"needs series that carry participant|do not carry participant$"):
        compile_rule(expr)


def test_every_problem_of_an_expression_is_told():
    told = refusal(f"absent({UP}) > 1 or sum({CAPACITY}) > 2 or nonsense")

    assert "absent(dict_rate_limit_up)`: needs a selector itself" in told
    assert "sum must keep participant" in told
    assert "`nonsense` is not a metric" in told


@pytest.mark.parametrize("matcher", ["", '{alertstate="firing"}', '{alertname=~"Tokens(L|C).*"}', '{alertname!="A"}'])
def test_alerts_of_any_rule_are_selected(matcher: str):
    compile_rule(f"ALERTS{matcher}")


def test_whether_alerts_are_about_a_policy_is_known_beforehand():
    def carries_policy(expr: str) -> bool:
        return compile_rule(expr).vector.carries_policy

    assert carries_policy(CAPACITY)
    assert carries_policy(f"{CAPACITY} > on (participant, policy) {CAPACITY}")
    assert carries_policy(f"{UP} == 0 or on (participant) {CAPACITY}")
    assert carries_policy(f"{UP} * on (participant) group_right {CAPACITY}")
    assert carries_policy(f"{UP} * on (participant) group_left (policy) max by (participant, policy) ({CAPACITY})")
    assert not carries_policy(UP)
    assert not carries_policy(f"max by (participant) ({CAPACITY})")
    assert not carries_policy(f"{CAPACITY} > on (participant) {UP}")
    assert not carries_policy(f"{UP} and on (participant) {CAPACITY}")


@pytest.mark.parametrize("expr", [" or ".join([UP] * 400), "abs(" * 120 + UP + ")" * 120], ids=["terms", "calls"])
def test_a_deep_expression_is_evaluated(tmp_path: Path, expr: str):
    rule = f"alert: X\nexpr: {expr}\nlabels: {{severity: info}}"

    [compiled] = load([rule_file(tmp_path, rule)]).rules

    assert len(compiled.evaluate(TWO, [])) == 1


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        (" or ".join([UP] * 499), "nested too deeply"),
        (" or ".join([UP] * 1000), "words"),
        ("(" * 5000 + UP + ")" * 5000, "nested too deeply"),
    ],
    ids=["hundreds of terms", "a thousand terms", "brackets"],
)
def test_an_expression_that_is_too_large_is_refused_with_its_file(tmp_path: Path, expr: str, why: str):
    file = tmp_path / "rules.yml"
    file.write_text(
        f"groups: [{{name: g, rules: [{{alert: X, expr: '{expr}', labels: {{severity: info}}}}]}}]", "utf-8"
    )

    with pytest.raises(RuleFileInvalid, match=why):
        load([str(file)])
