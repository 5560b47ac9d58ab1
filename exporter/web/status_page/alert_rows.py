"""Open alerts as lines of the pages, and what is said of an alert: its value, what it waits for, its changes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import Alert, AlertState, Severity
from exporter.buckets.observation import View
from exporter.durations import spaced
from exporter.web.sources import CurrentState, RuleStatus
from exporter.web.status_page.formatting import figure, unit_of
from exporter.web.status_page.queries import StatusQuery

if TYPE_CHECKING:
    from exporter.store.timeline import Change


_SEVERITIES: Final = tuple(Severity)
"""From the least to the most severe."""


REASONS: Final = {
    "recovered": "its condition was no longer true",
    "policy_gone": "the answers no longer held the bucket",
    "no_data": "its series vanished",
    "rule_removed": "its rule was removed",
    "rule_changed": "its rule was changed",
    "participant_removed": "the participant was removed from the configuration",
}
"""Why an alert resolved."""

_TOKEN_GAUGES: Final = ("dict_rate_limit_available_tokens", "dict_rate_limit_utilization_percent")


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One line: an alert, and ``also`` those that fire because the same bucket holds few tokens, less severely."""

    alert: Alert
    age: timedelta
    value: str
    waits_for: str
    also: list[Alert] = field(default_factory=list)


def alert_rows(state: CurrentState, query: StatusQuery) -> list[AlertRow]:
    """Returns the open alerts that the query matches, worst first, and of equals the oldest."""
    rules = {(group.name, rule.name): rule for group in state.groups for rule in group.rules}
    alerts = [alert for alert in state.alerts if query.matches(alert.participant, alert.policy)]
    alerts.sort(key=lambda alert: (-danger(alert), alert.active_since, alert.participant, alert.policy or ""))
    rows: list[AlertRow] = []
    about_tokens: dict[tuple[str, str | None], AlertRow] = {}
    for alert in alerts:
        rule, view = rules.get((alert.group, alert.name)), state.views.get(alert.participant)
        bucket = alert.participant, alert.policy
        is_low = alert.policy is not None and alert.state is AlertState.FIRING and is_about_tokens(rule)
        if is_low and bucket in about_tokens:
            about_tokens[bucket].also.append(alert)
            continue
        age = state.now - (alert.firing_since or alert.active_since)
        rows.append(AlertRow(alert, age, value_text(alert, rule, view), waits_for(alert, rule, view, state.now)))
        if is_low:
            about_tokens[bucket] = rows[-1]
    return rows


def danger(alert: Alert) -> int:
    """Returns how bad an alert is, from 1 on: firing is worse than pending; then the severity counts."""
    return 1 + _SEVERITIES.index(alert.severity) + (10 if alert.state is AlertState.FIRING else 0)


def is_about_tokens(rule: RuleStatus | None) -> bool:
    return rule is not None and any(gauge in rule.expr for gauge in _TOKEN_GAUGES)


def value_text(alert: Alert, rule: RuleStatus | None, view: View | None) -> str:
    """Returns an alert's value with its unit, where the rule's expression has one."""
    if rule is None:
        return figure(alert.value)
    answered = view is not None and view.up and (alert.policy is None or alert.policy in view.buckets)
    if alert.value == 1 and not answered and "ALERTS" in rule.expr:
        return "kept firing"
    unit = unit_of(rule.expr)
    if unit is None:
        return figure(alert.value)
    if unit == "s":
        return spaced(alert.value)
    return f"{figure(100 * alert.value)} %" if unit == "share" else f"{figure(alert.value)} {unit}"


def waits_for(alert: Alert, rule: RuleStatus | None, view: View | None, now: datetime) -> str:
    """Returns what must happen for the alert to change its state, as a phrase."""
    if alert.state is AlertState.PENDING:
        if rule is None:
            return "its condition to stay true"
        left = alert.active_since + timedelta(seconds=rule.for_seconds) - now
        return f"its condition to stay true for {spaced(left.total_seconds())} more"
    if alert.keep_firing_since is not None and rule is not None:
        left = alert.keep_firing_since + timedelta(seconds=rule.keep_firing_for_seconds) - now
        return f"its condition to stay away for {spaced(left.total_seconds())} more"
    if view is not None and not view.up:
        return "the Bridge to answer"
    visible = view.buckets.get(alert.policy) if view is not None and alert.policy is not None else None
    if visible is not None and (rule is None or is_about_tokens(rule)):
        bucket = visible.observation.bucket
        if bucket.available_tokens < bucket.capacity:
            return f"tokens to come back (full in {spaced(bucket.recovery_eta_seconds)})"
    return "its condition to end"


def describe_change(change: Change) -> str:
    """Returns what an alert waited for before a change of its state, in a sentence."""
    if change.state == "pending":
        return "Its condition became true."
    if change.state == "firing":
        waited = (change.at - change.active_since).total_seconds()
        if waited < 1:
            return "Its condition became true; it waited for nothing more."
        return f"Its condition had been true for {spaced(waited)}, as `for` asks."
    fired = spaced((change.at - (change.firing_since or change.active_since)).total_seconds())
    reason = REASONS.get(change.reason or "", change.reason or "it ended")
    kept = ""
    if change.keep_firing_since is not None and change.keep_firing_since < change.at:
        seconds = (change.at - change.keep_firing_since).total_seconds()
        kept = f", the last {spaced(seconds)} because of `keep_firing_for`"
    return f"It fired for {fired}{kept}, until {reason}."
