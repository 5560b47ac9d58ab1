"""Durations that are over before the next poll are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.rules.lint.known_values import Installation
from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("key", ["for", "keep_firing_for"])
def test_a_duration_shorter_than_a_poll_is_told(tmp_path: Path, key: str) -> None:
    def found(duration: str, interval_seconds: float = 15) -> list[str]:
        installation = Installation(poll_interval_seconds=interval_seconds)
        rule = alert_rule("dict_rate_limit_up == 0", f"{key}: {duration}")
        return warned(tmp_path, "lint/short_for", rule, installation=installation)

    why = "is shorter than a poll (15s): unless a read comes between, it lasts until the next one"
    assert found("14s") == [f"{key}: 14s {why}, as {key}: 15s does"]
    assert [found(duration) for duration in ("0s", "15s", "1m")] == [[], [], []]
    assert found("14s", 10) == []
    assert found("15s", 30)
