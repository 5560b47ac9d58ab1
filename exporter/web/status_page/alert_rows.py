"""The status page's lines of open alerts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from exporter.alerts.alert import Alert, AlertState, Severity
from exporter.web.sources import CurrentState, RuleStatus
from exporter.web.status_page.alert_phrases import is_about_tokens, value_text, waits_for
from exporter.web.status_page.queries import StatusQuery

_SEVERITY: Final = {Severity.INFO: 1, Severity.WARNING: 2, Severity.CRITICAL: 3}


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One line: an alert, and ``also`` those of the same bucket that say the same, less severely."""

    alert: Alert
    age: timedelta
    value: str
    waits_for: str
    also: tuple[Alert, ...] = ()


def alert_rows(state: CurrentState, query: StatusQuery) -> list[AlertRow]:
    """Returns the open alerts that the query matches, worst first, and of equals the oldest."""
    rules = {(group.name, rule.name): rule for group in state.groups for rule in group.rules}
    alerts = [alert for alert in state.alerts if query.matches(alert.participant, alert.policy)]
    alerts.sort(key=lambda alert: (-danger(alert), alert.active_since, alert.participant, alert.policy or ""))
    rows: list[AlertRow] = []
    for alert, *also in _lines(alerts, rules):
        rule, view = rules.get((alert.group, alert.name)), state.views.get(alert.participant)
        rows.append(
            AlertRow(
                alert,
                state.now - (alert.firing_since or alert.active_since),
                value_text(alert, rule, view),
                waits_for(alert, rule, view, state.now),
                tuple(also),
            )
        )
    return rows


def danger(alert: Alert) -> float:
    """Returns how bad an alert is: firing is worse than pending; then the severity counts."""
    return _SEVERITY[alert.severity] + (10.0 if alert.state is AlertState.FIRING else 0.0)


def worst_firing(alerts: Iterable[Alert]) -> Severity | None:
    return max((a.severity for a in alerts if a.state is AlertState.FIRING), key=_SEVERITY.__getitem__, default=None)


def _lines(alerts: Sequence[Alert], rules: Mapping[tuple[str, str], RuleStatus]) -> list[list[Alert]]:
    """Returns the alerts in their order; those that fire because one bucket holds few tokens are one line."""
    lines: list[list[Alert]] = []
    about_tokens: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        line = [alert]
        if (
            alert.policy is not None
            and alert.state is AlertState.FIRING
            and is_about_tokens(rules.get((alert.group, alert.name)))
        ):
            line = about_tokens.setdefault((alert.participant, alert.policy), [])
            line.append(alert)
        if len(line) == 1:
            lines.append(line)
    return lines
