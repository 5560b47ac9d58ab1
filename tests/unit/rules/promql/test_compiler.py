"""What is outside the subset is refused when rules are loaded, with the construct's text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.errors import RuleFileInvalid
from exporter.rules.files.loading import load
from exporter.rules.promql.expression import ExpressionRefused, compile_rule
from exporter.rules.promql.selectors import AlertNames
from tests.support.rules import refusal

if TYPE_CHECKING:
    from pathlib import Path

UP = "dict_rate_limit_up"
CAPACITY = "dict_rate_limit_capacity"


@pytest.mark.parametrize(
    ("expr", "construct", "why"),
    [
        (f"rate({UP}[5m]) > 0", f"rate({UP}[5m])", "rate() is not supported"),
        (f"{UP}[5m]", f"{UP}[5m]", "range selector"),
        (f"{UP}[5m:1m]", f"{UP}[5m:1m]", "subquery"),
        (f"{UP} offset 5m", f"{UP} offset 5m", "offset is not supported"),
        (f"{UP} @ 5", "", "1:20: `@` is not supported"),
        (f"topk(1, {UP})", f"topk(1, {UP})", "topk is not supported"),
        (f"stddev by (participant) ({UP})", f"stddev by (participant)({UP})", "stddev is not supported"),
        (f"limitk(1, {UP})", f"limitk(1, {UP})", "limitk is not supported"),
        (f"{UP} atan2 {UP}", f"{UP} atan2 {UP}", "atan2 is not supported"),
        (f"{UP} + fill(1) {UP}", "fill (1)", "fill is not supported"),
        (f'label_replace({UP}, "a", "$1", "b", "(.*)")', "label_replace", "label_replace() is not supported"),
        (f"absent({UP})", f"absent({UP})", "absent() is not supported"),
        (f"scalar({UP})", f"scalar({UP})", "scalar() is not supported"),
        (f'{UP}{{a="1" or b="2"}}', UP, "`or` between matchers"),
        ('{__name__=~"dict_.*"}', "__name__", "a selector must name its metric"),
        ('{__name__="dict_rate_limit_up", __name__!="x"}', "__name__", "other matchers on __name__"),
        ('"text"', "text", "a string is not supported"),
        ("up", "`up` is not a metric of this program", "did you mean dict_rate_limit_up?"),
        ("dict_rate_limit_utilisation_percent", "dict_rate_limit_utilisation_percent",
         "did you mean dict_rate_limit_utilization_percent?"),
        ("node_load1", "`node_load1` is not a metric of this program", "Prometheus can have its own rules"),
        ("dict_rate_limit_alerts_created_total", "", "is a counter, and rules see gauges only; ALERTS{alertname="),
        ("dict_rate_limit_responses_total", "", "is a counter, and rules see gauges only: dict_rate_limit_... avai"),
        ("dict_rate_limit_monitoring_duration_seconds_sum", "", "is a part of a histogram, and rules see gauges only"),
        ("dict_rate_limit_database_up", "", "is no gauge of a bucket or a participant, and rules see no others: dict_"),
        ("dict_rate_limit_xyz", "", "is no gauge of a bucket or a participant"),
        (f"increase({UP}[5m])", "", "dict_rate_limit_consumption_rate_per_minute and dict_rate_limit_error_404_rate"),
        (f"predict_linear({UP}[5m], 60)", "", "dict_rate_limit_exhaustion_projection_seconds is until a bucket is"),
        (f"avg_over_time({UP}[5m])", "", "`for` asks that a condition lasts"),
        (f"histogram_quantile(0.9, {UP})", "", "rules see no histograms"),
        (f"quantile by (participant) (0.9, {UP})", "", "aggregations are sum, min, max, avg, count, group"),
        (f"sqrt({UP})", "", "functions are abs, ceil, clamp, "),
        (f'{UP} >= "80"', "", '`"80"` is a text, and is compared with a number: write it without quotes'),
        (f"{UP} >= 80%", "", "1:23: `80%` is no number; write 80 (of a percentage) or 0.8 (of a share)"),
        (f"({UP} >= 80%) or {UP}", "", "1:24: `80%` is no number"),
        (f"{UP} >= 80% or {UP}", "", "1:23: `80%` is no number"),
        (f"{UP}[5m] > 1", "", "1:19: a range cannot be compared, and is not supported"),
        (f"{UP} = 1", "", "1:20: unexpected `=`; a comparison is written ==, >=, <= or !="),
        (f"{UP} && {UP}", "", "1:20: unexpected character `&`; write `and`"),
        (f"{UP} || {UP}", "", "1:20: unexpected character `|`; write `or`"),
        (f"{UP}{{policy=A}}", "", '1:27: `A` is a text: write it in quotes, policy="A"'),
        (f"max by participant ({UP})", "", "1:8: unexpected `participant`; labels stand in brackets: by (participant)"),
        (f"{UP} > 5m", "", "1:22: `5m`: a duration is not a number"),
        ('{"dict_rate_limit_up"}', "", "a quoted name"),
        (f'{UP}{{"participant"="1"}}', "", "a quoted name"),
        (f'sum by ("participant") ({UP})', "", "a quoted name"),
        (f"{UP}[5]", "", "`5` is not a duration"),
        (f"{UP} offset Inf", "", "`Inf` is not a duration"),
        (f'{UP}{{policy=~"a("}}', "", '1:28: "a(" is not a regular expression: error parsing regexp: missing ):'),
        (f'{UP}{{policy=~"\\\\C"}}', "", "regex"),
        (f'{UP}{{policy=~"(?<n>a)"}}', UP, "invalid or unsupported Perl syntax"),
        (f'{UP}{{policy=~"a{{1001}}"}}', UP, "invalid repetition size: {1001}"),
        (f'{UP}{{policy="\\d"}}', "", '`\\d` in "\\d" is not an escape'),
        (f'{UP}{{policy="\\xff"}}', "", '`\\x` in "\\xff" is not an escape that is supported'),
        (f"{UP} > 1 or", "", "1:26: unexpected end"),
        (f"({UP} > 1\n  > > 2)", "", "2:5: unexpected `>`"),
        (f"({UP}", "", "1:1: `(` is not closed"),
        (f"{UP})", "", "1:19: unexpected `)`"),
        (f"{UP} ? 1", "", "unexpected character `?`"),
        (f'{UP}{{a="b', "", "a string that is not closed"),
        (f"{UP} > 1 > bool", "", "unexpected end"),
        (f"abs({UP}, 1)", "", "expected 1 argument"),
        ("1 > 2", "", "must use BOOL"),
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
    ],
)
def test_what_keeps_participant_is_accepted(expr: str):
    compile_rule(expr, None)


@pytest.mark.parametrize(
    "expr", ["1", "vector(1)", "hour() > 5", "time() > bool 5", "max by (participant) (vector(1))"]
)
def test_a_rule_needs_series_that_carry_participant(expr: str):
    with pytest.raises(ExpressionRefused, match=r"needs series that carry participant|do not carry participant$"):
        compile_rule(expr, None)


def test_every_problem_of_an_expression_is_told():
    told = refusal(f"rate({UP}[5m]) > 1 or sum({CAPACITY}) > 2 or nonsense")

    assert "rate() is not supported" in told
    assert "sum must keep participant" in told
    assert "`nonsense` is not a metric" in told


ALERTS = AlertNames(own=frozenset({"TokensLow", "TokensCritical"}), others={"TokensGone": "other group"})


@pytest.mark.parametrize(
    ("selector", "why"),
    [
        ("ALERTS", "name the alert"),
        ('ALERTS{alertstate="firing"}', "name the alert"),
        ('ALERTS{alertname!="TokensLow"}', "name the alert"),
        ('ALERTS{alertname=~".*"}', "name the alert"),
        ('ALERTS{alertname="TokensGone"}', "ALERTS of another group is not supported: TokensGone is in other group"),
        ('ALERTS{alertname=~"Tokens.+"}', "TokensGone is in other group"),
        ('ALERTS{alertname="TokensLo"}', "no alert of this group is named TokensLo; did you mean TokensLow?"),
    ],
)
def test_only_alerts_of_the_own_group_are_seen(selector: str, why: str):
    with pytest.raises(ExpressionRefused) as refused:
        compile_rule(selector, ALERTS)

    assert why in str(refused.value)


@pytest.mark.parametrize("matcher", ['="TokensLow"', '=~"TokensLow|TokensCritical"', '=~"Tokens(L|C).*"'])
def test_alerts_of_the_own_group_are_selected_by_name(matcher: str):
    compile_rule(f"ALERTS{{alertname{matcher}}}", ALERTS)


def test_whether_alerts_are_about_a_policy_is_known_beforehand():
    def carries_policy(expr: str) -> bool:
        return compile_rule(expr, None).carries_policy

    assert carries_policy(CAPACITY)
    assert carries_policy(f"{CAPACITY} > on (participant, policy) {CAPACITY}")
    assert carries_policy(f"{UP} == 0 or on (participant) {CAPACITY}")
    assert carries_policy(f"{UP} * on (participant) group_right {CAPACITY}")
    assert carries_policy(f"{UP} * on (participant) group_left (policy) max by (participant, policy) ({CAPACITY})")
    assert not carries_policy(UP)
    assert not carries_policy(f"max by (participant) ({CAPACITY})")
    assert not carries_policy(f"{CAPACITY} > on (participant) {UP}")
    assert not carries_policy(f"{UP} and on (participant) {CAPACITY}")


def test_a_fault_of_the_parser_itself_is_a_refusal(monkeypatch: pytest.MonkeyPatch):
    class PanicException(BaseException):
        pass

    def panics(_: str) -> None:
        raise PanicException("value is too big")

    monkeypatch.setattr("promql_parser.parse", panics)

    assert "value is too big" in refusal(UP)


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        (" or ".join([UP] * 499), "nested too deeply"),
        (" or ".join([UP] * 1000), "words"),
        ("(" * 5000 + UP + ")" * 5000, "words"),
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
