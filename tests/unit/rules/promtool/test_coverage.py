"""What tests make true of rules: a rule, a branch of `or`, both sides of an `if` in a text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporter.rules.promtool.coverage import Coverage, Part, percent, render
from exporter.rules.promtool.runner import run_tests
from tests.support.rules import rule_file

if TYPE_CHECKING:
    from collections.abc import Sequence

SHIPPED = Path(__file__).parents[4] / "rules" / "tests" / "dict-rate-limit.test.yml"

LOW = """
alert: Low
expr: |
  max by (participant) (
    (dict_rate_limit_available_tokens < 5 or dict_rate_limit_available_tokens > 100) or dict_rate_limit_capacity < 3
  )
labels: {severity: warning, level: "{{ if gt $value 50.0 }}high{{ else if lt $value 1.0 }}none{{ else }}low{{ end }}"}
annotations: {text: "{{ if $labels.policy }}x{{ end }}"}
"""
UP = "alert: Up\nexpr: dict_rate_limit_up == 1\nlabels: {severity: info}"


def covered(folder: Path, *values: str, rules: Sequence[str] = (LOW, UP)) -> list[Part]:
    """The parts, after a test for each of the values of tokens."""
    rule_file(folder, *rules)
    series = 'dict_rate_limit_available_tokens{participant="1", policy="A"}'
    checks = "promql_expr_test: [{expr: vector(1), eval_time: 5m}]"
    tests = "".join(f"  - {{input_series: [{{series: '{series}', values: '{one}'}}], {checks}}}\n" for one in values)
    (folder / "test.yml").write_text(f"rule_files: [rules.yml]\ntests:\n{tests}")
    coverage = Coverage()
    run_tests([str(folder / "test.yml")], coverage=coverage)
    return coverage.parts()


def uncovered(parts: list[Part]) -> list[tuple[str, str]]:
    return [(part.rule, part.what) for part in parts if not part.is_covered]


def test_what_no_test_makes_true_is_told(tmp_path: Path) -> None:
    assert uncovered(covered(tmp_path, "10 200")) == [
        ("Low", "`dict_rate_limit_available_tokens < 5` is never true"),
        ("Low", "`dict_rate_limit_capacity < 3` is never true"),
        ("Low", "level: `{{if gt $value 50.0}}` is never false"),
        ("Low", "level: `{{if lt $value 1.0}}` is never true"),
        ("Low", "level: `{{if lt $value 1.0}}` is never false"),
        ("Low", "text: `{{if $labels.policy}}` is never true"),
        ("Up", "is never true"),
    ]


def test_a_with_is_true_where_its_value_is_none_of_zero_and_empty(tmp_path: Path) -> None:
    rule = (
        UP.replace("== 1", "!= 1")
        + """
annotations: {Text: "{{ with $labels.policy }}{{ . }}{{ else with toTime $value }}{{ . }}{{ end }}"}
"""
    )
    rule = rule.replace("dict_rate_limit_up", "dict_rate_limit_available_tokens")

    assert uncovered(covered(tmp_path, "0", rules=(rule,))) == [
        ("Up", "Text: `{{with $labels.policy}}` is never false"),
        ("Up", "Text: `{{with toTime $value}}` is never true"),
        ("Up", "Text: `{{with toTime $value}}` is never false"),
    ]


def test_tests_add_up(tmp_path: Path) -> None:
    assert uncovered(covered(tmp_path, "200", "0", "3")) == [
        ("Low", "`dict_rate_limit_capacity < 3` is never true"),
        ("Low", "text: `{{if $labels.policy}}` is never true"),
        ("Up", "is never true"),
    ]


def test_without_tests_nothing_is_covered(tmp_path: Path) -> None:
    assert percent(covered(tmp_path)) == 0.0
    assert percent(covered(tmp_path, rules=[])) == 100.0


def test_the_table_has_a_line_for_each_rule(tmp_path: Path) -> None:
    told = render(covered(tmp_path, "10 200")).splitlines()

    assert told[:4] == [
        "RULE      TRUE  BRANCHES  TEXTS",
        "dict/Low  yes   1 of 3    2 of 6",
        "dict/Up   no    -         -",
        "",
    ]
    assert told[4] == f"{tmp_path}/rules.yml:4: dict/Low: `dict_rate_limit_available_tokens < 5` is never true"
    assert told[-1] == "4 of 11 parts of rules covered, 36.4 %"


@pytest.mark.parametrize("names", [(), ("^tokens run low",)])
def test_the_shipped_rules_are_covered_by_their_tests(names: tuple[str, ...]) -> None:
    coverage = Coverage()

    run_tests([str(SHIPPED)], names, coverage=coverage)

    assert (uncovered(coverage.parts()) == []) is (not names)


def test_a_rule_that_records_is_covered_where_it_records_something(tmp_path: Path) -> None:
    records = "record: a:b\nexpr: dict_rate_limit_available_tokens < 5 or dict_rate_limit_available_tokens > 100"
    rules = (records, "record: c:d\nexpr: a:b > 1000")

    assert uncovered(covered(tmp_path, "200", rules=rules)) == [
        ("a:b", "`dict_rate_limit_available_tokens < 5` is never true"),
        ("c:d", "never records anything"),
    ]
