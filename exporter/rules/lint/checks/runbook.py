"""A rule that does not link a runbook."""

from __future__ import annotations

from typing import Final

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems

ANNOTATION: Final = "runbook_url"


def check(context: Context) -> Problems:
    if context.rule.kind == "alerting" and ANNOTATION not in context.rule.annotations:
        yield Location(context.parsed.line), f"has no annotation {ANNOTATION}: say what to do when it fires"
