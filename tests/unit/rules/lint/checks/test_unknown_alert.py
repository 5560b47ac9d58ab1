"""Selectors of alerts that no rule raises are told, by name and by what else these alerts have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rules import alert_rule, warned

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("matchers", "message"),
    [
        ('alertname="Low", severity="critical"', '`severity="critical"`, severity of these alerts is info'),
        ('alertname="Low", alertstate="pending"', '`alertstate="pending"`, without `for` an alert fires at once'),
        ('alertname="Low", team!="tokens"', '`team!="tokens"`, team of these alerts is tokens'),
        (
            'alertname=~"Low|Slow", severity="critical"',
            '`severity="critical"`, severity of these alerts is info or warning',
        ),
        ('alertname="Low", severity="info", team="tokens", alertstate="firing"', ""),
        ('alertname="Slow", policy="KEYS_CHECK"', ""),
        ('alertname="Slow", alertstate="pending"', ""),
        ('alertname="Low", policy=""', ""),
        ('alertname=~"Low|Slow", severity="warning"', ""),
        ('severity="critical"', ""),
        ('alertname="Low", severity="page"', ""),
    ],
)
def test_what_no_alert_of_that_name_has_is_told(tmp_path: Path, matchers: str, message: str) -> None:
    low = alert_rule("dict_rate_limit_up == 0", name="Low").replace("severity: info", "severity: info, team: tokens")
    slow = alert_rule("dict_rate_limit_capacity < 5", "for: 1m", name="Slow").replace("info", "warning")
    asks = alert_rule(f"dict_rate_limit_up == 0 unless on (participant) ALERTS{{{matchers}}}")

    told = warned(tmp_path, "lint/unknown_alert", low, slow, asks)

    assert told == ([message.replace(", ", " selects nothing here: ", 1)] if message else [])


def test_a_name_among_several_that_no_rule_has_is_told(tmp_path: Path) -> None:
    asks = alert_rule('dict_rate_limit_up == 0 unless on (participant) ALERTS{alertname=~"A|Lwo|L(ow|OW)"}')

    told = warned(tmp_path, "lint/unknown_alert", alert_rule("dict_rate_limit_up == 0", name="Low"), asks)

    assert told == [
        '`alertname=~"A|Lwo|L(ow|OW)"`: no rule raises an alert named "Lwo"',
        '`alertname=~"A|Lwo|L(ow|OW)"`: no rule raises an alert named "L(OW)"; did you mean Low?',
    ]


@pytest.mark.parametrize("matcher", ['policy="KEYS_CHECK"', 'psp_category=~".+"', 'polcy="KEYS_CHECK"'])
def test_a_label_that_no_alert_of_that_name_has_is_told_once(tmp_path: Path, matcher: str) -> None:
    low = alert_rule("dict_rate_limit_up == 0", name="Low")
    selector = f'ALERTS{{alertname="Low", {matcher}}}'
    asks = alert_rule(f"dict_rate_limit_up == 0 unless on (participant) {selector}")

    assert warned(tmp_path, "lint/unknown_alert", low, asks) == []
    [told] = warned(tmp_path, "lint/unknown_label", low, asks)
    assert told.startswith(f"`{selector}`: these alerts have no label {matcher.partition('=')[0]}")


def test_nothing_is_told_of_what_a_rule_that_does_not_compile_may_make(tmp_path: Path) -> None:
    broken = "alert: Two\nexpr: broken\nlabels: {severity: critical, team: pix}"
    record = "record: 'a:b'\nexpr: max by (participant) (dict_rate_limit_capacity)"
    selector = 'ALERTS{alertname="Two", severity="critical", team="pix", zone="x"}'
    asks = alert_rule(
        f"dict_rate_limit_capacity < 5 and on (participant, policy) {selector} and on (participant, policy) a:b",
        name="Asks",
    ).replace("runbook_url: x", "runbook_url: '{{ $labels.zone }}'")
    rules = alert_rule("dict_rate_limit_up == 0", name="Two"), broken, record, "record: 'a:b'\nexpr: broken", asks

    for check in ("unknown_alert", "unknown_label", "unmatched_sides", "empty_template_label"):
        assert warned(tmp_path, f"lint/{check}", *rules) == []


def test_alerts_for_state_have_no_state(tmp_path: Path) -> None:
    asks = alert_rule(
        'dict_rate_limit_up == 0 unless on (participant) ALERTS_FOR_STATE{alertname="A", alertstate="firing"}'
    )

    assert warned(tmp_path, "lint/unknown_label", asks)


def test_nothing_is_told_of_an_alert_whose_rule_does_not_compile(tmp_path: Path) -> None:
    asks = alert_rule('dict_rate_limit_up == 0 unless on (participant) ALERTS{alertname="B", severity="critical"}')

    assert warned(tmp_path, "lint/unknown_alert", alert_rule("broken", name="B"), asks) == []
