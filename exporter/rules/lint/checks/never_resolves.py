"""An alert that holds itself, whatever its figures: once it fires it goes on for ever."""

from __future__ import annotations

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import Presence, presence
from exporter.rules.promql.sources import ALERT_SERIES


def check(context: Context) -> Problems:
    rule = context.rule
    if rule.kind == "recording" or context.looked_at.isdisjoint(ALERT_SERIES):
        return
    firing = {**rule.fixed_labels, "alertname": rule.name, "alertstate": "firing"}
    held, free = (presence(context.tree, context.situation(up=True, figures=True, alert=a)) for a in (firing, None))
    if held is Presence.ALWAYS and free is not Presence.ALWAYS:
        message = (
            "never resolves: what it selects of its own alerts keeps it firing while the Bridge answers; "
            "let that ask for figures, or for an outage, too"
        )
        yield Location(context.parsed.expr.line), message
