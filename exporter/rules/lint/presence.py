"""Whether an expression can have series, and a comparison be true: decided on its tree, nothing is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final, TypeAlias

from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, METRIC_NAMES, PARTICIPANT_GAUGE_BY_NAME, PARTICIPANT_INFO
from exporter.rules.promql.aggregations import CHOICES
from exporter.rules.promql.calls import ABSENT
from exporter.rules.promql.functions import COMPARISONS, MIRRORED
from exporter.rules.promql.series import BY_PARTICIPANT, POLICY
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import constant, is_shifted, written_labels
from exporter.rules.promql.tree import (
    Aggregation,
    Binary,
    Call,
    Paren,
    Range,
    Selector,
    Subquery,
    Tree,
    walk,
)

Labels: TypeAlias = "Mapping[str, bool]"
"""Whether all series of an expression have a label, or none has; a label of which neither is certain is missing."""

_TELLING: Final = ("alertname", POLICY)
"""Labels that some metrics always have and others never."""

UP: Final = "dict_rate_limit_up"
REFUSED: Final = "dict_rate_limit_refused_policies"

GOES_STALE: Final = frozenset(BUCKET_METRIC_BY_NAME) | {PARTICIPANT_INFO}
"""Gauges that are no longer served when no answer has confirmed them for long."""

_SAME_RANGE: Final = frozenset({"min", "max", "avg", *CHOICES})
"""Aggregations that stay within the range of what they aggregate."""

_SAME_VALUES: Final = frozenset({"sort", "sort_desc", "label_replace", "label_join"})
"""Functions that leave the values as they are."""

_WITHIN_RANGE: Final = frozenset(f"{name}_over_time" for name in ("avg", "first", "last", "max", "min"))
"""Functions whose results lie between the least and the greatest sample of a range."""

_SERIES: Final = frozenset({ValueType.VECTOR, ValueType.RANGE})

_ALWAYS_SERVED: Final = frozenset({UP, REFUSED, "dict_rate_limit_poll_interval_seconds"})


class Presence(IntEnum):
    """In this order `and` is the lesser and `or` the greater of two."""

    NEVER = 0
    UNDECIDED = 1
    """What it depends on is not understood."""
    POSSIBLE = 2
    """Figures of buckets, or the time, can make it so."""
    ALWAYS = 3


_OPPOSITE: Final = {Presence.NEVER: Presence.ALWAYS, Presence.ALWAYS: Presence.NEVER}


@dataclass(frozen=True, slots=True)
class Situation:
    """Whether the last poll was answered, whether gauges that go stale are served, and the one open alert's labels.

    ``recorded`` are the expressions of what rules record, by name.
    """

    up: bool
    figures: bool
    alert: Mapping[str, str] | None = None
    recorded: Mapping[str, Sequence[Tree]] = field(default_factory=dict)
    known: dict[str, _Result] = field(default_factory=dict, init=False, compare=False)
    """What is recorded, as far as it was judged."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What is known of an expression's series: ``metrics`` are those that its values are made of."""

    presence: Presence
    metrics: frozenset[str] = frozenset()
    labels: Labels = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """``minimum`` and ``maximum`` are the range of the gauge's values; ``is_now``: as they are, not as they were."""

    gauge: str
    minimum: float
    maximum: float
    operator: str
    threshold: float
    is_now: bool = True

    def verdict(self) -> bool | None:
        """Returns whether it is true of every value in the range, or of none; None: that depends on the value."""
        compare = COMPARISONS[self.operator]
        at_minimum, at_maximum = compare(self.minimum, self.threshold), compare(self.maximum, self.threshold)
        if self.operator in {"==", "!="} and self.minimum < self.maximum:
            # False for NaN, too, which nothing equals.
            inside = self.minimum <= self.threshold <= self.maximum
            return None if inside else self.operator == "!="
        return at_minimum if at_minimum == at_maximum else None


def presence(tree: Tree, situation: Situation) -> Presence:
    """Returns whether an expression has series."""
    return _judge(tree, situation).presence


def _judge(tree: Tree, situation: Situation) -> _Result:
    if isinstance(tree, Selector) and tree.metric in situation.recorded:
        return _recorded(tree, situation)
    if isinstance(tree, Selector):
        return _Result(_selection(tree, situation), frozenset({tree.metric}), _labels_of(tree.metric))
    if isinstance(tree, Binary):
        return _operation(tree, _judge(tree.left, situation), _judge(tree.right, situation), situation)
    if isinstance(tree, Aggregation):
        return _aggregation(tree, _judge(tree.expression, situation))
    # The first operand that has series makes those of the result.
    series = next((operand for operand in tree.operands if operand.type in _SERIES), None)
    if series is None:
        return _Result(Presence.ALWAYS)
    return _made_of(tree, _judge(series, situation), situation)


def _recorded(selected: Selector, situation: Situation) -> _Result:
    """Returns what is known of series that rules record, now: they are what the expressions of these give."""
    name = selected.metric
    result = situation.known.get(name)
    if result is None:
        situation.known[name] = _Result(Presence.POSSIBLE, frozenset({name}))  # as far as it is made of itself
        results = [_judge(tree, situation) for tree in situation.recorded[name]]
        metrics = frozenset[str]().union(*(result.metrics for result in results))
        result = situation.known[name] = _Result(max(result.presence for result in results), metrics)
    most = Presence.POSSIBLE if selected.conditions else Presence.ALWAYS
    return replace(result, presence=min(most, result.presence))


def _made_of(tree: Tree, result: _Result, situation: Situation) -> _Result:
    """Returns what is known of a function, a range or a sign, given what is known of its series."""
    if isinstance(tree, Call) and tree.function in ABSENT:
        return _Result(_OPPOSITE.get(result.presence, result.presence), result.metrics)
    if isinstance(tree, Subquery) and situation.figures and result.presence is Presence.NEVER:
        # What is not so now can have been so while the figures were new.
        return replace(result, presence=Presence.UNDECIDED)
    return _without(result, tree)


def _aggregation(tree: Aggregation, result: _Result) -> _Result:
    if tree.operator in CHOICES:
        count = constant(tree.parameter) if tree.parameter is not None else None
        return result if count is None or count >= 1 else replace(result, presence=Presence.NEVER)
    dropped = {label: False for label in _TELLING if not tree.onto.retains(label)}
    return _without(replace(result, labels={**result.labels, **dropped}), tree)


def _without(result: _Result, tree: Tree) -> _Result:
    """Returns a result of which nothing is known of the labels that an expression writes."""
    written = set(written_labels(tree))
    if written.isdisjoint(result.labels):
        return result
    return replace(result, labels={label: value for label, value in result.labels.items() if label not in written})


def _selection(selected: Selector, situation: Situation) -> Presence:
    if selected.metric in ALERT_SERIES:
        labels = situation.alert
        if labels is None or any(m.label in labels and not m.predicate()(labels[m.label]) for m in selected.conditions):
            return Presence.NEVER
    elif selected.metric in GOES_STALE and not situation.figures:
        return Presence.NEVER
    elif selected.metric in _ALWAYS_SERVED and not selected.conditions:
        return Presence.ALWAYS
    return Presence.POSSIBLE


def _operation(tree: Binary, left: _Result, right: _Result, situation: Situation) -> _Result:
    operator, metrics = tree.operator, left.metrics | right.metrics
    if operator == "or":
        labels = dict(left.labels.items() & right.labels.items())
        return _Result(max(left.presence, right.presence), metrics, labels)
    unmatched = _never_match(tree, left.labels, right.labels)
    if operator == "unless":
        return replace(left, presence=left.presence if unmatched else min(left.presence, _absence(tree, right)))
    least = Presence.NEVER if unmatched else min(left.presence, right.presence)
    if operator == "and":
        return replace(left, presence=least)
    if tree.filters:
        least = min(least, _truth(tree, metrics, situation))
    if left.metrics and right.metrics:
        return _Result(least, metrics)
    return _Result(least, metrics, left.labels or right.labels)


def _absence(unless: Binary, right: _Result) -> Presence:
    """Returns whether the right side of `unless` leaves a series of the left one."""
    if right.presence is Presence.NEVER:
        return Presence.ALWAYS
    if right.presence is Presence.ALWAYS:
        # On `participant` alone any two series match.
        return Presence.NEVER if unless.on is BY_PARTICIPANT else Presence.UNDECIDED
    return right.presence


def _truth(comparison: Binary, metrics: frozenset[str], situation: Situation) -> Presence:
    """Returns whether a comparison is true of any value that its sides can have."""
    of_gauge = gauge_comparison(comparison)
    if of_gauge is not None:
        # In an outage like any other no figures were refused before.
        value = {UP: float(situation.up), REFUSED: 0.0}.get(of_gauge.gauge)
        if value is not None and of_gauge.is_now:
            of_gauge = replace(of_gauge, minimum=value, maximum=value)
        verdict = of_gauge.verdict()
        if verdict is not None:
            return Presence.ALWAYS if verdict else Presence.NEVER
    return Presence.POSSIBLE if metrics <= GOES_STALE else Presence.UNDECIDED


def _labels_of(metric: str) -> Labels:
    if metric in ALERT_SERIES:
        return {"alertname": True}
    if metric not in METRIC_NAMES:
        return {}
    return {"alertname": False, POLICY: metric in BUCKET_METRIC_BY_NAME}


def _never_match(operation: Binary, left: Labels, right: Labels) -> bool:
    """Returns whether no series of the one side matches one of the other; False where that is not certain."""
    on = operation.on
    return any(on.retains(label) and left[label] is not right[label] for label in left.keys() & right.keys())


def gauge_comparison(tree: Tree) -> Comparison | None:
    """Returns an expression as the comparison of a gauge, on its left, with a number; None where it is none."""
    if not isinstance(tree, Binary) or tree.operator not in COMPARISONS:
        return None
    sides = ((tree.left, tree.operator, tree.right), (tree.right, MIRRORED[tree.operator], tree.left))
    for vector, operator, scalar in sides:
        gauge = _gauge(vector)
        threshold = constant(scalar) if gauge is not None else None
        if gauge is not None and threshold is not None:
            return Comparison(*gauge, operator, threshold, is_now=_is_now(vector))
    return None


def _is_now(tree: Tree) -> bool:
    return not any(isinstance(node, Range | Subquery) or is_shifted(node) for node in walk(tree))


def _gauge(tree: Tree) -> tuple[str, float, float] | None:
    """Returns the gauge whose values an expression has, with their range."""
    if isinstance(tree, Selector):
        gauge = BUCKET_METRIC_BY_NAME.get(tree.metric) or PARTICIPANT_GAUGE_BY_NAME.get(tree.metric)
        return None if gauge is None else (gauge.name, gauge.minimum, gauge.maximum)
    within = _within(tree)
    return None if within is None else _gauge(within)


def _within(tree: Tree) -> Tree | None:
    """Returns the sub-expression in whose range the values lie; None where there is none."""
    match tree:
        case Paren() | Subquery():
            return tree.expression
        case Range() if tree.selector.mode is None:
            return tree.selector
        case Aggregation() if tree.operator in _SAME_RANGE:
            return tree.expression
        case Call() if tree.function in _SAME_VALUES or tree.function in _WITHIN_RANGE:
            return tree.arguments[0]
        case Binary() if tree.filters or tree.operator in {"and", "unless"}:
            return tree.left
        case _:
            return None
