"""Rule unit tests: promtool's files, run on this program's engine."""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import dedent

import pytest

from exporter.rules.promtool.input_series import STALE, expand, input_series, parse_series
from exporter.rules.promtool.runner import run_tests
from tests.support.rules import rule_file

LOW = """
alert: TokensLow
expr: dict_rate_limit_utilization_percent >= 80
for: 1m
labels: {severity: warning, empty: "{{ $labels.x }}"}
annotations: {summary: "at {{ $value }}"}
"""
SERIES = """\
rule_files: [rules.yml]
evaluation_interval: 30s
tests:
  - interval: 30s
    name: a test
    input_series:
      - series: 'dict_rate_limit_utilization_percent{participant="1", policy="A", job="j"}'
        values: 70 80 90x3 10
      - series: 'dict_rate_limit_utilization_percent{participant="2", policy="A"}'
        values: 0x9
"""


def told(folder: Path, text: str, *, rules: tuple[str, ...] = (LOW,), diff: bool = False) -> str:
    rule_file(folder, *rules)
    file = folder / "test.yml"
    file.write_text(text)
    [result] = run_tests([str(file)])
    return result.render(diff=diff).removeprefix(f"Processing test file: {file}\n")


def series(checks: str) -> str:
    return SERIES + dedent(checks).replace("\n", "\n    ").join(["    ", "\n"])


@pytest.mark.parametrize(
    ("values", "samples"),
    [
        ("1 2.5 -3 +4 .5 5. 1e2", [1, 2.5, -3, 4, 0.5, 5, 100]),
        ("1x2 0x0", [1, 1, 1, 0]),
        ("1+2x3", [1, 3, 5, 7]),
        ("1-2x2", [1, -1, -3]),
        ("-1+0.5x1", [-1, -0.5]),
        ("0+0.1x3", [0, 0.1, 0.2, 0.30000000000000004]),
        ("_ _x2 1 _x0", [None, None, None, 1]),
        ("stale Inf -inf", [STALE, math.inf, -math.inf]),
        ("0x10", [0] * 11),
        ("", []),
    ],
)
def test_values_are_expanded(values: str, samples: list[object]):
    assert expand(values) == samples


@pytest.mark.parametrize("values", ["x", "1x", "1+2", "1+-2x3", "1,2", "Infx2", "stalex2", "_3", "0x1F", "1 x3", "--1"])
def test_what_is_no_value_is_refused(values: str):
    with pytest.raises(ValueError, match="is not a value"):
        expand(values)


def test_a_slip_of_the_finger_does_not_eat_the_memory():
    with pytest.raises(ValueError, match="more than 1000000 samples"):
        expand("1x999999999999")


def test_a_sample_is_seen_for_less_than_five_minutes():
    made = input_series('a{b="c"}', "1 _ stale 2", 60_000)

    assert [made.sample(ms, ms, 300_000) for ms in (-1, 0, 119_999, 120_000, 180_000, 479_999, 480_000)] == [
        None, (0, 1.0), (0, 1.0), None, (180_000, 2.0), (180_000, 2.0), None,
    ]  # fmt: skip


def test_a_series_is_read_from_its_text():
    assert repr(parse_series('a{b="c", d=""}')) == "('a', {b=\"c\"})"
    assert repr(parse_series('{__name__="a"}')) == "('a', {})"
    assert repr(parse_series("{}")) == "('', {})"
    for text in ("a{", "a + b", 'a{b=~"c"}', "a offset 5m", 'a{b="c", b="d"}', "a[5m]"):
        with pytest.raises(ValueError, match="is not a series"):
            parse_series(text)


def test_expectations_that_are_met_are_a_success(tmp_path: Path):
    assert (
        told(
            tmp_path,
            series("""\
            alert_rule_test:
              - {eval_time: 1m29s, alertname: TokensLow, exp_alerts: []}
              - eval_time: 1m45s
                alertname: TokensLow
                exp_alerts:
                  - exp_labels: {participant: 1, policy: A, job: j, severity: warning}
                    exp_annotations: {summary: at 90}
              - {eval_time: 3m, alertname: TokensLow}
              - {eval_time: 30s, alertname: Nothing}
            promql_expr_test:
              - {expr: dict_rate_limit_utilization_percent > 5, eval_time: 0s, exp_samples: [
                  {labels: 'dict_rate_limit_utilization_percent{participant="1",policy="A",job="j"}', value: 70}]}
              - {expr: 'max by (participant, alertstate) (ALERTS)', eval_time: 59s, exp_samples: [
                  {labels: '{alertstate="pending",participant="1"}', value: 1}]}
              - {expr: ALERTS, eval_time: 1h}
              - {expr: time() / 0, eval_time: 1s, exp_samples: [{labels: '{}', value: .Inf}]}
              - {expr: vector(2), eval_time: 1s, exp_samples: [{labels: '', value: 2e0}]}
            """),
        )
        == "  SUCCESS\n\n"
    )


def test_a_difference_is_told_as_promtool_tells_it(tmp_path: Path):
    text = series("""\
        alert_rule_test:
          - eval_time: 1m30s
            alertname: TokensLow
            exp_alerts: [{exp_labels: {severity: info}}]
        promql_expr_test:
          - {expr: dict_rate_limit_utilization_percent > 85, eval_time: 1m, exp_samples: [{labels: '{}', value: 1.5}]}
        """)

    assert told(tmp_path, text).splitlines() == [
        "  FAILED:",
        "    name: a test,",
        "    alertname: TokensLow, time: 1m30s, ",
        "        exp:[",
        "            0:",
        '              Labels:{alertname="TokensLow", severity="info"}',
        "              Annotations:{}",
        "            ], ",
        "        got:[",
        "            0:",
        '              Labels:{alertname="TokensLow", job="j", participant="1", policy="A", severity="warning"}',
        '              Annotations:{summary="at 90"}',
        "            ]",
        "",
        '    expr: "dict_rate_limit_utilization_percent > 85", time: 1m,',
        "        exp: {} 1.5E+00",
        '        got: {__name__="dict_rate_limit_utilization_percent", job="j", participant="1", policy="A"} 9E+01',
        "",
        "",
    ]


def test_a_difference_can_be_shown_line_by_line(tmp_path: Path):
    text = series("""\
        alert_rule_test:
          - {eval_time: 30s, alertname: TokensLow, exp_alerts: [{exp_labels: {severity: info}}]}
        """)

    lines = told(tmp_path, text, diff=True).splitlines()

    assert "        --- exp" in lines
    assert '        -              Labels:{alertname="TokensLow", severity="info"}' in [line.rstrip() for line in lines]


def test_a_rule_that_fails_ends_its_test(tmp_path: Path):
    failing = """
    alert: Failing
    expr: dict_rate_limit_up + on (participant) dict_rate_limit_capacity
    labels: {severity: info}
    """
    text = """\
    rule_files: [rules.yml]
    tests:
      - interval: 1m
        input_series:
          - {series: 'dict_rate_limit_up{participant="1"}', values: 1x9}
          - {series: 'dict_rate_limit_capacity{participant="1", policy="A"}', values: 1x9}
          - {series: 'dict_rate_limit_capacity{participant="1", policy="B"}', values: _x3 1x9}
        alert_rule_test:
          - {eval_time: 1m, alertname: Failing, exp_alerts: [{}]}
          - {eval_time: 5m, alertname: Failing, exp_alerts: [{}]}
        promql_expr_test: [{expr: 1, eval_time: 5m}]
    """

    lines = told(tmp_path, dedent(text), rules=(dedent(failing),)).splitlines()

    assert [line for line in lines if line.startswith("    alertname:")] == ["    alertname: Failing, time: 1m, "]
    assert lines[-3].startswith("    rule: Failing, time: 3m0s, err: found duplicate series for the match group")
    assert not any("expr:" in line for line in lines)


def test_what_rules_and_queries_say_of_a_participant_without_series_is_judged(tmp_path: Path):
    gone = """
    alert: Gone
    expr: absent(dict_rate_limit_up{participant="3"})
    labels: {severity: info}
    """
    checks = """
    alert_rule_test:
      - {eval_time: 1m, alertname: Gone, exp_alerts: [{exp_labels: {participant: "3", severity: info}}]}
    promql_expr_test:
      - expr: absent(dict_rate_limit_up{participant="4"})
        eval_time: 1m
        exp_samples: [{labels: '{participant="4"}', value: 1}]
      - expr: scalar(dict_rate_limit_utilization_percent{participant="1"})
        eval_time: 30s
        exp_samples: [{labels: '{}', value: 80}]
    """

    assert told(tmp_path, series(checks), rules=(dedent(gone),)) == "  SUCCESS\n\n"


def test_what_a_query_cannot_compute_fails_without_any_series(tmp_path: Path):
    text = (
        "tests: [{promql_expr_test: [{expr: 'topk by (participant) (NaN, dict_rate_limit_capacity)', eval_time: 1m}]}]"
    )

    assert "err: " in told(tmp_path, text)


def test_samples_later_than_the_evaluation_are_not_seen(tmp_path: Path):
    ahead = """
    alert: Ahead
    expr: last_over_time(dict_rate_limit_utilization_percent[30s] offset -30s) > 0
    labels: {severity: info}
    """
    checks = """
    alert_rule_test:
      - {eval_time: 1m, alertname: Ahead, exp_alerts: []}
      - {eval_time: 3m, alertname: Ahead, exp_alerts: []}
    """

    assert told(tmp_path, series(checks), rules=(dedent(ahead),)) == "  SUCCESS\n\n"


@pytest.mark.parametrize(
    ("check", "error"),
    [
        ("expr: 'absent(dict_rate_limit_up)', eval_time: 1m", "needs a selector itself"),
        ("expr: 'dict_rate_limit_up[5m]', eval_time: 1m", "is a range vector"),
        ("expr: dict_rate_limit_up, exp_samples: [{labels: 'a{'}]", 'labels "a{": `a{` is not a series'),
        ("expr: vector(NaN), exp_samples: [{labels: '{}', value: NaN}]", "exp: {} NaN"),
    ],
)
def test_an_expression_that_cannot_be_judged_is_a_failure(tmp_path: Path, check: str, error: str):
    assert error in told(tmp_path, series(f"promql_expr_test: [{{{check}}}]"))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("rule_files: [nothing.yml]", "nothing.yml: error: no rule file matches"),
        ("rule_files: [rules.yml]\nnonsense: 1", "unknown field `nonsense`"),
        ("a: [", "is not YAML"),
        ("tests: []\ntests: []\n", "line 2: tests is given twice, first in line 1"),
        ("tests: [{interval: 1m,\n  interval: 2m}]", "line 2: interval is given twice, first in line 1"),
        ("tests: [{alert_rule_test: [{exp_alerts: [{exp_labels: {a: b, a: c}}]}]}]", "line 1: a is given twice"),
        ("tests: [{<<: {name: a}, <<: {name: b}}]", "line 1: << merges name, which is given above it"),
        ("tests: [{external_labels: {<<: {a: b}, a: c}}]", "line 1: a is merged too, which promtool refuses"),
        ("tests: []\n---\ntests: []\n", "line 2, column 1: a second document begins, and only the first is read"),
        ("[" * 100_000, "is not YAML: line 1, column 51: more than 50 levels deep"),
        ("evaluation_interval: 5", "'5' is not a duration; write it as 15s, 5m or 1h30m - at `$.evaluation_interval`"),
        ("group_eval_order: [other]", "group_eval_order: no rule file has a group other"),
        ("group_eval_order: [a, b, a]", "group name repeated in evaluation order: a"),
        ("fuzzy_compare: maybe", "fuzzy_compare: write true or false"),
        ("tests: [{start_timestamp: noon}]", "`noon` is not a time: write seconds since 1970, or 2026-03-01T12:00:00Z"),
        ("tests: [{start_timestamp: 2026-03-01T12:00:00}]", "`2026-03-01T12:00:00` is not a time"),
        ("tests: [{interval: 1m, input_series: [{series: a, values: 1y}]}]", "`1y` is not a value"),
        ("tests: [{interval: 1m, input_series: [{series: ALERTS, values: 1}]}]", "ALERTS come from the rules"),
        ("tests: [{alert_rule_test: [{eval_time: 1m}]}]", "misses required attribute alertname at eval_time 1m"),
        ("tests: [{promql_expr_test: [{expr: 1, exp_samples: [{labels: a, value: x}]}]}]", "`x` is not a number"),
    ],
)
def test_what_is_no_test_file_is_refused(tmp_path: Path, text: str, error: str):
    assert error in told(tmp_path, text)


def test_a_test_file_that_is_not_there_is_refused(tmp_path: Path):
    [result] = run_tests([str(tmp_path / "nothing.yml")])

    assert not result.passed
    assert "cannot be read: No such file or directory" in result.render()


def test_alerts_are_forgotten_between_evaluations_that_lie_five_minutes_apart(tmp_path: Path):
    expr = "dict_rate_limit_up unless on (participant) ALERTS{alertname='A'}"
    seeing = f"alert: A\nexpr: {expr}\nlabels: {{severity: info}}"
    tests = """
    tests:
      - interval: 1m
        input_series: [{series: 'dict_rate_limit_up{participant="1"}', values: 1x30}]
        alert_rule_test:
          - {eval_time: 15m, alertname: A, exp_alerts: [{exp_labels: {severity: info, participant: "1"}}]}
    """

    def judged(interval: str) -> str:
        return told(
            tmp_path, f"rule_files: [rules.yml]\nevaluation_interval: {interval}{dedent(tests)}", rules=(seeing,)
        )

    assert judged("5m") == "  SUCCESS\n\n"
    assert "FAILED" in judged("3m")


def test_the_shipped_rules_pass_their_tests():
    folder = Path(__file__).parents[4] / "rules" / "tests"

    results = run_tests([str(file) for file in sorted(folder.glob("*.yml"))])

    assert results
    assert all(result.passed for result in results), "\n".join(result.render() for result in results)


def test_tests_may_be_merged(tmp_path: Path):
    checks = """\
        alert_rule_test:
          - &low {eval_time: 2m, alertname: TokensLow, exp_alerts: []}
          - {<<: *low, eval_time: 0s}
          - {<<: *low, alertname: None}
    """

    failed = told(tmp_path, series(checks))

    assert failed.count("alertname: TokensLow, time: 2m") == 1
    assert "alertname: TokensLow, time: 0s" not in failed
    assert "alertname: None" not in failed


RECORDS = """
record: a:b
expr: dict_rate_limit_utilization_percent > 75
labels: {job: ""}
"""
ON_RECORDED = """
alert: High
expr: max_over_time(a:b[1m]) > 80
labels: {severity: info}
"""


def test_what_rules_record_can_be_asked_for(tmp_path: Path):
    checks = """
    promql_expr_test:
      - expr: a:b
        eval_time: 1m
        exp_samples: [{labels: 'a:b{participant="1", policy="A"}', value: 90}]
      - expr: count_over_time(a:b[2m])
        eval_time: 2m30s
        exp_samples: [{labels: '{participant="1", policy="A"}', value: 4}]
    alert_rule_test:
      - {eval_time: 30s, alertname: High, exp_alerts: []}
      - eval_time: 1m
        alertname: High
        exp_alerts: [{exp_labels: {severity: info, participant: "1", policy: A}}]
    """

    assert told(tmp_path, series(checks), rules=(RECORDS, ON_RECORDED)) == "  SUCCESS\n\n"


GIVEN = """\
      - series: 'a:b{participant="1", policy="B"}'
        values: 1 2 stale 4
      - series: 'a:b{participant="3", policy="B"}'
        values: 5
"""


@pytest.mark.parametrize(("time", "of_1"), [("0s", 1), ("30s", 82), ("1m", 90), ("90s", 94)])
def test_input_series_of_a_name_that_is_recorded_are_seen_beside_what_is(tmp_path: Path, time: str, of_1: int):
    samples = ", ".join(f"{{labels: '{{participant=\"{p}\"}}', value: {v}}}" for p, v in ((1, of_1), (3, 5)))
    check = f"{{expr: sum by (participant) (a:b), eval_time: {time}, exp_samples: [{samples}]}}"

    assert told(tmp_path, f"{SERIES}{GIVEN}    promql_expr_test: [{check}]\n", rules=(RECORDS,)) == "  SUCCESS\n\n"


def test_what_is_recorded_with_another_value_than_it_is_given_fails_the_test(tmp_path: Path):
    given = """\
      - series: 'a:b{participant="1", policy="A"}'
        values: _ 80 91
    promql_expr_test: [{expr: vector(1), eval_time: 2m}]
"""

    shown = told(tmp_path, SERIES + given, rules=(RECORDS,))
    assert "rule: a:b, time: 1m0s, err: duplicate sample for timestamp: a:b" in shown


def test_more_recorded_series_of_all_participants_than_the_limit_fail_the_test(tmp_path: Path):
    rule_file(tmp_path, RECORDS.replace("> 75", ">= 0"))
    file = tmp_path / "rules.yml"
    file.write_text(file.read_text().replace("rules:", "limit: 1\n    rules:"))
    (tmp_path / "test.yml").write_text(SERIES)

    [result] = run_tests([str(tmp_path / "test.yml")])
    assert "rule: a:b, time: 0s, err: exceeded limit of 1 with 2 series" in result.render(diff=False)
