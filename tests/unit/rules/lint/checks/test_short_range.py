"""Ranges with fewer samples than a function needs are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.rules.lint.known_values import Installation
from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


UP = "dict_rate_limit_up"


def found(folder: Path, expr: str, interval_seconds: float = 15) -> list[str]:
    installation = Installation(poll_interval_seconds=interval_seconds)
    return warned(folder, "lint/short_range", alert_rule(expr), installation=installation)


def test_a_range_of_too_few_samples_is_told(tmp_path: Path) -> None:
    polls, enough = "of polls every 15s, but for reads between", "1m hold enough, one failed poll aside"

    assert found(tmp_path, f"rate({UP}[20s]) > 0") == [
        f"`{UP}[20s]` holds one sample or two {polls}: rate needs two; {enough}"
    ]
    assert found(tmp_path, f"rate({UP}[15s]) > 0") == [
        f"`{UP}[15s]` holds one sample {polls}: rate needs two; {enough}"
    ]
    assert found(tmp_path, f"max_over_time({UP}[14s]) > 0") == [f"`{UP}[14s]` holds one sample {polls}; {enough}"]


@pytest.mark.parametrize(
    "expr",
    [f"rate({UP}[30s]) > 0", f"max_over_time({UP}[15s]) > 0", f"changes({UP}[30s]) > 0", f"{UP} == 0",
     f"rate({UP}[20s] anchored) > 0", f"max_over_time({UP}[10s:5s]) > 0"],
)  # fmt: skip
def test_one_that_is_long_enough_is_not(tmp_path: Path, expr: str) -> None:
    assert found(tmp_path, expr) == []


def test_an_installation_has_its_poll_interval(tmp_path: Path) -> None:
    assert found(tmp_path, f"rate({UP}[30s]) > 0", 20)
    assert found(tmp_path, f"rate({UP}[20s]) > 0", 10) == []
