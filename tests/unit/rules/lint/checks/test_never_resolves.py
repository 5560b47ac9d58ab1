"""An alert that holds itself for ever is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


HELD = 'ALERTS{alertname="A", alertstate="firing"}'
HIGH = "dict_rate_limit_utilization_percent > 80"


@pytest.mark.parametrize(
    "expr",
    [
        f"{HIGH} or {HELD}",
        f'{HIGH} or on (participant, policy) max by (participant, policy) (ALERTS{{alertname="A", severity="info"}})',
        f"{HIGH} or ({HELD} and on (participant) dict_rate_limit_up == 1)",
        f"{HIGH} or ({HELD} unless on (participant) dict_rate_limit_up == 0)",
        f"{HIGH} or (NaN * {HELD})",
        f"{HIGH} or max_over_time({HELD}[1h])",
        f"{HIGH} or b:held",
        f"{HIGH} or (dict_rate_limit_utilization_percent and on (participant, policy) {HELD})",
        f"{HIGH} or (dict_rate_limit_utilization_percent >= 0 and on (participant, policy) {HELD})",
        f"{HIGH} or dict_rate_limit_utilization_percent * on (participant, policy) {HELD}",
        f"{HIGH} or max by (participant) ({HELD} == 1)",
        f"{HIGH} or sum by (participant, policy) ({HELD}) > 0",
        f"{HIGH} or count by (participant, policy) ({HELD}) > 0",
    ],
)
def test_an_alert_that_holds_itself_is_told(tmp_path: Path, expr: str) -> None:
    [told] = warned(tmp_path, "lint/never_resolves", f"record: b:held\nexpr: '{HELD}'", alert_rule(expr))

    assert told.startswith("holds itself: once it fires nothing ends it")


@pytest.mark.parametrize(
    "expr",
    [
        f"{HIGH} or (dict_rate_limit_utilization_percent > 75 and on (participant, policy) {HELD})",
        f"{HIGH} or ({HELD} and on (participant) dict_rate_limit_up == 0)",
        f"{HIGH} or ({HELD} unless on (participant, policy) dict_rate_limit_utilization_percent < 50)",
        f'{HIGH} or ALERTS{{alertname="B"}}',
        f'{HIGH} or ALERTS{{alertname="A", policy="KEYS_CHECK"}}',
        f'{HIGH} or ALERTS{{alertname="A", severity="critical"}}',
        f'{HIGH} or ALERTS{{alertname="A", alertstate="pending"}}',
        f"{HIGH} or (time() - ALERTS_FOR_STATE{{alertname='A'}} < 600)",
        f"{HIGH} or (changes({HELD}[1h]) > 2)",
        HIGH,
        f'{HIGH} or ({HELD} unless on (participant, policy) ALERTS{{alertname="B"}})',
        f"{HIGH} or {HELD} offset 10m",
        f"{HIGH} or max_over_time({HELD.rstrip()}[10m] offset 1h)",
        f"{HIGH} or max by (participant) (ALERTS_FOR_STATE{{alertname='A', alertstate='firing'}})",
        f"{HIGH} or (dict_rate_limit_error_404_rate and on (participant, policy) {HELD})",
    ],
)
def test_one_that_ends_is_not(tmp_path: Path, expr: str) -> None:
    other = alert_rule("dict_rate_limit_up == 0", name="B")

    assert warned(tmp_path, "lint/never_resolves", alert_rule(expr), other) == []
