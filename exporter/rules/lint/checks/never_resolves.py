"""An alert that holds itself, whatever its figures: once it fires it goes on for ever."""

from __future__ import annotations

from functools import partial

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import Presence, presence
from exporter.rules.promql.sources import ALERT_SERIES


def check(context: Context) -> Problems:
    if context.rule.kind == "recording" or context.looked_at.isdisjoint(ALERT_SERIES):
        return
    served = partial(
        context.situations.of, context.rule.name, up=True, figures=True, are_all_served=True, others=Presence.POSSIBLE
    )
    firing, calm = served(alert=context.own_alert), served()
    if presence(context.tree, firing) is Presence.ALWAYS and presence(context.tree, calm) is not Presence.ALWAYS:
        message = (
            "holds itself: once it fires nothing ends it while the Bridge answers; "
            "let the branch that selects its own alerts ask for figures, or for an outage, too"
        )
        yield Location(context.parsed.expr.line), message
