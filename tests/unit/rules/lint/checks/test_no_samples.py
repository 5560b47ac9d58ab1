"""Selectors of a time that has no samples are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.rules.lint.known_values import Installation
from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


UP = "dict_rate_limit_up"


@pytest.mark.parametrize(
    "selector",
    [f"{UP} @ 1609746000", f"{UP} @ 1609746000 offset 1h", f"max_over_time({UP}[5m] @ 1609746000)",
     f"max_over_time({UP}[5m:] @ 1609746000)", f"max_over_time(({UP} @ 1609746000)[5m:])"],
)  # fmt: skip
def test_a_fixed_time_is_told(tmp_path: Path, selector: str) -> None:
    day = Installation(max_range_seconds=86_400)

    [told] = warned(tmp_path, "lint/no_samples", alert_rule(f"{selector} == 0"), installation=day)

    assert told.endswith("is of a fixed time: samples are kept for 1d (rules.max_range), and then it selects nothing")


@pytest.mark.parametrize(
    "selector",
    [f"{UP} offset -10m", f"{UP} offset -5m", f"max_over_time({UP}[5m] offset -5m)",
     f"max_over_time({UP}[5m:1m] offset -10m)", f"changes({UP}[2m] offset -3m)"],
)  # fmt: skip
def test_what_lies_ahead_is_told(tmp_path: Path, selector: str) -> None:
    [told] = warned(tmp_path, "lint/no_samples", alert_rule(f"{selector} == 0"))

    assert told.endswith("selects nothing: it looks at what is ahead of the evaluation")


@pytest.mark.parametrize(
    "selector",
    [f"{UP} offset -4m", f"{UP} offset 10m", f"{UP} @ end()", f"max_over_time({UP}[5m] offset -4m)",
     f"max_over_time({UP}[5m:1m] offset -5m)", f"max_over_time({UP}[5m] @ start())", UP],
)  # fmt: skip
def test_what_has_samples_is_not(tmp_path: Path, selector: str) -> None:
    assert warned(tmp_path, "lint/no_samples", alert_rule(f"{selector} == 0")) == []
