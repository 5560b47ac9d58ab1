"""What is certain of the labels of an expression's series, for those that some series always have and others never."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, METRIC_NAMES, PARTICIPANT_GAUGE_BY_NAME, BucketCounter
from exporter.rules.promql.aggregations import CHOICES
from exporter.rules.promql.calls import ABSENT
from exporter.rules.promql.pinned import absent_labels
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS
from exporter.rules.promql.traversal import series_operand, written_label
from exporter.rules.promql.tree import Aggregation, Binary, Call, Selector, Tree
from exporter.rules.rule import CompiledRecordingRule

Values: TypeAlias = "frozenset[str] | None"
"""The values that a label can have, the empty one for none; None: any but the empty one."""

Certain: TypeAlias = "Mapping[str, Values]"
"""By label; one of which nothing is certain is missing."""

ABSENT_VALUE: Final = frozenset({""})

_TRACKED: Final = (PARTICIPANT, POLICY, "alertname", "alertstate", "severity", "psp_category", "outcome")

_NO_LABELS: Final[Certain] = dict.fromkeys(_TRACKED, ABSENT_VALUE)


class LabelValues:
    """Finds what is certain of each part of an expression, once. ``recording`` are the rules that record, by name."""

    def __init__(self, recording: Mapping[str, Sequence[CompiledRecordingRule]]) -> None:
        self._recording = recording
        self._recorded: dict[str, Certain] = {}
        self._known: dict[int, tuple[Tree, Certain]] = {}

    def of(self, tree: Tree) -> Certain:
        known = self._known.get(id(tree))
        if known is None:
            known = self._known[id(tree)] = tree, self._of(tree)
        return known[1]

    def conflicts(self, operation: Binary) -> dict[str, tuple[Values, Values]]:
        """Returns the labels for which no series of one side can match one of the other, with the values of both."""
        if operation.operator == "or" or ValueType.SCALAR in {operation.left.type, operation.right.type}:
            return {}
        left, right = self.of(operation.left), self.of(operation.right)
        return {
            label: (left[label], right[label])
            for label in left
            if label in right and operation.on.retains(label) and _are_disjoint(left[label], right[label])
        }

    def _of(self, tree: Tree) -> Certain:
        match tree:
            case Selector():
                return self._selected(tree)
            case Aggregation():
                return self._aggregated(tree)
            case Binary() if ValueType.SCALAR not in {tree.left.type, tree.right.type}:
                return self._matched(tree)
            case Call() if tree.function in ABSENT:
                pairs = absent_labels(tree.arguments[0]).pairs
                return {**_NO_LABELS, **{name: frozenset({value}) for name, value in pairs}}
            case _:
                operand = series_operand(tree)
                return _without(_NO_LABELS if operand is None else self.of(operand), written_label(tree))

    def _selected(self, tree: Selector) -> Certain:
        certain = self._recorded_as(tree.metric) if tree.metric in self._recording else _of_metric(tree.metric)
        pinned = [matcher for matcher in tree.conditions if matcher.operator == "="]
        return {**certain, **{matcher.label: frozenset({matcher.value}) for matcher in pinned}} if pinned else certain

    def _recorded_as(self, name: str) -> Certain:
        certain = self._recorded.get(name)
        if certain is None:
            self._recorded[name] = {}  # as far as it is made of itself
            of_rules: list[Certain] = []
            for rule in self._recording[name]:
                labels = {label: frozenset({text}) for label, text in rule.labels.items()}
                of_rules.append({**self.of(rule.expression.tree), **labels})
            certain = of_rules[0]
            for other in of_rules[1:]:
                certain = _either(certain, other)
            self._recorded[name] = certain
        return certain

    def _aggregated(self, tree: Aggregation) -> Certain:
        certain = self.of(tree.expression)
        if tree.operator not in CHOICES:
            retains = tree.onto.retains
            kept = {label: values for label, values in certain.items() if retains(label)}
            certain = {**{label: ABSENT_VALUE for label in _TRACKED if not retains(label)}, **kept}
        return _without(certain, written_label(tree))

    def _matched(self, tree: Binary) -> Certain:
        left, right = self.of(tree.left), self.of(tree.right)
        if tree.operator == "or":
            return _either(left, right)
        if tree.operator in {"and", "unless"}:
            return left
        if tree.many is not None:
            many, one = (left, right) if tree.many == "left" else (right, left)
            included = {label: values for label, values in one.items() if label in tree.include}
            return {**{label: many[label] for label in many if label not in tree.include}, **included}
        retains = tree.on.retains
        both = {label: values for label, values in {**right, **left}.items() if retains(label)}
        return {**{label: ABSENT_VALUE for label in _TRACKED if not retains(label)}, **both}


def _of_metric(metric: str) -> Certain:
    if metric in ALERT_SERIES:
        state: Values = None if metric == ALERTS else ABSENT_VALUE
        return {PARTICIPANT: None, "alertname": None, "severity": None, "alertstate": state}
    if metric not in METRIC_NAMES:
        return {}
    labels: dict[str, Values] = {**_NO_LABELS, PARTICIPANT: None}
    of_buckets, gauge = BUCKET_METRIC_BY_NAME.get(metric), PARTICIPANT_GAUGE_BY_NAME.get(metric)
    if of_buckets is not None:
        labels[POLICY] = None
    if isinstance(of_buckets, BucketCounter):
        labels[of_buckets.label] = None
    if gauge is not None:
        labels |= {name: None for name in gauge.label_names if name in _TRACKED}
    return labels


def _without(certain: Certain, label: str | None) -> Certain:
    return certain if label is None else {name: values for name, values in certain.items() if name != label}


def _either(left: Certain, right: Certain) -> Certain:
    """Returns what is certain of series of the one or the other."""
    both: dict[str, Values] = {}
    for label in left.keys() & right.keys():
        of_left, of_right = left[label], right[label]
        if of_left is not None and of_right is not None:
            both[label] = of_left | of_right
        elif "" not in (of_left or ()) and "" not in (of_right or ()):
            both[label] = None
    return both


def _are_disjoint(left: Values, right: Values) -> bool:
    if left is None or right is None:
        known = left if right is None else right
        return known is not None and known <= ABSENT_VALUE
    return left.isdisjoint(right)
