"""A recording rule's label that looks like a template: only those of alerts are expanded."""

from __future__ import annotations

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems


def check(context: Context) -> Problems:
    if context.rule.kind == "alerting":
        return
    for name, text in context.rule.labels.items():
        if "{{" in text:
            why = f"`{text}` stays as it is: a rule that records expands no templates"
            yield Location(context.parsed.labels[name].line), f"label {name}: {why}"
