"""An alert that resolves during an outage of the Bridge: nothing keeps it firing when its gauges go stale."""

from __future__ import annotations

from exporter.rules.finding import Location
from exporter.rules.lint.all_rules import SCRAPED_LABELS
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import GOES_STALE, UP, Presence, presence
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS


def check(context: Context) -> Problems:
    rule = context.rule
    if rule.kind == "recording" or context.looked_at.isdisjoint(GOES_STALE):
        return
    if (
        presence(context.tree, context.situations.of(up=False, figures=False, alert=context.own_alert))
        is Presence.NEVER
    ):
        identity = ", ".join(_identity(context))
        message = (
            "has no outage branch: while the Bridge does not answer it resolves as soon as its gauges are no longer "
            f'served; add `or max by ({identity}) ({ALERTS}{{alertname="{rule.name}", alertstate="firing"}} '
            f"and on ({PARTICIPANT}) {UP} == 0)`"
        )
        yield Location(context.parsed.expr.line), message


def _identity(context: Context) -> list[str]:
    """Returns the labels that its alerts have of their series: the branch has to keep them all."""
    shown = (context.rules.labels_of(one) for one in context.selected if one.metric not in ALERT_SERIES)
    others = context.labels(context.tree) & frozenset[str]().union(*shown) - SCRAPED_LABELS - {PARTICIPANT, POLICY}
    per_policy = context.rule.kind == "alerting" and context.rule.per_policy
    return [PARTICIPANT, *([POLICY] if per_policy else []), *sorted(others)]
