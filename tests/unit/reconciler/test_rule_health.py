"""How rules last went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from exporter.alerts.alert import RuleFailure
from exporter.metrics import Metrics
from exporter.reconciler.rule_health import RuleHealth, RuleHealthTracker
from exporter.rules.files import loading
from exporter.store.reconciliation import Reconciliation
from tests.support.builders import PARTICIPANT, at, bucket, poll, view
from tests.support.logs import logged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from exporter.rules.rule import CompiledRule

OTHER = "87654321"


@pytest.fixture
def rules(tmp_path: Path) -> Callable[..., Sequence[CompiledRule]]:
    """Makes a rule ``A`` in each of the groups, which looks at ``expr``."""

    def made(*groups: str, expr: str = "dict_rate_limit_up == 0") -> Sequence[CompiledRule]:
        file = tmp_path / "rules.yml"
        rule = f"[{{alert: A, expr: '{expr}', labels: {{severity: info}}}}]"
        file.write_text("groups:\n" + "".join(f"- {{name: {group}, rules: {rule}}}\n" for group in groups))
        return loading.load([str(file)]).rules

    return made


def reconciled(*failed: str, seconds: float = 0, participant: str = PARTICIPANT) -> Reconciliation:
    """A reconciliation in which the rule ``A`` failed in these groups."""
    failures = tuple(RuleFailure(group, "A", f"no {group}") for group in failed)
    made = poll(seconds=seconds, participant=participant)
    return Reconciliation(made, evaluated=True, alerts_before={}, alerts_after={}, failures=failures)


def test_a_rule_that_was_not_evaluated_has_no_health(rules) -> None:
    (rule,) = rules("g")

    assert RuleHealthTracker(Metrics().rules).of(rule) == RuleHealth()


def test_a_rule_is_well_as_of_the_last_poll_of_a_batch(rules) -> None:
    loaded = rules("g", "h")
    health = RuleHealthTracker(Metrics().rules)

    health.note(loaded, [reconciled(), reconciled(seconds=15)], [view()], 0.5)

    assert health.of(loaded[0]) == RuleHealth(at(15), duration_seconds=0.25, error=None)


def test_a_rule_fails_until_every_participant_at_which_it_failed_has_it_evaluated_again(rules, caplog) -> None:
    (rule,) = loaded = rules("g")
    health = RuleHealthTracker(Metrics().rules)
    errors = []

    for batch in (
        [reconciled("g"), reconciled("g", participant=OTHER)],
        [reconciled()],
        [reconciled("g", participant=OTHER)],
        [reconciled(participant=OTHER)],
    ):
        health.note(loaded, batch, [], 0.1)
        errors.append(health.of(rule).error)

    assert errors == ["no g", "no g", "no g", None]
    assert logged(caplog, "participant", "error") == [
        ("rule evaluation failed, its alerts stay as they are", PARTICIPANT, "no g"),
        ("rule evaluation failed, its alerts stay as they are", OTHER, "no g"),
    ]


def test_a_rules_selectors_are_shown_until_they_have_selected_a_series(rules) -> None:
    (rule,) = loaded = rules("g", expr='dict_rate_limit_capacity{policy="X"} < 1')
    health = RuleHealthTracker(Metrics().rules)

    health.note(loaded, [reconciled()], [view()], 0.1)
    assert health.of(rule).unmatched_selectors == ('dict_rate_limit_capacity{policy="X"}',)

    health.note(loaded, [reconciled()], [view(poll(bucket(policy="X")))], 0.1)
    assert health.of(rule).unmatched_selectors == ()


def test_another_process_that_evaluates_leaves_no_health(rules) -> None:
    (rule,) = loaded = rules("g")
    health = RuleHealthTracker(Metrics().rules)
    health.note(loaded, [reconciled("g")], [view()], 0.1)

    health.reset()

    assert health.of(rule) == RuleHealth()


def test_rules_that_are_removed_leave_nothing_behind(rules) -> None:
    metrics = Metrics()
    health = RuleHealthTracker(metrics.rules)
    before = rules("kept", "removed")
    health.note(before, [reconciled("kept", "removed")], [view()], 0.1)
    for group in ("kept", "removed"):
        metrics.rules.evaluation_failures.labels(group).inc()

    health.note(rules("kept"), [reconciled("kept")], [view()], 0.1)

    page = metrics.exposition().decode()
    assert 'rule_group="kept"' in page
    assert 'rule_group="removed"' not in page
    assert [health.of(rule).error for rule in before] == ["no kept", None]
