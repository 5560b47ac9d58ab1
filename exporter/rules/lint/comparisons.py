"""Comparisons with a number: which values the compared side can have, and what that makes of the outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.promql.aggregations import CHOICES
from exporter.rules.promql.functions import ARITHMETIC, COMPARISONS, MIRRORED
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.traversal import constant, is_shifted
from exporter.rules.promql.tree import Aggregation, Binary, Call, Paren, Range, Selector, Subquery, Tree, Unary, walk

_SAME_RANGE: Final = frozenset({"min", "max", "avg", *CHOICES})
"""Aggregations that stay within the range of what they aggregate."""

_SAME_VALUES: Final = frozenset({"sort", "sort_desc", "label_replace", "label_join"})
"""Functions that leave the values as they are."""

_WITHIN_RANGE: Final = frozenset(f"{name}_over_time" for name in ("avg", "first", "last", "max", "min"))
"""Functions whose results lie between the least and the greatest sample of a range."""

_LEAST: Final[Mapping[str, float]] = {
    "count": 1.0,
    "group": 1.0,
    "stddev": 0.0,
    "stdvar": 0.0,
    "count_over_time": 1.0,
    "present_over_time": 1.0,
    "stddev_over_time": 0.0,
    "stdvar_over_time": 0.0,
    "changes": 0.0,
    "resets": 0.0,
}
"""The least result of functions and aggregations, whatever they are given."""

_OF_COUNTERS: Final = frozenset({"increase", "rate", "irate"})
"""Functions that give nothing below 0 of what is not below 0."""


class Bounds(NamedTuple):
    """The least and the greatest value; ``gauge`` is the one whose values they are, empty for what is computed."""

    minimum: float
    maximum: float
    gauge: str = ""


_ANY: Final = Bounds(-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared with ``threshold``, and the bounds of its values; ``is_now``: as they are, not as they were."""

    compared: Tree
    bounds: Bounds
    operator: str
    threshold: float
    is_now: bool = True

    def holds_for(self, value: float) -> bool:
        return COMPARISONS[self.operator](value, self.threshold)

    def verdict(self) -> bool | None:
        """Returns whether it is true of every value within the bounds, or of none; None: that depends on the value."""
        minimum, maximum, _ = self.bounds
        at_minimum, at_maximum = self.holds_for(minimum), self.holds_for(maximum)
        if self.operator in {"==", "!="} and minimum < maximum:
            # False for NaN, too, which nothing equals.
            inside = minimum <= self.threshold <= maximum
            return None if inside else self.operator == "!="
        return at_minimum if at_minimum == at_maximum else None


def comparison_with_number(tree: Tree) -> Comparison | None:
    """Returns an expression as the comparison of series with a number; None where it is none."""
    if not isinstance(tree, Binary) or tree.operator not in COMPARISONS:
        return None
    sides = ((tree.left, tree.operator, tree.right), (tree.right, MIRRORED[tree.operator], tree.left))
    for vector, operator, scalar in sides:
        threshold = constant(scalar) if vector.type is ValueType.VECTOR else None
        if threshold is not None:
            return Comparison(vector, bounds_of(vector) or _ANY, operator, threshold, _is_now(vector))
    return None


def bounds_of(tree: Tree) -> Bounds | None:
    """Returns the bounds of an expression's values; None where these are not known."""
    match tree:
        case Selector():
            gauge = BUCKET_METRIC_BY_NAME.get(tree.metric) or PARTICIPANT_GAUGE_BY_NAME.get(tree.metric)
            return None if gauge is None else Bounds(gauge.minimum, gauge.maximum, gauge.name)
        case Call(function=operation) | Aggregation(operator=operation) if operation in _LEAST:
            return Bounds(_LEAST[operation], math.inf)
        case Call() if tree.function in _OF_COUNTERS:
            bounds = bounds_of(tree.arguments[0])
            return Bounds(0.0, math.inf) if bounds is not None and bounds.minimum >= 0 else None
        case Unary(operator="-"):
            bounds = bounds_of(tree.operand)
            return None if bounds is None else Bounds(0.0 - bounds.maximum, 0.0 - bounds.minimum)
        case Binary() if tree.operator in ARITHMETIC:
            return _computed(tree)
        case _:
            inner = within(tree)
            return None if inner is None else bounds_of(inner)


def _computed(tree: Binary) -> Bounds | None:
    left, right = _operand(tree.left), _operand(tree.right)
    if left is None or right is None:
        return None
    if tree.operator not in {"+", "-", "*", "/"} or (tree.operator == "/" and right.minimum <= 0 <= right.maximum):
        return None
    compute = ARITHMETIC[tree.operator]
    ends = [compute(a, b) for a, b in product(left[:2], right[:2])]
    return None if any(map(math.isnan, ends)) else Bounds(min(ends), max(ends))


def _operand(tree: Tree) -> Bounds | None:
    number = constant(tree)
    return bounds_of(tree) if number is None else Bounds(number, number)


def _is_now(tree: Tree) -> bool:
    return not any(isinstance(node, Range | Subquery) or is_shifted(node) for node in walk(tree))


def within(tree: Tree) -> Tree | None:
    """Returns the sub-expression in whose range the values lie; None where there is none."""
    match tree:
        case Paren(expression=inner) | Subquery(expression=inner) | Unary(operator="+", operand=inner):
            return inner
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
