"""Rule unit tests fail here as they fail in promtool: the same verdicts, in the same words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from exporter.rules.promtool.results import junit
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


GROUPS = """
groups:
  - name: derived
    rules:
      - alert: FromOther
        expr: ALERTS{alertname="Low"}
        labels: {severity: info, at: "{{ $externalLabels.at }}"}
        annotations: {link: "{{ $externalURL }} {{ $labels.severity }} {{ $labels.team }}"}
  - name: low
    labels: {severity: warning, team: "{{ $labels.policy }}"}
    limit: 2
    rules:
      - alert: Low
        expr: dict_rate_limit_utilization_percent >= 80
      - alert: Late
        expr: dict_rate_limit_utilization_percent >= 80
        keep_firing_for: 10m
        labels: {severity: critical, team: ""}
  - name: late
    query_offset: 90s
    labels: {severity: warning}
    rules:
      - {alert: MinuteAgo, expr: dict_rate_limit_utilization_percent * time() > 0}
      - {alert: Since, expr: 'ALERTS_FOR_STATE{alertname="MinuteAgo"} > 0'}
"""

OF_GROUPS = """
rule_files: [rules.yml]
evaluation_interval: 30s
group_eval_order: [low, derived, late]
tests:
  - interval: 30s
    external_labels: {at: north}
    external_url: http://x/prometheus
    input_series:
      - {series: 'dict_rate_limit_utilization_percent{participant="1", policy="A"}', values: '70 80 90x3 85x9'}
    alert_rule_test:
      - {eval_time: 30s, alertname: FromOther}
      - {eval_time: 30s, alertname: MinuteAgo}
      - {eval_time: 2m30s, alertname: MinuteAgo}
      - {eval_time: 3m, alertname: Since}
      - {eval_time: 3m, alertname: Low}
    promql_expr_test:
      - {expr: ALERTS, eval_time: 30s}
      - {expr: ALERTS, eval_time: 75s}
      - {expr: ALERTS_FOR_STATE, eval_time: 2m}
      - {expr: ALERTS, eval_time: 5m}
  - interval: 30s
    input_series:
      - {series: 'dict_rate_limit_utilization_percent{participant="1", policy="A"}', values: '80 80 80 80'}
      - {series: 'dict_rate_limit_utilization_percent{participant="1", policy="B"}', values: '80 0 80 80'}
      - {series: 'dict_rate_limit_utilization_percent{participant="2", policy="A"}', values: '0 90 0 0'}
    alert_rule_test:
      - {eval_time: 0s, alertname: Late}
      - {eval_time: 90s, alertname: Late}
"""


TIMES = """
rule_files: [rules.yml]
fuzzy_compare: true
evaluation_interval: 15s
group_eval_order: [derived, low, late]  # without it promtool's is a random one
tests:
  - name: at a time
    start_timestamp: 2026-03-10T12:00:07Z
    input_series:
      - {series: 'dict_rate_limit_utilization_percent{participant="1", policy="A"}', values: '70.1 80 90x9'}
    alert_rule_test:
      - {eval_time: 30s, alertname: MinuteAgo}
      - {eval_time: 2m, alertname: MinuteAgo}
    promql_expr_test:
      - {expr: time(), eval_time: 10s}
      - {expr: ALERTS_FOR_STATE, eval_time: 45s}
      - {expr: 'dict_rate_limit_utilization_percent', eval_time: 15s, exp_samples: [{labels: '{}', value: 80}]}
      - expr: sum by (participant) (dict_rate_limit_utilization_percent) / 3
        eval_time: 0s
        exp_samples: [{labels: '{participant="1"}', value: 23.366666666666664}]
      - expr: sum by (participant) (dict_rate_limit_utilization_percent) / 3
        eval_time: 0s
        exp_samples: [{labels: '{participant="1"}', value: 23.36666666666665}]
  - name: by seconds
    start_timestamp: 1700000000.5
    interval: 1m
    input_series: [{series: 'dict_rate_limit_utilization_percent{participant="1", policy="A"}', values: 95x9}]
    promql_expr_test: [{expr: timestamp(dict_rate_limit_utilization_percent), eval_time: 90s}]
  - name: a rule fails
    start_timestamp: 86500
    input_series:
      - {series: 'dict_rate_limit_utilization_percent{participant="1", policy="A"}', values: 95x9}
      - {series: 'dict_rate_limit_utilization_percent{participant="1", policy="B"}', values: 95x9}
      - {series: 'dict_rate_limit_utilization_percent{participant="1", policy="C"}', values: _x4 95x9}
    alert_rule_test: [{eval_time: 90s, alertname: Low}]
"""


@pytest.mark.prometheus
@pytest.mark.parametrize(
    ("rules", "tests"),
    [(RULES, TEST), (GROUPS, OF_GROUPS), (GROUPS, TIMES)],
    ids=["failures", "groups", "times"],
)
def test_failures_are_reported_in_promtools_words(tmp_path: Path, rules: str, tests: str) -> None:
    (tmp_path / "rules.yml").write_text(rules)
    (tmp_path / "test.yml").write_text(tests)

    [verdict] = promtool.run_tests([tmp_path / "test.yml"])
    [result] = run_tests([str(tmp_path / "test.yml")])

    ours = result.render().removeprefix(f"Processing test file: {tmp_path}/test.yml\n")
    assert not verdict.passed
    assert ours == verdict.output


@pytest.mark.prometheus
@pytest.mark.parametrize("names", [["expect"], ["^expectations", "nothing"], ["nothing"], ["^$"]])
def test_tests_are_chosen_and_reported_as_promtool_does(tmp_path: Path, names: list[str]) -> None:
    rules, file = tmp_path / "rules.yml", tmp_path / "test.yml"
    rules.write_text(RULES.replace("name: first", "name: first\n    owner: tokens").replace("for: 1m", "team: [pix]"))
    file.write_text(TEST)
    report = tmp_path / "report.xml"
    options = [option for name in names for option in ("--run", name)]

    verdict = promtool.run_tests([file], "--ignore-unknown-fields", *options, report=report)[0]
    results = run_tests([str(file)], names, ignore_unknown_fields=True)

    assert (results[0].passed, results[0].render().partition("\n")[2]) == (verdict.passed, verdict.output)
    written = re.sub(r' timestamp="[^"]*"', "", report.read_text())
    ours = re.sub(r' timestamp="[^"]*"', "", junit(results, datetime.now(UTC)))
    assert ET.canonicalize(ours) == ET.canonicalize(written)
