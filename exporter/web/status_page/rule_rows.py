"""The status page's table of rules. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from exporter.alerts.alert import AlertState
from exporter.web.sources import CurrentState, RuleGroupStatus, RuleStatus
from exporter.web.status_page.formatting import short_paths


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule, how many of its alerts are firing and pending, and the end of its file's path."""

    group: RuleGroupStatus
    rule: RuleStatus
    firing: int
    pending: int
    file: str


def rule_rows(state: CurrentState) -> Iterator[RuleRow]:
    counts = Counter((alert.group, alert.name, alert.state) for alert in state.alerts)
    files = short_paths(group.file for group in state.groups)
    for group in state.groups:
        for rule in group.rules:
            firing = counts[group.name, rule.name, AlertState.FIRING]
            pending = counts[group.name, rule.name, AlertState.PENDING]
            yield RuleRow(group, rule, firing, pending, files[group.file])
