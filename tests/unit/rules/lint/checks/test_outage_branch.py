"""An alert that the end of figures sets off needs no branch for an outage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


CAPACITY = "dict_rate_limit_capacity"


@pytest.mark.parametrize(
    "expr",
    [
        f"present_over_time({CAPACITY}[1h]) unless {CAPACITY}",
        f"{CAPACITY} offset 30m unless {CAPACITY}",
        f"max_over_time(({CAPACITY} > 5)[1h:]) unless on (participant, policy) {CAPACITY}",
    ],
)
def test_what_the_outage_sets_off_is_not_told(tmp_path: Path, expr: str) -> None:
    assert warned(tmp_path, "lint/outage_branch", alert_rule(expr)) == []


@pytest.mark.parametrize(
    "expr",
    [
        f"max_over_time({CAPACITY}[5m]) < 5",
        f"{CAPACITY} < 5 unless dict_rate_limit_available_tokens",
        f"max_over_time({CAPACITY}[1h]) < 5 unless max_over_time({CAPACITY}[5m]) > 7",
    ],
)
def test_what_ends_with_the_figures_is(tmp_path: Path, expr: str) -> None:
    assert warned(tmp_path, "lint/outage_branch", alert_rule(expr))


def test_the_branch_keeps_the_labels_of_the_alert(tmp_path: Path) -> None:
    expr = "max by (participant, policy, outcome) (increase(dict_rate_limit_responses_total[5m])) > 100"

    [told] = warned(tmp_path, "lint/outage_branch", alert_rule(expr))

    assert "add `or max by (participant, policy, outcome) (ALERTS{alertname=" in told
    branch = told.partition("add `")[2].rstrip("`")
    assert warned(tmp_path, "lint/outage_branch", alert_rule(f"{expr} {branch}")) == []
    assert warned(tmp_path, "lint/unknown_label", alert_rule(f"{expr} {branch}")) == []


BY_BRIDGE = """
max by (participant, policy) (
  dict_rate_limit_utilization_percent >= 80 unless on (participant) ALERTS{alertname="BridgeDown"}
)
  or
max by (participant, policy) (
  ALERTS{alertname="A", alertstate="firing"} and on (participant) ALERTS{alertname="BridgeDown"}
)
"""


@pytest.mark.parametrize("check", ["lint/outage_branch", "lint/stale_threshold"])
def test_alerts_of_other_rules_may_fire_in_an_outage(tmp_path: Path, check: str) -> None:
    down = alert_rule("dict_rate_limit_up == 0", name="BridgeDown")
    expr = " ".join(BY_BRIDGE.split())

    assert warned(tmp_path, check, down, alert_rule(expr)) == []
    assert warned(tmp_path, check, down, alert_rule(expr.replace('"BridgeDown"', '"Nothing"')))


@pytest.mark.parametrize(
    ("expr", "labels"),
    [
        (
            'label_replace(dict_rate_limit_capacity, "fam", "$1", "policy", "([A-Z]+)_.*") < 5',
            "participant, policy, fam",
        ),
        ('count_values by (participant) ("cap", dict_rate_limit_capacity) < 5', "participant, cap"),
        ("max by (participant, policy) (dict_rate_limit_capacity) < 5", "participant, policy"),
    ],
)
def test_the_branch_that_is_told_keeps_what_the_expression_writes(tmp_path: Path, expr: str, labels: str) -> None:
    [told] = warned(tmp_path, "lint/outage_branch", alert_rule(expr))

    assert f"add `or max by ({labels}) (ALERTS{{" in told
