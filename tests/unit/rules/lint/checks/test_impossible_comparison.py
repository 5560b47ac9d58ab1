"""Comparisons of which the outcome never changes are told, of what is computed, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


USED = "dict_rate_limit_utilization_percent"


@pytest.mark.parametrize(
    ("expr", "verdict"),
    [
        (f"100 - {USED} > 100", f"never true: `100 - {USED}` is 0 to 100"),
        (f"{USED} / 100 > 80", f"never true: `{USED} / 100` is 0 to 1"),
        (f"-{USED} > 5", f"never true: `-{USED}` is -100 to 0"),
        (f"(0.5 * {USED}) + 1 <= 51", "always true"),
        (f"count by (participant) ({USED}) < 1", "never true"),
        (f"increase({USED}[5m]) < 0", "never true"),
        (f"changes({USED}[5m]) >= 0", "always true"),
        ("+dict_rate_limit_up > 1", "never true: dict_rate_limit_up is 0 to 1"),
        ("dict_rate_limit_available_tokens == NaN", "compares with NaN, which nothing equals"),
        (
            f"count_over_time({USED}[5m]) > 0",
            "always true: `count_over_time(dict_rate_limit_utilization_percent[5m])` is 1 at least",
        ),
        (f"present_over_time({USED}[5m]) == 2", "never true"),
        (f"group by (participant) ({USED}) > 1", "is 1"),
        ("abs(dict_rate_limit_available_tokens) < 0", "never true"),
        ("sum by (participant) (dict_rate_limit_capacity) < 0", "never true"),
        ("ALERTS == 0", "never true: `ALERTS` is 1"),
    ],
)
def test_an_impossible_comparison_is_told(tmp_path: Path, expr: str, verdict: str) -> None:
    [told] = warned(tmp_path, "lint/impossible_comparison", alert_rule(expr))

    assert verdict in told


@pytest.mark.parametrize(
    "expr",
    [
        f"100 - {USED} > 99",
        f"count by (participant) ({USED} == 100) > 0",
        f"(count by (participant) ({USED} == 100)) >= 1",
        f"sum by (participant) (count by (participant, policy) ({USED} == 100)) > 0",
        f"{USED} / dict_rate_limit_capacity > 5",
        f"100 / {USED} > 500",
        "increase(dict_rate_limit_available_tokens[5m]) < 0",
        "dict_rate_limit_exhaustion_projection_seconds - dict_rate_limit_recovery_eta_seconds < 0",
        f"sum by (participant) ({USED}) > 200",
        "rate(dict_rate_limit_responses_total[5m] smoothed) < 0",
        f"{USED} % 7 > 8",
        "1 / dict_rate_limit_available_tokens > 0.5",
        "5 * 60 < dict_rate_limit_recovery_eta_seconds < 3600",
        f"max by (participant, policy) (2 * 50 > {USED}) < 90",
        "(1 - 1 < dict_rate_limit_up) == 1",
        "ALERTS == 1",
        f"present_over_time({USED}[5m]) == 1",
        "dict_rate_limit_available_tokens >= -Inf",
        "stddev by (participant) (dict_rate_limit_exhaustion_projection_seconds) >= 0",
        " + ".join([USED, *["1"] * 340, "0"]) + " > 400",
    ],
)
def test_one_that_depends_on_the_figures_is_not(tmp_path: Path, expr: str) -> None:
    assert warned(tmp_path, "lint/impossible_comparison", alert_rule(expr)) == []
