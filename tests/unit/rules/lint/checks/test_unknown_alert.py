"""Selectors of alerts that no rule raises are told, by name and by what else these alerts have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("matchers", "expected"),
    [
        ('alertname="Low", severity="critical"', 'severity="critical"'),
        ('alertname="Low", alertstate="pending"', 'alertstate="pending"'),
        ('alertname="Low", team!="tokens"', 'team!="tokens"'),
        ('alertname=~"Low|Slow", severity="critical"', 'severity="critical"'),
        ('alertname="Low", severity="info", team="tokens", alertstate="firing"', ""),
        ('alertname="Low", policy="KEYS_CHECK"', ""),
        ('alertname="Slow", alertstate="pending"', ""),
        ('alertname=~"Low|Slow", severity="warning"', ""),
        ('severity="critical"', ""),
    ],
)
def test_what_no_alert_of_that_name_has_is_told(tmp_path: Path, matchers: str, expected: str) -> None:
    low = alert_rule("dict_rate_limit_up == 0", name="Low").replace("severity: info", "severity: info, team: tokens")
    slow = alert_rule("dict_rate_limit_up == 0", "for: 1m", name="Slow").replace("info", "warning")
    asks = alert_rule(f"dict_rate_limit_up == 0 unless on (participant) ALERTS{{{matchers}}}")

    told = warned(tmp_path, "lint/unknown_alert", low, slow, asks)

    assert told == [f"`{expected}` selects nothing here: no alert of that name has it"] * bool(expected)


def test_nothing_is_told_of_an_alert_whose_rule_does_not_compile(tmp_path: Path) -> None:
    asks = alert_rule('dict_rate_limit_up == 0 unless on (participant) ALERTS{alertname="B", severity="critical"}')

    assert warned(tmp_path, "lint/unknown_alert", alert_rule("broken", name="B"), asks) == []
