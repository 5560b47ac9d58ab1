"""`rules check` finds what keeps a file from loading, and what could be better.

Comments disable checks, and nothing else in a file is taken for one.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from exporter.rules.files.loading import attempt
from exporter.rules.lint.known_values import Installation
from exporter.rules.lint.linter import CHECKS, findings, read_comments, warnings
from tests.support.rules import rule_file

if TYPE_CHECKING:
    from exporter.rules.finding import Finding

SHIPPED = Path(__file__).parents[4] / "rules" / "dict-rate-limit.yml"

RUNBOOK = "annotations: {runbook_url: http://example/}"
OUTAGE_BRANCH = """
expr: |
  max by (participant, policy) (dict_rate_limit_utilization_percent and on (participant) dict_rate_limit_up == 1) >= 80
    or
  max by (participant, policy) (ALERTS{alertname="A", alertstate="firing"} and on (participant) dict_rate_limit_up == 0)
"""


OTHERS = "is not a metric of this program, and no rule here records it; Prometheus can have rules of its own"


def check(patterns: list[str]) -> list[Finding]:
    return findings(attempt(patterns))


def found(folder: Path, *rules: str) -> list[tuple[int, str, str]]:
    return [(f.line, f.severity, f.message) for f in check([rule_file(folder, *rules)])]


_OTHERS = ("has no outage branch", "may begin to fire", "has no condition")


def warnings_of(folder: Path, expr: str, *more: str) -> list[str]:
    """Messages about a rule that has a runbook, those about outages and what is not compared left out."""
    lines = "\n".join(more or ("labels: {severity: info}", RUNBOOK))
    messages = [message for _, _, message in found(folder, f"alert: A\nexpr: {expr}\n{lines}")]
    return [message for message in messages if not message.startswith(_OTHERS)]


@pytest.mark.parametrize("interval_seconds", [5, 15, 60])
def test_the_shipped_rules_have_nothing_to_warn_of(interval_seconds: int):
    installation = Installation(poll_interval_seconds=interval_seconds)

    assert findings(attempt([str(SHIPPED)]), installation) == []


def test_what_an_expression_holds_twice_is_found_at_both_places(tmp_path: Path):
    rule = "alert: A\nexpr: dict_rate_limit_uo == 0 or dict_rate_limit_uo == 0\nlabels: {severity: info}"

    errors = [finding for finding in check([rule_file(tmp_path, rule)]) if finding.severity == "error"]

    assert [(error.line, error.column) for error in errors] == [(5, 13), (5, 40)]


def test_errors_and_warnings_come_by_line(tmp_path: Path):
    reported = found(
        tmp_path,
        "alert: A\nexpr: dict_rate_limit_up == 0\nlabels: {severity: info}",
        "alert: B\nexpr: nonsense\nlabels: {severity: info}",
    )

    assert reported == [
        (4, "warning", "has no annotation runbook_url: say what to do when it fires"),
        (
            8,
            "error",
            f"`nonsense` {OTHERS}",
        ),
    ]


def test_a_finding_is_told_with_file_line_group_and_rule(tmp_path: Path):
    [finding] = check([rule_file(tmp_path, "alert: A\nexpr: dict_rate_limit_up == 0\nlabels: {severity: info}")])

    assert (
        str(finding)
        == f"{tmp_path}/rules.yml:4: dict/A: warning: has no annotation runbook_url: say what to do when it fires"
        " (lint/runbook)"
    )


def test_an_alert_without_an_outage_branch_is_warned_of(tmp_path: Path):
    [(line, severity, message), _] = found(
        tmp_path, f"alert: A\nexpr: dict_rate_limit_utilization_percent > 80\nlabels: {{severity: info}}\n{RUNBOOK}"
    )

    assert (line, severity) == (5, "warning")
    assert message.startswith("has no outage branch: while the Bridge does not answer it resolves")
    assert 'max by (participant, policy) (ALERTS{alertname="A", alertstate="firing"}' in message


@pytest.mark.parametrize(
    "expr",
    [
        OUTAGE_BRANCH,
        "expr: dict_rate_limit_up == 0",
        "expr: time() - dict_rate_limit_last_success_timestamp_seconds > 60",
        "expr: max by (participant) (dict_rate_limit_capacity) > 5 or on (participant) dict_rate_limit_up == 0",
        OUTAGE_BRANCH.rstrip() + "\n  and on () hour() > 20",
        OUTAGE_BRANCH.replace(
            "and on (participant) dict_rate_limit_up == 0", "unless on (participant) dict_rate_limit_up == 1"
        ),
        OUTAGE_BRANCH.replace('"A", alertstate="firing"', '"A", policy="KEYS_CHECK"'),
        OUTAGE_BRANCH.replace('"firing"} and on (participant) dict', '"firing"} unless on (participant, policy) dict'),
        OUTAGE_BRANCH.replace("(ALERTS", "(max by (participant) (ALERTS").replace(
            '"firing"} and on (participant)', '"firing"}) and'
        ),
        OUTAGE_BRANCH.replace("(ALERTS", "(max without (alertname) (ALERTS").replace('"firing"}', '"firing"})'),
        OUTAGE_BRANCH.replace(
            "dict_rate_limit_up == 0", "(time() - dict_rate_limit_last_success_timestamp_seconds > 60)"
        ),
    ],
)
def test_an_alert_with_an_outage_branch_is_not(tmp_path: Path, expr: str):
    rule = f"alert: A\n{expr}\nlabels: {{severity: info}}\n{RUNBOOK}"

    found = {finding.check for finding in check([rule_file(tmp_path, rule)])}
    assert found.isdisjoint({"lint/outage_branch", "lint/stale_threshold"})


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('alertname="A"', 'alertname="C"'),
        ('alertstate="firing"', 'alertstate="pending"'),
        ('alertstate="firing"', 'alertstate="firing", severity="warning"'),
        ("dict_rate_limit_up == 0", "dict_rate_limit_up == 1"),
        ('"firing"} and on (participant)', '"firing"} and'),
        ('"firing"} and on (participant)', '"firing"} and ignoring (policy)'),
        ('"firing"} and on (participant)', '"firing"} and on (participant, alertname)'),
        ("and on (participant) dict_rate_limit_up == 0", "unless on (participant) dict_rate_limit_up < 1"),
        ("on (participant) dict_rate_limit_up == 0", "on (participant, policy) dict_rate_limit_capacity > 0"),
        ("on (participant) dict_rate_limit_up == 0", "on (participant) dict_rate_limit_refused_policies > 0"),
    ],
)
def test_an_outage_branch_that_gives_nothing_in_an_outage_is_none(tmp_path: Path, right: str, wrong: str):
    assert right in OUTAGE_BRANCH
    rule = f"alert: A\n{OUTAGE_BRANCH.replace(right, wrong)}\nlabels: {{severity: info}}\n{RUNBOOK}"
    other = f"alert: B\nexpr: dict_rate_limit_up == 0\nlabels: {{severity: info}}\n{RUNBOOK}"

    assert "lint/outage_branch" in [finding.check for finding in check([rule_file(tmp_path, rule, other)])]


UP = "and on (participant) dict_rate_limit_up == 1"


@pytest.mark.parametrize(
    "expr",
    [
        "dict_rate_limit_utilization_percent >= 80",
        'dict_rate_limit_available_tokens{policy="KEYS_CHECK"} == 0',
        "dict_rate_limit_exhaustion_projection_seconds < 600",
        "dict_rate_limit_error_404_rate > 0.2",
        "avg_over_time(dict_rate_limit_utilization_percent[10m]) >= 80",
        "quantile_over_time(0.9, dict_rate_limit_utilization_percent[10m]) >= 80",
        "predict_linear(dict_rate_limit_available_tokens[10m], 600) < 0",
        "dict_rate_limit_utilization_percent offset 10m >= 80",
        "count_over_time((dict_rate_limit_utilization_percent >= 80)[10m:]) > 3",
        "count by (participant) (dict_rate_limit_utilization_percent >= 80) >= 3",
        "dict_rate_limit_utilization_percent >= 80 and on () hour() > 20",
        "dict_rate_limit_utilization_percent >= 80 and on (participant) dict_rate_limit_up >= 0",
        "dict_rate_limit_utilization_percent >= 80 and on (participant) (dict_rate_limit_up == bool 1)",
        "dict_rate_limit_capacity < 100",
        "dict_rate_limit_capacity * on (participant) group_left (psp_category) dict_rate_limit_participant_info < 5",
        (
            "dict_rate_limit_utilization_percent >= 80 or dict_rate_limit_utilization_percent >= 75"
            ' and on (participant, policy) ALERTS{alertname="A"}'
        ),
    ],
)
def test_an_alert_that_may_begin_on_figures_from_before_an_outage_is_warned_of(tmp_path: Path, expr: str):
    messages = [m for _, _, m in found(tmp_path, f"alert: A\nexpr: '{expr}'\nlabels: {{severity: info}}\n{RUNBOOK}")]

    assert [m for m in messages if m.startswith("may begin to fire while the Bridge does not answer")]


@pytest.mark.parametrize(
    "expr",
    [
        f"dict_rate_limit_utilization_percent >= 80 {UP}",
        f"avg_over_time(dict_rate_limit_utilization_percent[10m]) >= 80 {UP}",
        "dict_rate_limit_capacity offset 9m > 7 and on (participant) min_over_time(dict_rate_limit_up[1m]) == 1",
        f"max_over_time((dict_rate_limit_utilization_percent >= 80 {UP})[5m:15s]) > 0",
        f"(dict_rate_limit_utilization_percent >= 80 and on () hour() > 20) {UP}",
        "max by (participant) (dict_rate_limit_capacity) > 5 or on (participant) dict_rate_limit_up == 0",
        "dict_rate_limit_utilization_percent >= 80 and on (participant) dict_rate_limit_up == 0",
        "dict_rate_limit_participant_info",
        "dict_rate_limit_up == 0",
        "dict_rate_limit_utilization_percent >= 80 unless on (participant) dict_rate_limit_up == 0",
        "dict_rate_limit_utilization_percent >= 80 and on (participant) 1 <= max by (participant) (dict_rate_limit_up)",
        "dict_rate_limit_utilization_percent > 100",
        "dict_rate_limit_utilization_percent >= 75 and on (participant, policy) ALERTS{alertname='A'}",
        (
            "max by (participant, policy) (dict_rate_limit_utilization_percent >= 80 and on (participant) "
            "dict_rate_limit_up == 1 or dict_rate_limit_utilization_percent >= 70 and on (participant) "
            "dict_rate_limit_up == 0)"
        ),
    ],
)
def test_an_alert_that_asks_for_an_answer_or_begins_because_there_is_none_is_not(tmp_path: Path, expr: str):
    messages = [m for _, _, m in found(tmp_path, f"alert: A\nexpr: {expr}\nlabels: {{severity: info}}\n{RUNBOOK}")]

    assert not [m for m in messages if m.startswith("may begin to fire")]


@pytest.mark.parametrize(
    "guard",
    [
        "and on (participant) (time() - dict_rate_limit_last_success_timestamp_seconds < 60)",
        "and on (participant) (1 - dict_rate_limit_up == 0)",
        "* on (participant) group_left dict_rate_limit_up > 80",
    ],
)
def test_a_guard_that_the_check_does_not_understand_is_taken_for_a_good_one(tmp_path: Path, guard: str):
    rule = f"alert: A\nexpr: dict_rate_limit_utilization_percent {guard}\nlabels: {{severity: info}}\n{RUNBOOK}"

    assert "lint/stale_threshold" not in [finding.check for finding in check([rule_file(tmp_path, rule)])]


@pytest.mark.parametrize(
    ("expr", "verdict"),
    [
        ("dict_rate_limit_utilization_percent > 100", "never"),
        ("dict_rate_limit_utilization_percent >= 180", "never"),
        ("dict_rate_limit_utilization_percent >= 0", "always"),
        ("max by (participant) (dict_rate_limit_error_404_rate) > 20", "never"),
        ("(dict_rate_limit_error_404_rate > 0) < 5", "always"),
        ("-1 > dict_rate_limit_capacity", "never"),
        ("avg_over_time(dict_rate_limit_error_404_rate[5m]) > 20", "never"),
        ("max_over_time((dict_rate_limit_up offset 5m)[1h:5m]) >= 0", "always"),
        ("2 == dict_rate_limit_up", "never"),
        ("dict_rate_limit_up != 2", "always"),
        ("dict_rate_limit_up > bool 1", "never"),
        ("(dict_rate_limit_utilization_percent and dict_rate_limit_capacity) > (50 + 60)", "never"),
        ("sort(dict_rate_limit_utilization_percent) > 50 * pi()", "never"),
        ("topk by (participant) (1, dict_rate_limit_utilization_percent) > 101", "never"),
        ('label_replace(dict_rate_limit_utilization_percent, "zone", "$1", "policy", "(.)") >= 0', "always"),
    ],
)
def test_a_threshold_outside_the_gauges_range_is_warned_of(tmp_path: Path, expr: str, verdict: str):
    [message] = warnings_of(tmp_path, expr)

    assert f"is {verdict} true: dict_rate_limit_" in message


@pytest.mark.parametrize(
    "expr",
    [
        "dict_rate_limit_utilization_percent >= 100",
        "dict_rate_limit_utilization_percent == 0",
        "dict_rate_limit_capacity > 1e9",
        "sum by (participant) (dict_rate_limit_up) > 5",
        "dict_rate_limit_up * 5 > 4",
        "sum_over_time(dict_rate_limit_up[5m]) > 5",
        "count_over_time(dict_rate_limit_up[5m]) >= 2",
        "stddev by (participant) (dict_rate_limit_up) > 5",
        "exp(dict_rate_limit_utilization_percent) > 101",
        "(dict_rate_limit_up > bool 0) < 3",
        "dict_rate_limit_capacity > dict_rate_limit_available_tokens",
        "time() - dict_rate_limit_category_changed_timestamp_seconds < 3600",
        "dict_rate_limit_poll_interval_seconds < -5",
    ],
)
def test_other_comparisons_are_not(tmp_path: Path, expr: str):
    assert warnings_of(tmp_path, expr) == []


def test_nothing_equals_nan(tmp_path: Path):
    assert warnings_of(tmp_path, "dict_rate_limit_up == NaN") == [
        "`dict_rate_limit_up == NaN` compares with NaN, which nothing equals"
    ]


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        ('dict_rate_limit_capacity{polcy="A"}', "dict_rate_limit_capacity has no label polcy; did you mean policy?"),
        ('dict_rate_limit_up{policy="A"}', "dict_rate_limit_up has no label policy"),
        ("max by (participant, polcy) (dict_rate_limit_capacity)", "has a label polcy; did you mean policy?"),
        ("dict_rate_limit_up and on (participant, cluster) dict_rate_limit_up", "no series here has a label cluster"),
        ("dict_rate_limit_capacity + on (participant) group_left (category) dict_rate_limit_participant_info",
         "no series here has a label category"),
        ('dict_rate_limit_up{job="dict"}', "job is what Prometheus' scrape adds, and no series of this program has it"),
    ],
)  # fmt: skip
def test_a_label_that_no_series_has_is_warned_of(tmp_path: Path, expr: str, message: str):
    [told] = warnings_of(tmp_path, f"'{expr}'")

    assert message in told


@pytest.mark.parametrize(
    "expr",
    [
        'dict_rate_limit_participant_info{psp_category="A", job!="x"}',
        'ALERTS{alertname="A", team="x", alertstate="firing", severity="info"} and on () hour() > 2',
        "max without (job, instance) (dict_rate_limit_up)",
        "count by (participant, __name__) (dict_rate_limit_up)",
    ],
)
def test_known_labels_are_not(tmp_path: Path, expr: str):
    assert warnings_of(tmp_path, f"'{expr}'", "labels: {severity: info, team: x}", RUNBOOK) == []


def test_a_label_that_depends_on_the_value_is_warned_of(tmp_path: Path):
    [message] = warnings_of(
        tmp_path, "dict_rate_limit_up == 0", 'labels: {severity: info, worth: "{{ $value }}"}', RUNBOOK
    )

    assert message == "label worth: `{{ $value }}` depends on $value, so that another value makes another alert"


def test_a_label_that_is_always_empty_in_a_template_is_warned_of(tmp_path: Path):
    [message] = warnings_of(
        tmp_path,
        "dict_rate_limit_capacity == 0",
        "labels: {severity: info}",
        'annotations: {runbook_url: "http://x/{{ $labels.polcy }}/{{ $labels.policy }}"}',
    )

    assert message == "annotation runbook_url: `$labels.polcy` is always empty; did you mean policy?"


def test_a_rule_that_is_there_twice_is_warned_of(tmp_path: Path):
    twice = f"alert: A\nexpr: dict_rate_limit_up == 0\nlabels: {{severity: info}}\n{RUNBOOK}"
    other = twice.replace("info", "warning")
    rule_file(tmp_path, twice, other, name="a.yml", group="first")
    rule_file(tmp_path, twice, name="b.yml", group="second")

    reported = check([str(tmp_path / "*.yml")])

    assert [(Path(f.file).name, f.line, f.group) for f in reported] == [("a.yml", 4, "first"), ("b.yml", 4, "second")]
    a, b = str(tmp_path / "a.yml"), str(tmp_path / "b.yml")
    same = "with the same labels: their alerts are one and the same"
    assert [f.message for f in reported] == [f"is defined again in {b}:4, {same}", f"is defined again in {a}:4, {same}"]


def test_a_rule_that_is_there_twice_in_a_file_is_told_with_the_lines(tmp_path: Path):
    twice = f"alert: A\nexpr: dict_rate_limit_up == 0\nlabels: {{severity: info}}\n{RUNBOOK}"

    found = [str(one) for one in check([rule_file(tmp_path, twice, twice)])]

    assert [one.partition("rules.yml:")[2].partition(", with")[0] for one in found] == [
        "4: dict/A: warning: is defined again in line 8",
        "8: dict/A: warning: is defined again in line 4",
    ]


SHAPES = {
    "plain": "  - {{alert: A{n}, expr: dict_rate_limit_utilization_percent >= {n}, labels: {{severity: info}}}}\n",
    "looking at its own alert": "  - {{alert: A{n}, expr: 'ALERTS{{alertname=\"A{n}\"}} or dict_rate_limit_up == {n}', "
    "labels: {{severity: info}}}}\n",
    "in groups of their own": "- name: g{n}\n  rules:\n  - {{alert: A{n}, expr: 'ALERTS{{alertname=\"A{n}\"}}', "
    "labels: {{severity: info}}}}\n",
    "with a wrong name": "  - {{alert: A{n}, expr: 'ALERTS{{alertname=\"B{n}\"}}', labels: {{severity: info}}}}\n",
    "of one expression": "  - {{alert: A{n}, expr: dict_rate_limit_up == 0, labels: {{severity: info}}}}\n",
    "that do not parse": "  - {{alert: A{n}, expr: dict_rate_limit_up == {n} +, labels: {{severity: info}}}}\n",
}


def calls(file: Path | str) -> int:
    """How many calls a check of the file takes."""
    counted = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal counted
        counted += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        check([str(file)])
    finally:
        sys.setprofile(before)
    return counted


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_twice_the_rules_take_twice_the_work(tmp_path: Path, shape: str):
    def written(rules: int) -> Path:
        file = tmp_path / "rules.yml"
        head = "groups:\n" if shape.startswith("-") else "groups:\n- name: g\n  rules:\n"
        file.write_text(head + "".join(shape.format(n=number) for number in range(rules)))
        return file

    few, many = calls(written(300)), calls(written(600))

    assert many < 2.2 * few


@pytest.mark.parametrize("operator", ["+", ">", "and", "or", "unless"])
def test_a_rule_of_twice_the_length_takes_four_times_the_work_at_most(tmp_path: Path, operator: str):
    def written(terms: int) -> str:
        expr = f" {operator} ".join(["dict_rate_limit_capacity"] * terms)
        return rule_file(tmp_path, f"alert: A\nexpr: {expr}\nlabels: {{severity: info}}")

    short, long = calls(written(60)), calls(written(120))

    assert long < 4.2 * short


@pytest.mark.parametrize("nested", ["-{}", "{} > 0"])
def test_a_rule_as_deep_as_loads_is_checked(tmp_path: Path, nested: str):
    def is_loaded(depth: int) -> bool:
        expr = "dict_rate_limit_up"
        for _ in range(depth):
            expr = nested.format(expr)
        reported = check([rule_file(tmp_path, f"alert: A\nexpr: '{expr}'\nlabels: {{severity: info}}\n{RUNBOOK}")])
        return "error" not in {finding.severity for finding in reported}

    deepest = bisect_left(range(1_000), True, key=lambda depth: not is_loaded(depth)) - 1

    assert deepest > 100


def test_long_sums_and_chains_of_records_are_checked(tmp_path: Path):
    long = " + ".join(["dict_rate_limit_capacity"] * 450)
    chain = [f"record: 'r:{n}'\nexpr: r:{n + 1} + 1" for n in range(400)]
    last = f"record: 'r:400'\nexpr: {long} > 5"

    reported = found(tmp_path, *chain, last, f"alert: A\nexpr: r:0 > 5\nlabels: {{severity: info}}\n{RUNBOOK}")

    assert [message[:20] for _, _, message in reported] == ["has no outage branch", "may begin to fire wh"]


def test_a_check_that_a_rule_is_too_deep_for_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def check_deeply(context: object) -> object:
        return check_deeply(context)

    monkeypatch.setitem(CHECKS, "lint/runbook", check_deeply)

    rule = f"alert: A\nexpr: dict_rate_limit_up == 0\nlabels: {{severity: info}}\n{RUNBOOK}"
    [finding] = check([rule_file(tmp_path, rule)])

    assert (finding.check, finding.message) == ("lint/runbook", "is too long, or too deep, for this check")


def test_aliases_of_a_rule_are_checked_once(tmp_path: Path):
    rule = "{alert: A, expr: dict_rate_limit_utilization_percent > 100, labels: {severity: info}}"
    file = tmp_path / "rules.yml"
    file.write_text(f"groups:\n- name: g\n  rules:\n  - &r {rule}\n" + "  - *r\n" * 10)

    found = [str(finding) for finding in check([str(file)])]

    assert len(found) == len(set(found))
    assert any("is defined more than once, through aliases" in finding for finding in found)


def test_rules_that_merge_one_another_are_checked_each(tmp_path: Path):
    file = tmp_path / "rules.yml"
    file.write_text(
        "groups:\n- name: g\n  rules:\n"
        "  - &r {alert: A, expr: dict_rate_limit_up == 0, labels: {severity: info}, annotations: {runbook_url: x}}\n"
        "  - {<<: *r, labels: {severity: warning, x: '{{ $value }}'}}\n"
        "  - {<<: *r, labels: {severity: critical}, expr: dict_rate_limit_up == 2}\n"
    )

    assert [str(finding).removeprefix(f"{file}:") for finding in check([str(file)])] == [
        (
            "5: g/A: warning: label x: `{{ $value }}` depends on $value, so that another value makes another alert"
            " (lint/value_label)"
        ),
        (
            "6: g/A: warning: column 50: `dict_rate_limit_up == 2` is never true: dict_rate_limit_up is 0 to 1"
            " (lint/impossible_comparison)"
        ),
    ]


DISABLE = "# dict-rate-limit: disable"
FILE = """\
# of the file
groups:
  # above one
  - name: one  # of one
    # in one
    rules:
      # above A
      - alert: A  # of A
        expr: dict_rate_limit_up == 0
        # in A
        labels: {severity: info}
        # below A
      # above B
      - alert: B
        expr: |  # of B
          dict_rate_limit_up == 0
        labels:
          severity: info
  # above two
  - rules:
    # above C

    # of nothing
    - {alert: C, labels: {severity: info}, expr: dict_rate_limit_up == 0}  # end of C
    - {alert: D, labels: {severity: info}, expr: dict_rate_limit_up == 0}
    name: two
"""


def without_a_runbook(folder: Path, text: str) -> str:
    """The names of the rules that the file's comments leave without a runbook, and of checks that are unknown."""
    file = folder / "rules.yml"
    file.write_text(text)
    left = warnings(attempt([str(file)]))
    assert {finding.check for finding in left} <= {"lint/runbook"}
    return "".join(finding.rule for finding in left)


@pytest.mark.parametrize(
    ("comment", "left"),
    [
        ("# none", "ABCD"),
        ("# of the file", ""),
        ("# above one", "CD"),
        ("# of one", "CD"),
        ("# in one", "CD"),
        ("# above A", "BCD"),
        ("# of A", "BCD"),
        ("# in A", "BCD"),
        ("# below A", "BCD"),
        ("# above B", "ACD"),
        ("# of B", "ACD"),
        ("# above two", "AB"),
        ("# above C", "ABD"),
        ("# end of C", "ABD"),
    ],
)
def test_a_comment_is_about_a_rule_a_group_or_the_file(tmp_path: Path, comment: str, left: str):
    assert without_a_runbook(tmp_path, FILE.replace(comment, f"{DISABLE} lint/runbook")) == left


def test_several_checks_are_named_with_commas_and_others_go_on(tmp_path: Path):
    assert without_a_runbook(tmp_path, FILE.replace("# of A", f"{DISABLE} lint/value_label, lint/runbook")) == "BCD"
    assert without_a_runbook(tmp_path, FILE.replace("# of A", f"{DISABLE} lint/value_label")) == "ABCD"


@pytest.mark.parametrize(
    "scalar",
    [
        f'"of {DISABLE} lint/x"',
        f"'of {DISABLE} lint/x'",
        f'"over lines\n  {DISABLE} lint/x"',
        f"'over lines\n  {DISABLE} lint/x'",
        "plain#dict-rate-limit:disable lint/x",
        f"|\n  {DISABLE} lint/x",
        f">-\n  of\n\n  {DISABLE} lint/x\n",
        f"[a, 'b {DISABLE} lint/x', c]",
        f'{{a: "b {DISABLE} lint/x"}}',
        f"a  # {DISABLE} lint/x",
    ],
)
def test_what_is_in_a_scalar_or_later_in_a_comment_is_no_comment_that_disables(scalar: str):
    assert read_comments(f"key: {scalar}\n") == []
    assert [c.line for c in read_comments(f"{DISABLE} lint/y\nkey: {scalar}\n")] == [1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"key: |  {DISABLE} lint/x\n  text", 1),
        (f"key: |\n  text\n{DISABLE} lint/x\n", 3),
        (f"key: |\n    text\n\n  {DISABLE} lint/x\nother: a", 4),
        (f'key: "quoted"  {DISABLE} lint/x', 1),
        (f"key: '\U0001f600 # quoted'  {DISABLE} lint/x", 1),
        (f"key: plain\n  over lines  {DISABLE} lint/x", 2),
        (f"key: [a,  {DISABLE} lint/x\n  b]", 1),
        (f"key: {{a: b,\n {DISABLE} lint/x\n  c: d}}", 2),
        (f"key: a\r\n{DISABLE} lint/x\r\nother: b\r\n", 2),
        ("key: a  #dict-rate-limit:disable lint/x", 1),
    ],
)
def test_what_is_beside_or_below_a_scalar_is_one(text: str, line: int):
    [comment] = read_comments(text)

    assert (comment.line, comment.names) == (line, ("lint/x",))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("lint/runbok", "a comment disables `lint/runbok`, which is no check; did you mean lint/runbook?"),
        ("runbook", "a comment disables `runbook`, which is no check; did you mean lint/runbook?"),
        ("lint/runbook lint/value_label", "a comment disables `lint/runbook lint/value_label`, which is no check"),
        ("", "a comment disables ``, which is no check"),
    ],
)
def test_a_name_that_is_no_check_is_warned_of(tmp_path: Path, names: str, told: str):
    file = tmp_path / "rules.yml"
    file.write_text(dedent(FILE).replace("# in A", f"{DISABLE} {names}"))

    [finding] = [one for one in warnings(attempt([str(file)])) if one.check != "lint/runbook"]

    assert (finding.line, finding.check) == (10, "lint/unknown_check")
    assert finding.message.startswith(told)


def test_many_comments_take_time_in_proportion():
    text = "".join(f"- a: 'b # c'  {DISABLE} lint/x\n" for _ in range(20_000))

    assert len(read_comments(text)) == 20_000
