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


def test_a_rule_that_no_participant_had_a_series_for_is_shown_until_one_has(rules) -> None:
    metrics = Metrics()
    (rule,) = loaded = rules("g", expr="""dict_rate_limit_available_tokens{policy=~"CLAIMS_.*", policy!="X"} < 1""")
    (selector,) = (selected.text for selected in rule.selected_series)
    health = RuleHealthTracker(metrics.rules)

    def never_had_series() -> float | None:
        labels = {"rule_group": "g", "alertname": "A", "selector": selector}
        return metrics.registry.get_sample_value("dict_rate_limit_rule_never_had_series", labels)

    for policy, expected in (("KEYS_CHECK", 1), ("X", 1), ("CLAIMS_READ", 0), ("KEYS_CHECK", 0)):
        health.note(loaded, [reconciled()], [view(poll(bucket(policy=policy)))], 0.1)

        assert (health.of(rule).never_had, never_had_series()) == ((selector,) if expected else (), expected)
    assert selector == 'dict_rate_limit_available_tokens{policy=~"CLAIMS_.*", policy!="X"}'


def never_had(metrics: Metrics) -> set[tuple[str, str]]:
    """Rules and selectors of which the metric says that there was never a series."""
    samples = [one for family in metrics.registry.collect() for one in family.samples if one.value == 1]
    named = [one.labels for one in samples if one.name == "dict_rate_limit_rule_never_had_series"]
    return {(labels["alertname"], labels["selector"]) for labels in named}


def test_each_selector_of_a_rule_is_told_of_alone(rules) -> None:
    expr = (
        "dict_rate_limit_error_404_rate > 0.5 or max_over_time(dict_rate_limit_capacity[5m]) unless dict_rate_limit_up"
    )
    metrics = Metrics()

    RuleHealthTracker(metrics.rules).note(rules("g", expr=expr), [reconciled()], [view()], 0.1)

    assert never_had(metrics) == {("A", "dict_rate_limit_error_404_rate")}


def test_an_alert_on_what_is_recorded_tells_of_what_that_is_made_of(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(
        "groups:\n- name: g\n  rules:\n"
        "  - {record: 'a:b', expr: 'dict_rate_limit_capacity{policy=\"X\"} + 0 * dict_rate_limit_up or c:d'}\n"
        "  - {record: 'c:d', expr: 'a:b or dict_rate_limit_error_429_rate'}\n"
        "  - {alert: A, expr: 'c:d > 5', labels: {severity: info}}\n"
        "  - {alert: B, expr: 'dict_rate_limit_up == 0', labels: {severity: info}}\n"
    )
    loaded = loading.load([str(tmp_path / "rules.yml")]).rules
    metrics = Metrics()
    health = RuleHealthTracker(metrics.rules)

    health.note(loaded, [reconciled()], [view()], 0.1)

    assert never_had(metrics) == {
        ("A", 'dict_rate_limit_capacity{policy="X"}'),
        ("A", "dict_rate_limit_error_429_rate"),
    }
    assert [len(health.of(rule).never_had) for rule in loaded] == [2, 2, 2, 0]


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
