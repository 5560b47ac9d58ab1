"""An alert that resolves during an outage of the Bridge: nothing keeps it firing when its gauges go stale."""

from __future__ import annotations

from typing import Final

from exporter.rules.finding import Location
from exporter.rules.lint.all_rules import SCRAPED_LABELS, pins_alert
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import GOES_STALE, UP, Presence, presence
from exporter.rules.promql.series import METRIC_NAME, PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS

_NOT_OF_SERIES: Final = SCRAPED_LABELS | {METRIC_NAME, "alertname", "alertstate", "severity"}


def check(context: Context) -> Problems:
    rule = context.rule
    if rule.kind == "recording" or context.looked_at.isdisjoint(GOES_STALE):
        return
    outage = context.situations.of(rule.name, up=False, figures=False, alert=context.own_alert)
    if presence(context.tree, outage) is Presence.NEVER:
        identity = ", ".join(_identity(context))
        message = (
            "has no outage branch: while the Bridge does not answer it resolves, sooner or later; "
            f'add `or max by ({identity}) ({ALERTS}{{alertname="{rule.name}", alertstate="firing"}} '
            f"and on ({PARTICIPANT}) {UP} == 0)`"
        )
        yield Location(context.parsed.expr.line), message


def _identity(context: Context) -> list[str]:
    """Returns the labels that its alerts have of their series: the branch has to keep them all."""
    per_policy = context.rule.kind == "alerting" and context.rule.per_policy
    always = [PARTICIPANT, *([POLICY] if per_policy else [])]
    if context.is_unknown or any(one.metric in ALERT_SERIES and not pins_alert(one) for one in context.selected):
        return always
    others = context.labels(context.tree) - _NOT_OF_SERIES - {PARTICIPANT, POLICY} - context.rule.labels.keys()
    return [*always, *sorted(others)]
