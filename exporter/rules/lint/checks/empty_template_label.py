"""A template that shows a label which no series of the expression has."""

from __future__ import annotations

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems
from exporter.structures import did_you_mean


def check(context: Context) -> Problems:
    rule, parsed = context.rule, context.parsed
    if rule.kind == "recording" or context.is_unknown:
        return
    for kind, texts, templates in (
        ("label", parsed.labels, rule.labels),
        ("annotation", parsed.annotations, rule.annotations),
    ):
        for name, template in templates.items():
            for label in sorted(template.labels - context.labels):
                hint = did_you_mean(label, context.labels)
                yield Location(texts[name].line), f"{kind} {name}: `$labels.{label}` is always empty{hint}"
