"""An alert that resolves during an outage of the Bridge: nothing keeps it firing when its gauges go stale."""

from __future__ import annotations

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import GOES_STALE, UP, Presence, presence
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERTS


def check(context: Context) -> Problems:
    rule = context.rule
    if rule.kind == "recording" or context.looked_at.isdisjoint(GOES_STALE):
        return
    firing = {**rule.fixed_labels, "alertname": rule.name, "alertstate": "firing"}
    if presence(context.tree, context.situation(up=False, figures=False, alert=firing)) is Presence.NEVER:
        identity = f"{PARTICIPANT}, {POLICY}" if rule.per_policy else PARTICIPANT
        message = (
            "has no outage branch: while the Bridge does not answer it resolves as soon as its gauges are no longer "
            f'served; add `or max by ({identity}) ({ALERTS}{{alertname="{rule.name}", alertstate="firing"}} '
            f"and on ({PARTICIPANT}) {UP} == 0)`"
        )
        yield Location(context.parsed.expr.line), message
