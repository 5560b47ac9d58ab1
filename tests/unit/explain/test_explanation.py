"""Why the alerts about a bucket are, or aren't, firing now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from exporter.alerts.alert import Alert, AlertState, Severity
from exporter.buckets.bucket import PolicyName
from exporter.explain.explanation import concerns, explain_current
from exporter.explain.sentences import sentences
from exporter.rules.files.loading import load
from tests.support.builders import POLICY, alert, at, bucket, poll, view
from tests.support.rules import rule_file

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.rules.rule import CompiledRule

LEVEL = "max by (participant, policy) (dict_rate_limit_utilization_percent) >= 80"
DOWN = "alert: Down\nexpr: max by (participant) (dict_rate_limit_up) == 0\nlabels: {severity: critical}"


def low(expr: str = LEVEL, more: str = "") -> str:
    return f"alert: Low\nexpr: {expr}\n{more}labels: {{severity: warning}}"


def rules(folder: Path, *texts: str) -> list[CompiledRule]:
    return list(load([str(rule_file(folder, *texts))]).rules)


def explained(
    compiled: list[CompiledRule], *alerts: Alert, left: int = 10, **failing: str
) -> list[tuple[str, str, str]]:
    now = view(poll(bucket(left, capacity=100)))
    errors = {("dict", name): error for name, error in failing.items()}
    explanations = explain_current(compiled, now, alerts, POLICY, errors)
    return [(why.rule.name, why.state, " ".join(sentences(why, at(5)))) for why in explanations]


def open_alert(name: str = "Low", **fields: Any) -> Alert:
    return alert(name, group="dict", **fields)


def test_a_rule_that_is_not_true_says_so_and_claims_nothing_about_the_past(tmp_path: Path):
    assert explained(rules(tmp_path, low()), left=90) == [
        ("Low", "inactive", "Not firing: the expression is not true for this bucket.")
    ]


def test_a_firing_alert_says_since_when_and_until_when(tmp_path: Path):
    compiled = rules(tmp_path, low(more="keep_firing_for: 1m\n"))

    assert explained(compiled, open_alert(seconds=-60)) == [
        (
            "Low",
            "firing",
            (
                "Firing since 2026-03-10 11:59:00 (1m). "
                "It keeps firing for 1m (`keep_firing_for`) once the expression is not true."
            ),
        )
    ]


def test_an_alert_that_is_kept_says_what_keeps_it_firing(tmp_path: Path):
    compiled = rules(tmp_path, low(more="keep_firing_for: 1m\n"))

    [(_, _, words)] = explained(compiled, open_alert(seconds=-60, keep_firing_since=at(0)), left=90)

    assert "`keep_firing_for` (1m) keeps the alert firing" in words


def test_a_pending_alert_says_what_it_waits_for(tmp_path: Path):
    compiled = rules(tmp_path, low(more="for: 1m\n"))

    [(_, current, words)] = explained(compiled, open_alert(seconds=-15, state=AlertState.PENDING))

    assert current == "pending"
    assert "15s of the 1m that `for` asks" in words


def test_a_rule_about_the_participant_is_explained_only_where_its_alert_is_open(tmp_path: Path):
    compiled = rules(tmp_path, low(), DOWN)

    quiet = explained(compiled, left=90)
    loud = explained(compiled, open_alert("Down", policy=None, severity=Severity.CRITICAL), left=90)

    assert [name for name, _, _ in quiet] == ["Low"]
    assert [(name, current) for name, current, _ in loud] == [("Low", "inactive"), ("Down", "firing")]


def test_alerts_of_other_buckets_are_not_explained(tmp_path: Path):
    assert [current for _, current, _ in explained(rules(tmp_path, low()), open_alert(policy="OTHER"))] == ["inactive"]


def test_a_rule_that_failed_says_what_it_said(tmp_path: Path):
    [(_, _, words)] = explained(rules(tmp_path, low()), Low="many-to-many")

    assert words.startswith("The rule failed at that poll, which leaves its alerts as they are: many-to-many.")


@pytest.mark.parametrize(
    ("matcher", "looks"),
    [("", True), ('{policy="ENTRIES_WRITE"}', True), ('{policy=~"CLAIMS.*"}', False), ('{policy!="KEYS_CHECK"}', True)],
)
def test_a_rule_looks_at_the_buckets_that_its_selectors_let_through(tmp_path: Path, matcher: str, *, looks: bool):
    [compiled] = rules(tmp_path, low(f"max by (participant, policy) (dict_rate_limit_capacity{matcher}) > 0"))

    assert concerns(compiled, PolicyName("ENTRIES_WRITE")) is looks
