"""A recorded series whose name has no colon: it looks like one that a program serves."""

from __future__ import annotations

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems


def check(context: Context) -> Problems:
    name = context.rule.name
    if context.rule.kind == "recording" and ":" not in name:
        why = f"one tells it from what programs serve; write it as `level:{name}:operations`"
        yield Location(context.parsed.line), f"has no colon in its name: {why}"
