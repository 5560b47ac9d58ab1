"""``ALERTS`` of a name that no rule of these files has, or of a state or label that no alert of that name has."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.rules.golang import full_match, quote
from exporter.rules.lint.all_rules import MOST_ALERTS
from exporter.rules.lint.alternatives import unmatched_alternatives
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS
from exporter.rules.promql.tree import Matcher, Selector
from exporter.rules.rule import CompiledAlertingRule
from exporter.structures import did_you_mean


def check(context: Context) -> Problems:
    for selected in context.selected:
        about_names = [matcher for matcher in selected.conditions if matcher.label == "alertname"]
        if selected.metric not in ALERT_SERIES or not about_names:
            continue
        names = context.rules.alerts_of(selected)
        if not names:
            yield context.about(selected, f" selects nothing here: {_no_alert(context, about_names)}")
        elif len(names) <= MOST_ALERTS and not context.rules.is_unknown(selected):
            yield from _unfulfilled(context, selected, [one for name in names for one in context.rules.alerting[name]])
        for matcher in about_names if names else ():
            if matcher.operator in {"=~", "!~"}:
                for alone in unmatched_alternatives(matcher.value, lambda one: _is_a_name(one, context)):
                    hint = did_you_mean(alone, context.rules.alert_names)
                    yield context.about(matcher, f": no rule raises an alert named {quote(alone)}{hint}")


def _no_alert(context: Context, about_names: Sequence[Matcher]) -> str:
    name = next((matcher.value for matcher in about_names if matcher.operator == "="), about_names[0].value)
    names = context.rules.alert_names
    return f"no rule raises an alert of that name{'' if name in names else did_you_mean(name, names)}"


def _is_a_name(pattern: str, context: Context) -> bool:
    names = context.rules.alert_names
    return pattern in names if pattern.isidentifier() else any(map(full_match(pattern), names))


def _unfulfilled(context: Context, selected: Selector, raising: Sequence[CompiledAlertingRule]) -> Problems:
    """Yields the matchers that no alert of the rules fulfils, though others could."""
    for matcher in selected.conditions:
        matches = matcher.predicate()
        known = context.installation.values(selected.metric, matcher.label, context.rules.written)
        if known is not None and known.names is not None and not any(map(matches, known.names)):
            continue  # another check tells of that
        if matcher.label == "alertstate" and selected.metric == ALERTS:
            if not matches("firing") and not any(rule.for_seconds for rule in raising):
                yield context.about(matcher, " selects nothing here: without `for` an alert fires at once")
        elif all((value := rule.fixed_labels.get(matcher.label)) and not matches(value) for rule in raising):
            values = " or ".join(sorted({rule.fixed_labels[matcher.label] for rule in raising}))
            yield context.about(matcher, f" selects nothing here: {matcher.label} of these alerts is {values}")
