"""`absent` of what is served after every poll is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.rules.files.loading import attempt
from exporter.rules.lint.linter import warnings
from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "expr",
    [
        'absent(dict_rate_limit_up{participant="12345678"})',
        'absent_over_time(dict_rate_limit_up{participant="12345678"}[5m]) == 1',
        'dict_rate_limit_up == 0 or absent(dict_rate_limit_refused_policies{participant="12345678"})',
        'absent(dict_rate_limit_poll_interval_seconds{participant="12345678"})',
    ],
)
def test_what_is_never_absent_is_told(tmp_path: Path, expr: str) -> None:
    [told] = warned(tmp_path, "lint/never_absent", alert_rule(expr))

    assert "is never true: it is served after every poll" in told


@pytest.mark.parametrize(
    "expr",
    [
        'absent(dict_rate_limit_capacity{participant="12345678"})',
        'absent(dict_rate_limit_up{participant="12345678", job="x"})',
        'absent(dict_rate_limit_participant_info{participant="12345678"})',
        'absent(ALERTS{participant="12345678"})',
        "dict_rate_limit_up == 0",
        'absent(dict_rate_limit_up{participant="12345678"} offset 10m)',
        'absent_over_time(dict_rate_limit_up{participant="12345678"}[5m] offset 1h)',
        'absent(dict_rate_limit_up{participant="12345678"} @ 1609746000)',
    ],
)
def test_what_may_be_absent_is_not(tmp_path: Path, expr: str) -> None:
    assert warned(tmp_path, "lint/never_absent", alert_rule(expr)) == []


def test_what_a_group_looks_at_that_looks_back_may_be_absent(tmp_path: Path) -> None:
    expr = 'absent(dict_rate_limit_up{participant="12345678"})'

    def found(group: str) -> list[str]:
        file = tmp_path / "rules.yml"
        rule = f"- {{alert: A, expr: '{expr}', labels: {{severity: info}}}}"
        file.write_text(f"groups:\n- name: g\n{group}  rules:\n  {rule}\n")
        return [one.check for one in warnings(attempt([str(file)])) if one.check == "lint/never_absent"]

    assert found("")
    assert not found("  query_offset: 10m\n")
