"""What is certain of the labels of an expression's series, for those that some series always have and others never."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, reduce
from typing import Final, TypeAlias

from exporter.buckets.gauges import METRIC_NAMES
from exporter.rules.lint.label_names import shown_labels
from exporter.rules.lint.per_part import PerPart
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
    """Finds what is certain of each part of expressions.

    ``recorded`` are the rules that record, by name, each name after those that it is made of; ``alert_labels`` are the
    labels that the alerts of a selector can have.
    """

    def __init__(
        self,
        recorded: Mapping[str, Sequence[CompiledRecordingRule]],
        alert_labels: Callable[[Selector], frozenset[str]],
    ) -> None:
        self._alert_labels = alert_labels
        self._recorded: dict[str, Certain] = {}
        self.of = PerPart(self._of).of
        for name, rules in recorded.items():
            self._recorded[name] = self._recorded_by(rules)

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

    def in_common(self, operation: Binary) -> list[str]:
        """Returns the labels, but for those of alerts alone, by which the series of both sides can match."""
        left, right = self.of(operation.left), self.of(operation.right)
        both = [label for label in (PARTICIPANT, POLICY, "psp_category", "outcome") if label in left and label in right]
        return [label for label in both if not _are_disjoint(left[label], right[label]) and left[label] != ABSENT_VALUE]

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
        certain = self._recorded.get(tree.metric)
        if certain is None:
            certain = self._of_alerts(tree) if tree.metric in ALERT_SERIES else _shown(tree.metric)
        pinned = [matcher for matcher in tree.conditions if matcher.operator == "="]
        return {**certain, **{matcher.label: frozenset({matcher.value}) for matcher in pinned}} if pinned else certain

    def _of_alerts(self, tree: Selector) -> Certain:
        always = (PARTICIPANT, "alertname", "severity", *(("alertstate",) if tree.metric == ALERTS else ()))
        never = set(_TRACKED) - self._alert_labels(tree)
        return {**dict.fromkeys(never, ABSENT_VALUE), **dict.fromkeys(always)}

    def _recorded_by(self, rules: Sequence[CompiledRecordingRule]) -> Certain:
        of_rules: list[Certain] = [
            {**self.of(rule.expression.tree), **{label: frozenset({text}) for label, text in rule.labels.items()}}
            for rule in rules
        ]
        return reduce(_either, of_rules)

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


@cache
def _shown(metric: str) -> Certain:
    if metric not in METRIC_NAMES:
        return {}
    labels = shown_labels(metric)
    return {label: None if label in labels else ABSENT_VALUE for label in _TRACKED}


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
