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
