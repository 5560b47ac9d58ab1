"""`rules test --reference 2` reaches the verdicts of promtool 2, whose ranges hold their beginning, too."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from exporter.rules.promtool.runner import run_tests
from tests.support import promtool

if TYPE_CHECKING:
    from pathlib import Path

RULES = """
groups:
  - name: g
    rules:
      - {alert: Seen, expr: dict_rate_limit_up == 0, labels: {severity: info}}
      - {alert: After, expr: 'ALERTS{alertname="Seen"} offset 1m', labels: {severity: info}}
      - record: participant:up:sum
        expr: sum_over_time(dict_rate_limit_up[2m])
"""

TEST = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'dict_rate_limit_up{participant="1"}', values: 1 0 _x20}
      - {series: 'dict_rate_limit_available_tokens{participant="1", policy="A"}', values: 0 3 2 9 4 7 1 8}
    promql_expr_test:
%s
"""

EXPRESSIONS = (
    "count_over_time(dict_rate_limit_available_tokens[5m])",
    "sum_over_time(dict_rate_limit_available_tokens[3m] offset 1m)",
    "increase(dict_rate_limit_available_tokens[1m])",
    "rate(dict_rate_limit_available_tokens[150s])",
    "delta(dict_rate_limit_available_tokens[2m30s])",
    "deriv(dict_rate_limit_available_tokens[1m])",
    "predict_linear(dict_rate_limit_available_tokens[2m], 60)",
    "sum_over_time(dict_rate_limit_available_tokens[3m30s:70s])",
    "count_over_time(dict_rate_limit_available_tokens[4m:])",
    "max_over_time(max_over_time(dict_rate_limit_available_tokens[1m])[3m:1m])",
    "dict_rate_limit_up",
    "timestamp(dict_rate_limit_up)",
    "dict_rate_limit_up offset 1m",
    "absent(dict_rate_limit_up{participant='1'})",
    "ALERTS",
    "count_over_time(ALERTS[2m])",
    "participant:up:sum",
    "count_over_time(participant:up:sum[3m])",
)
TIMES = ("2m", "5m", "5m30s", "6m", "7m")


@pytest.mark.prometheus
@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_a_range_holds_its_beginning_where_prometheus_2_is_the_reference(tmp_path: Path, expr: str) -> None:
    file = tmp_path / "test.yml"
    (tmp_path / "rules.yml").write_text(RULES, "utf-8")
    asked = [f"      - {{eval_time: {time}, expr: {expr!r}}}" for time in TIMES]
    file.write_text(TEST % "\n".join(asked), "utf-8")

    [by_2] = promtool.run_tests([file], release="2")
    [ours] = run_tests([str(file)], reference=2)

    assert told(ours.render(diff=False)) == told(by_2.output) != []


def told(output: str) -> list[tuple[str, str]]:
    """Returns what came at which time."""
    return re.findall(r"time: (\w+),\s+exp: ?\S+\s+got: ?(.*)", output)
