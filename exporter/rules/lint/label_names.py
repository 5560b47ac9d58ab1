"""Which labels the series of an expression can have."""

from __future__ import annotations

from collections.abc import Callable

from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, PARTICIPANT_GAUGE_BY_NAME, BucketCounter
from exporter.rules.lint.per_part import PerPart
from exporter.rules.promql.aggregations import CHOICES
from exporter.rules.promql.calls import ABSENT
from exporter.rules.promql.pinned import absent_labels
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.traversal import series_operand, written_label
from exporter.rules.promql.tree import Aggregation, Binary, Call, Selector, Tree


def shown_labels(metric: str) -> frozenset[str]:
    """Returns the labels that series of what polls show can have."""
    of_buckets = BUCKET_METRIC_BY_NAME.get(metric)
    if of_buckets is not None:
        more = {of_buckets.label} if isinstance(of_buckets, BucketCounter) else set[str]()
        return frozenset({PARTICIPANT, POLICY} | more)
    gauge = PARTICIPANT_GAUGE_BY_NAME.get(metric)
    return frozenset({PARTICIPANT, *(gauge.label_names if gauge else ())})


class LabelNames:
    """Finds the labels of each part of expressions; ``labels_of`` gives those of a selector.

    The metric's name is not among them.
    """

    def __init__(self, labels_of: Callable[[Selector], frozenset[str]]) -> None:
        self._labels_of = labels_of
        self.of = PerPart(self._of).of

    def _of(self, tree: Tree) -> frozenset[str]:
        match tree:
            case Selector():
                return self._labels_of(tree)
            case Aggregation():
                return self._aggregated(tree)
            case Binary() if ValueType.SCALAR not in {tree.left.type, tree.right.type}:
                return self._matched(tree)
            case Call() if tree.function in ABSENT:
                return frozenset(name for name, _ in absent_labels(tree.arguments[0]).pairs)
            case _:
                operand, written = series_operand(tree), written_label(tree)
                labels = frozenset[str]() if operand is None else self.of(operand)
                return labels if written is None else labels | {written}

    def _aggregated(self, tree: Aggregation) -> frozenset[str]:
        labels, written = self.of(tree.expression), written_label(tree)
        if tree.operator not in CHOICES:
            labels = frozenset(filter(tree.onto.retains, labels))
        return labels if written is None else labels | {written}

    def _matched(self, tree: Binary) -> frozenset[str]:
        left, right = self.of(tree.left), self.of(tree.right)
        if tree.operator == "or":
            return left | right
        if tree.operator in {"and", "unless"}:
            return left
        if tree.many is None:
            return frozenset(filter(tree.on.retains, left))
        many, one = (left, right) if tree.many == "left" else (right, left)
        return many - set(tree.include) | one & set(tree.include)
