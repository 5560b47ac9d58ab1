"""``ALERTS`` of a name that no rule of these files has, or of a state or label that no alert of that name has."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS
from exporter.rules.promql.traversal import selected_alerts
from exporter.rules.promql.tree import Matcher, Selector
from exporter.rules.rule import CompiledAlertingRule
from exporter.structures import did_you_mean


def check(context: Context) -> Problems:
    rules = context.rules
    for selected in context.selected:
        about_names = [matcher for matcher in selected.conditions if matcher.label == "alertname"]
        if selected.metric not in ALERT_SERIES or not about_names:
            continue
        names = list(selected_alerts(selected, rules.alert_names))
        if not names:
            name = next((matcher.value for matcher in about_names if matcher.operator == "="), about_names[0].value)
            meant = "" if name in rules.alert_names else did_you_mean(name, rules.alert_names)
            yield context.about(selected, f" selects nothing here: no rule raises an alert of that name{meant}")
        elif all(name in rules.alerting for name in names):
            raising = [rule for name in names for rule in rules.alerting[name]]
            matcher = _unfulfilled(selected, raising)
            if matcher is not None:
                yield context.about(matcher, " selects nothing here: no alert of that name has it")


def _unfulfilled(selected: Selector, raising: Sequence[CompiledAlertingRule]) -> Matcher | None:
    """Returns a matcher that no alert of the rules fulfils."""
    for matcher in selected.conditions:
        matches = matcher.predicate()
        if not any(value is None or matches(value) for rule in raising for value in _values(rule, selected, matcher)):
            return matcher
    return None


def _values(rule: CompiledAlertingRule, selected: Selector, matcher: Matcher) -> Sequence[str | None]:
    """Returns the values that a label of a rule's alerts can have; None among them: any."""
    if matcher.label == "alertstate" and selected.metric == ALERTS:
        return ("pending", "firing") if rule.for_seconds else ("firing",)
    return (rule.fixed_labels.get(matcher.label),)
