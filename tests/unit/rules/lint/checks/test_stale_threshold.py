"""A threshold that old figures may reach is told, one that they can only leave is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path

CAPACITY = "dict_rate_limit_capacity"
LEVEL = "dict_rate_limit_available_tokens"
HELD = "(ALERTS{alertname='A', alertstate='firing'} and on (participant) dict_rate_limit_up == 0)"


@pytest.mark.parametrize(
    "expr",
    [
        f"changes({CAPACITY}[1h]) > 0",
        f"0 < changes({CAPACITY}[1h])",
        f"sum by (participant) (resets({LEVEL}[30m])) >= 3",
        f"max by (participant, policy) ((max_over_time({LEVEL}[5m]))) > 5000",
        f"min_over_time({LEVEL}[1h]) <= 0 or {HELD}",
        f"min by (participant) (min_over_time({LEVEL}[1h])) < 5",
    ],
)
def test_what_old_figures_can_only_end_is_not_told(tmp_path: Path, expr: str) -> None:
    assert warned(tmp_path, "lint/stale_threshold", alert_rule(expr)) == []


@pytest.mark.parametrize(
    "expr",
    [
        f"changes({CAPACITY}[1h]) < 1",
        f"max_over_time({LEVEL}[5m]) < 100",
        f"min_over_time({LEVEL}[5m]) > 100",
        f"avg_over_time({LEVEL}[5m]) > 100",
        f"increase({LEVEL}[30m]) > 100",  # what it extrapolates may be more
        f"max_over_time({LEVEL}[5m:1m]) > 100",
        f"avg by (participant) (max_over_time({LEVEL}[5m])) > 100",
        f"min by (participant) (max_over_time({LEVEL}[5m])) > 100",
        f"sum by (participant) (min_over_time({LEVEL}[5m])) < 100",
        f"-min_over_time({LEVEL}[5m]) > -100",
        f"max_over_time({LEVEL}[5m] offset 5m) > 100",
        f"count by (participant) (max_over_time({LEVEL}[5m])) > 1",
    ],
)
def test_what_old_figures_may_begin_is_told(tmp_path: Path, expr: str) -> None:
    assert len(warned(tmp_path, "lint/stale_threshold", alert_rule(expr))) == 1


def test_what_is_recorded_of_old_figures_may_begin_an_alert(tmp_path: Path) -> None:
    record = f"record: a:b\nexpr: avg_over_time({LEVEL}[10m])"

    assert len(warned(tmp_path, "lint/stale_threshold", record, alert_rule("max_over_time(a:b[5m]) > 80"))) == 1


def test_what_lasts_may_begin_on_old_figures(tmp_path: Path) -> None:
    rule = alert_rule(f"changes({CAPACITY}[1h]) > 0", "for: 1m")

    assert len(warned(tmp_path, "lint/stale_threshold", rule)) == 1
