"""A label in a selector, `by`, `on` and the like that no series has."""

from __future__ import annotations

from typing import Final

from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import listed_labels
from exporter.rules.promql.tree import Aggregation, Binary
from exporter.structures import did_you_mean

_OF_TARGETS: Final = frozenset(
    {"instance", "job", "cluster", "container", "endpoint", "metrics_path", "namespace", "node", "pod", "service"}
)
"""Labels of what Prometheus scrapes, as its operator and usual configurations give them."""


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
        if label in _OF_TARGETS and _drops(tree):
            continue  # in Prometheus it is there
        labels = frozenset[str]().union(*map(context.labels, tree.operands))
        if label not in labels:
            why = f": no series here has a label {label}{did_you_mean(label, labels)}"
            yield context.about(tree, why)


def _drops(tree: Aggregation | Binary) -> bool:
    """Returns whether the labels that an expression lists are those that it leaves out."""
    return tree.labels is not None and tree.labels.word in {"without", "ignoring"}
