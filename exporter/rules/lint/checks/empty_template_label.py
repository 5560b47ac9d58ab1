"""A template that shows a label which no series of the expression's result has."""

from __future__ import annotations

from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.traversal import series_operand
from exporter.rules.promql.tree import Aggregation, Binary, walk
from exporter.structures import did_you_mean


def check(context: Context) -> Problems:
    rule, parsed = context.rule, context.parsed
    if rule.kind == "recording" or context.is_unknown:
        return
    labels = context.labels(context.tree)
    for kind, texts, templates in (
        ("label", parsed.labels, rule.labels),
        ("annotation", parsed.annotations, rule.annotations),
    ):
        for name, template in templates.items():
            for label in sorted(template.labels - labels):
                why = _dropped(context, label) or did_you_mean(label, labels)
                yield Location(texts[name].line), f"{kind} {name}: `$labels.{label}` is always empty{why}"


def _dropped(context: Context, label: str) -> str:
    """Returns which part of the expression drops a label that its series have, as the end of a sentence; or nothing."""
    for tree in walk(context.tree):
        if isinstance(tree, Aggregation | Binary) and label not in context.labels(tree):
            operand = series_operand(tree)
            if operand is not None and label in context.labels(operand):
                way = tree.operator if tree.labels is None else f"{tree.operator} {tree.labels}"
                return f": `{way}` drops the label"
    return ""
