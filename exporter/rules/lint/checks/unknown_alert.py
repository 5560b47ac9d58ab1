"""``ALERTS`` of a name that no rule of these files has."""

from __future__ import annotations

from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import selected_alerts
from exporter.structures import did_you_mean


def check(context: Context) -> Problems:
    for selected in context.selected:
        about_names = [matcher for matcher in selected.conditions if matcher.label == "alertname"]
        if selected.metric not in ALERT_SERIES or not about_names:
            continue
        if any(selected_alerts(selected, context.alert_names)):
            continue
        name = next((matcher.value for matcher in about_names if matcher.operator == "="), about_names[0].value)
        meant = "" if name in context.alert_names else did_you_mean(name, context.alert_names)
        yield context.about(selected, f" selects nothing here: no rule raises an alert of that name{meant}")
