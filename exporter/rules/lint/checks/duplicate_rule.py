"""Two rules of one name and the same labels: their alerts or series are the same, and Prometheus fails on these."""

from __future__ import annotations

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems


def check(context: Context) -> Problems:
    what = "alerts" if context.rule.kind == "alerting" else "series"
    line, own = context.parsed.line, (context.group.file, context.parsed.line)
    if len(context.same_identity) < 2:
        return
    other = next((rule for rule in context.same_identity if rule != own), None)
    if other is None:
        yield Location(line), f"is defined more than once, through aliases: their {what} are one and the same"
    else:
        where = f"line {other[1]}" if other[0] == own[0] else f"{other[0]}:{other[1]}"
        yield Location(line), f"is defined again in {where}, with the same labels: their {what} are one and the same"
