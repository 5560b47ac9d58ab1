"""Rule unit tests fail here as they fail in promtool: the same verdicts, in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.rules.promtool.runner import run_tests
from tests.support import promtool

if TYPE_CHECKING:
    from pathlib import Path

RULES = """
groups:
  - name: first
    rules:
      - alert: Low
        expr: dict_rate_limit_utilization_percent >= 80
        for: 1m
        labels: {severity: warning, empty: "{{ $labels.x }}"}
        annotations: {summary: "at {{ $value }}", note: ""}
  - name: second
    rules:
      - alert: Low
        expr: dict_rate_limit_utilization_percent >= 90
        labels: {severity: critical}
      - alert: Failing
        expr: dict_rate_limit_up + on (participant) dict_rate_limit_capacity
        labels: {severity: info}
"""

TEST = """
rule_files: [rules.yml]
evaluation_interval: 30s
group_eval_order: [second, first]
tests:
  - name: expectations that are not met
    interval: 1m
    input_series:
      - {series: 'dict_rate_limit_utilization_percent{participant="1", policy="A"}', values: '70 80 90x3 stale 85'}
      - {series: 'dict_rate_limit_utilization_percent{participant="2", policy="\\"B\\""}', values: 95+0.1x9}
    alert_rule_test:
      - {eval_time: 2m, alertname: Low}
      - {eval_time: 1m59s, alertname: Low, exp_alerts: [{exp_labels: {severity: info}, exp_annotations: {summary: x}}]}
      - {eval_time: 5m, alertname: Nothing, exp_alerts: [{}]}
    promql_expr_test:
      - {expr: dict_rate_limit_utilization_percent, eval_time: 2m}
      - {expr: 'ALERTS{policy="A"}', eval_time: 90s, exp_samples: [{labels: 'ALERTS{a="b", c=""}', value: 1e9}]}
      - {expr: time(), eval_time: 1h30m, exp_samples: [{labels: '{}', value: -0.5}]}
      - {expr: vector(NaN), eval_time: 26h, exp_samples: [{labels: '{}', value: .nan}]}
      - {expr: dict_rate_limit_utilization_percent, eval_time: 11m, exp_samples: [{labels: '{}', value: 1}]}
  - interval: 1m
    input_series:
      - {series: 'dict_rate_limit_up{participant="1"}', values: 1x9}
      - {series: 'dict_rate_limit_capacity{participant="1", policy="A"}', values: 1x9}
    alert_rule_test:
      - {eval_time: 1m, alertname: Failing}
      - {eval_time: 0s, alertname: Failing, exp_alerts: [{exp_labels: {severity: info, participant: 1, policy: ""}}]}
"""


@pytest.mark.prometheus
def test_failures_are_reported_in_promtools_words(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "test.yml").write_text(TEST)

    [verdict] = promtool.run_tests([tmp_path / "test.yml"])
    [result] = run_tests([str(tmp_path / "test.yml")])

    ours = result.render().removeprefix(f"Processing test file: {tmp_path}/test.yml\n")
    assert not verdict.passed
    assert ours == verdict.output
