"""A label in a selector, `by`, `on` and the like that no series has."""

from __future__ import annotations

from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import listed_labels
from exporter.structures import did_you_mean


def check(context: Context) -> Problems:
    if context.is_unknown:
        return
    for selected in context.selected:
        labels = context.rules.labels_of(selected)
        for matcher in selected.conditions:
            if matcher.label not in labels:
                series = "these alerts have" if selected.metric in ALERT_SERIES else f"{selected.metric} has"
                why = f": {series} no label {matcher.label}{did_you_mean(matcher.label, labels)}"
                yield context.about(selected, why)
    for tree, label in listed_labels(context.tree):
        labels = frozenset[str]().union(*map(context.labels, tree.operands))
        if label not in labels:
            why = f": no series here has a label {label}{did_you_mean(label, labels)}"
            yield context.about(tree, why)
