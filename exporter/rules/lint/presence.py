"""Whether an expression can have series, and a comparison be true: decided on its tree, nothing is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final, TypeAlias

import promql_parser as promql

from exporter.buckets.gauges import PARTICIPANT_INFO
from exporter.rules.promql.expression import Compiler
from exporter.rules.promql.functions import COMPARISONS, MIRRORED
from exporter.rules.promql.nodes import Scalar
from exporter.rules.promql.series import PARTICIPANT, POLICY, grouping
from exporter.rules.promql.sources import ALERT_SERIES, BUCKET_GAUGE_BY_NAME, PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.promql.traversal import Selector, grouping_of, matching_of, selectors, sub_expressions, walk

Labels: TypeAlias = "Mapping[str, bool]"
"""Whether all series of an expression have a label, or none has; a label of which neither is certain is missing."""

_TELLING: Final = ("alertname", POLICY)
"""Labels that some metrics always have and others never."""

UP: Final = "dict_rate_limit_up"
REFUSED: Final = "dict_rate_limit_refused_policies"

GOES_STALE: Final = frozenset(BUCKET_GAUGE_BY_NAME) | {PARTICIPANT_INFO}
"""Gauges that are no longer served when no answer has confirmed them for long."""

_BY_PARTICIPANT: Final = grouping(frozenset([PARTICIPANT]), keep=True)
_SAME_RANGE: Final = frozenset({"min", "max", "avg"})
"""Aggregations that stay within the range of what they aggregate."""

_ALWAYS_SERVED: Final = frozenset({UP, REFUSED, "dict_rate_limit_poll_interval_seconds"})


class Presence(IntEnum):
    """In this order `and` is the lesser and `or` the greater of two."""

    NEVER = 0
    UNDECIDED = 1
    """What it depends on is not understood."""
    POSSIBLE = 2
    """Figures of buckets, or the time, can make it so."""
    ALWAYS = 3


@dataclass(frozen=True, slots=True)
class Situation:
    """Whether the last poll was answered, whether gauges that go stale are served, and the one open alert's labels."""

    up: bool
    figures: bool
    alert: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class _Result:
    """What is known of an expression's series: ``metrics`` are those that its values are made of."""

    presence: Presence
    metrics: frozenset[str] = frozenset()
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``minimum`` and ``maximum`` are the range of the gauge's values."""

    gauge: str
    minimum: float
    maximum: float
    operator: str
    threshold: float

    def verdict(self) -> bool | None:
        """Returns whether it is true of every value in the range, or of none; None: that depends on the value."""
        compare = COMPARISONS[self.operator]
        at_minimum, at_maximum = compare(self.minimum, self.threshold), compare(self.maximum, self.threshold)
        if self.operator in {"==", "!="} and self.minimum < self.maximum:
            # False for NaN, too, which nothing equals.
            inside = self.minimum <= self.threshold <= self.maximum
            return None if inside else self.operator == "!="
        return at_minimum if at_minimum == at_maximum else None


def presence(tree: Any, situation: Situation) -> Presence:
    """Returns whether an expression has series."""
    return _judge(tree, situation).presence


def _judge(tree: Any, situation: Situation) -> _Result:
    if isinstance(tree, promql.VectorSelector):
        [selected] = selectors(tree)
        return _Result(_selection(selected, situation), frozenset({selected.metric}), _labels_of(selected.metric))
    if isinstance(tree, promql.BinaryExpr):
        return _operation(tree, _judge(tree.lhs, situation), _judge(tree.rhs, situation), situation)
    operands = sub_expressions(tree)
    if not operands:
        return _Result(Presence.ALWAYS)
    result = _judge(operands[0], situation)  # a function's other arguments are numbers
    if isinstance(tree, promql.AggregateExpr):
        onto = grouping_of(tree)
        dropped = {label: False for label in _TELLING if not onto.retains(label)}
        return replace(result, labels={**result.labels, **dropped})
    return result


def _selection(selected: Selector, situation: Situation) -> Presence:
    if selected.metric in ALERT_SERIES:
        labels = situation.alert
        if labels is None or any(m.label in labels and not m.predicate()(labels[m.label]) for m in selected.matchers):
            return Presence.NEVER
    elif selected.metric in GOES_STALE and not situation.figures:
        return Presence.NEVER
    elif selected.metric in _ALWAYS_SERVED and not selected.matchers:
        return Presence.ALWAYS
    return Presence.POSSIBLE


def _operation(tree: Any, left: _Result, right: _Result, situation: Situation) -> _Result:
    operator, metrics = str(tree.op), left.metrics | right.metrics
    if operator == "or":
        labels = dict(left.labels.items() & right.labels.items())
        return _Result(max(left.presence, right.presence), metrics, labels)
    unmatched = _never_match(tree, left.labels, right.labels)
    if operator == "unless":
        return replace(left, presence=left.presence if unmatched else min(left.presence, _absence(tree, right)))
    least = Presence.NEVER if unmatched else min(left.presence, right.presence)
    if operator == "and":
        return replace(left, presence=least)
    if is_filter(tree):
        least = min(least, _truth(tree, metrics, situation))
    if left.metrics and right.metrics:
        return _Result(least, metrics)
    return _Result(least, metrics, left.labels or right.labels)


def _absence(unless: Any, right: _Result) -> Presence:
    """Returns whether the right side of `unless` leaves a series of the left one."""
    if right.presence is Presence.NEVER:
        return Presence.ALWAYS
    if right.presence is Presence.ALWAYS:
        # On `participant` alone any two series match.
        return Presence.NEVER if matching_of(unless) is _BY_PARTICIPANT else Presence.UNDECIDED
    return right.presence


def _truth(comparison: Any, metrics: frozenset[str], situation: Situation) -> Presence:
    """Returns whether a comparison is true of any value that its sides can have."""
    of_gauge = gauge_comparison(comparison)
    if of_gauge is not None:
        # In an outage like any other no figures were refused before.
        value = {UP: float(situation.up), REFUSED: 0.0}.get(of_gauge.gauge)
        if value is not None:
            of_gauge = replace(of_gauge, minimum=value, maximum=value)
        verdict = of_gauge.verdict()
        if verdict is not None:
            return Presence.ALWAYS if verdict else Presence.NEVER
    return Presence.POSSIBLE if metrics <= GOES_STALE else Presence.UNDECIDED


def _labels_of(metric: str) -> Labels:
    if metric in ALERT_SERIES:
        return {"alertname": True}
    return {"alertname": False, POLICY: metric in BUCKET_GAUGE_BY_NAME}


def _never_match(operation: Any, left: Labels, right: Labels) -> bool:
    """Returns whether no series of the one side matches one of the other; False where that is not certain."""
    on = matching_of(operation)
    return any(on.retains(label) and left[label] is not right[label] for label in left.keys() & right.keys())


def gauge_comparison(tree: Any) -> Comparison | None:
    """Returns an expression as the comparison of a gauge, on its left, with a number; None where it is none."""
    operator = str(tree.op) if isinstance(tree, promql.BinaryExpr) else ""
    if operator not in COMPARISONS:
        return None
    sides = ((tree.lhs, operator, tree.rhs), (tree.rhs, MIRRORED[operator], tree.lhs))
    for vector, operator, scalar in sides:
        gauge = _gauge(vector)
        threshold = _constant(scalar) if gauge is not None else None
        if gauge is not None and threshold is not None:
            return Comparison(*gauge, operator, threshold)
    return None


def is_filter(tree: Any) -> bool:
    """Returns whether an expression is a comparison that keeps the series of which it is true."""
    compares = isinstance(tree, promql.BinaryExpr) and str(tree.op) in COMPARISONS
    return compares and not getattr(tree.modifier, "return_bool", False)


def _constant(tree: Any) -> float | None:
    """Returns the value of an expression that is the same number at every instant."""
    if any(isinstance(node, promql.VectorSelector) for node in walk(tree)):
        return None  # known without compiling it, which takes long
    node = Compiler(None).compile(tree)
    return node.constant if isinstance(node, Scalar) else None


def _gauge(tree: Any) -> tuple[str, float, float] | None:
    """Returns the gauge whose values an expression has, with their range."""
    if isinstance(tree, promql.VectorSelector):
        name = tree.name or ""
        gauge = BUCKET_GAUGE_BY_NAME.get(name) or PARTICIPANT_GAUGE_BY_NAME.get(name)
        return None if gauge is None else (gauge.name, gauge.minimum, gauge.maximum)
    if isinstance(tree, promql.ParenExpr) or (isinstance(tree, promql.AggregateExpr) and str(tree.op) in _SAME_RANGE):
        return _gauge(tree.expr)
    if is_filter(tree) or (isinstance(tree, promql.BinaryExpr) and str(tree.op) in {"and", "unless"}):
        return _gauge(tree.lhs)
    return None
