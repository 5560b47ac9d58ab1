"""A label whose template depends on `$value`: each value makes another alert."""

from __future__ import annotations

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems


def check(context: Context) -> Problems:
    if context.rule.kind == "recording":
        return
    for name, template in context.rule.labels.items():
        if template.uses_value:
            why = f"`{template.text}` depends on $value, so that another value makes another alert"
            yield Location(context.parsed.labels[name].line), f"label {name}: {why}"
