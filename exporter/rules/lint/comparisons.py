"""Comparisons with a number: which values the compared side can have, and what that makes of the outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

from exporter.buckets.gauges import BUCKET_METRICS, PARTICIPANT_GAUGES
from exporter.rules.lint.per_part import PerPart
from exporter.rules.promql.aggregations import CHOICES
from exporter.rules.promql.functions import ARITHMETIC, COMPARISONS, MIRRORED, number_operation
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.sources import ALERTS
from exporter.rules.promql.traversal import is_shifted, series_operand
from exporter.rules.promql.tree import (
    Aggregation,
    Binary,
    Call,
    Number,
    Paren,
    Range,
    Selector,
    Subquery,
    Tree,
    Unary,
    walk,
    without_parens,
)

_SAME_RANGE: Final = frozenset({"min", "max", "avg", *CHOICES})
"""Aggregations that stay within the range of what they aggregate."""

_SAME_VALUES: Final = frozenset({"sort", "sort_desc", "label_replace", "label_join"})
"""Functions that leave the values as they are."""

_WITHIN_RANGE: Final = frozenset(f"{name}_over_time" for name in ("avg", "first", "last", "max", "min"))
"""Functions whose results lie between the least and the greatest sample of a range."""

_OF_COUNTERS: Final = frozenset({"increase", "rate", "irate"})
"""Functions that give nothing below 0 of what is not below 0."""

_SUMS: Final = frozenset({"sum", "sum_over_time"})
"""What gives no less than each of what is added, where that is not below 0."""


class Bounds(NamedTuple):
    """The least and the greatest value; ``gauge`` is the one whose values they are, empty for what is computed."""

    minimum: float
    maximum: float
    gauge: str = ""


_ANY: Final = Bounds(-math.inf, math.inf)
_FROM_0: Final = Bounds(0.0, math.inf)
_ONE: Final = Bounds(1.0, 1.0)

_BY_METRIC: Final[Mapping[str, Bounds]] = {
    ALERTS: _ONE,
    **{g.name: Bounds(g.minimum, g.maximum, g.name) for g in (*BUCKET_METRICS, *PARTICIPANT_GAUGES)},
}

_WHATEVER_IS_GIVEN: Final[Mapping[str, Bounds]] = {
    "count": Bounds(1.0, math.inf),
    "count_over_time": Bounds(1.0, math.inf),
    "group": _ONE,
    "present_over_time": _ONE,
    "absent": _ONE,
    "absent_over_time": _ONE,
    "abs": _FROM_0,
    "changes": _FROM_0,
    "resets": _FROM_0,
}
"""The bounds of functions and aggregations that are the same for all that they can be given."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is compared with ``threshold``, which is the value of ``number``, and the bounds of its values."""

    compared: Tree
    bounds: Bounds
    operator: str
    number: Tree
    threshold: float

    @property
    def is_of_count(self) -> bool:
        """Whether it is made of a count, which is there only where there is something to count."""
        tree = without_parens(self.compared)
        while isinstance(tree, Aggregation) and tree.operator in {"sum", "max", "min"}:
            tree = without_parens(tree.expression)
        return isinstance(tree, Aggregation) and tree.operator == "count"

    @property
    def is_now(self) -> bool:
        """Whether the values are as they are, not as they were."""
        return not any(isinstance(node, Range | Subquery) or is_shifted(node) for node in walk(self.compared))

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


class Comparisons:
    """Finds the comparisons of expressions."""

    def __init__(self) -> None:
        self._constants = PerPart(self._constant)
        self._bounds = PerPart(self._bounds_of)
        self.constant = self._constants.of
        """Returns the value of an expression of numbers alone; None where it is another."""
        self.bounds = self._bounds.of
        """Returns the bounds of an expression's values; None where these are not known."""

    def with_number(self, tree: Tree) -> Comparison | None:
        """Returns an expression as the comparison of series with a number; None where it is none."""
        if not isinstance(tree, Binary) or tree.operator not in COMPARISONS:
            return None
        sides = ((tree.left, tree.operator, tree.right), (tree.right, MIRRORED[tree.operator], tree.left))
        for compared, operator, number in sides:
            threshold = self.constant(number) if compared.type is ValueType.VECTOR else None
            if threshold is not None:
                bounds = self.bounds(compared) or _ANY
                return Comparison(compared, bounds, operator, number, threshold)
        return None

    def _constant(self, tree: Tree) -> float | None:
        match tree:
            case Number():
                return tree.value
            case Paren() | Unary(operator="+"):
                return self.constant(tree.operands[0])
            case Unary():
                value = self.constant(tree.operand)
                return None if value is None else -value
            case Call(function="pi"):
                return math.pi
            case Binary():
                left, right = self.constant(tree.left), self.constant(tree.right)
                return None if left is None or right is None else number_operation(tree.operator)(left, right)
            case _:
                return None

    def _bounds_of(self, tree: Tree) -> Bounds | None:
        number = self.constant(tree)
        if number is not None:
            return Bounds(number, number)
        match tree:
            case Selector():
                return _BY_METRIC.get(tree.metric)
            case Call(function=operation) | Aggregation(operator=operation) if operation in _WHATEVER_IS_GIVEN:
                return _WHATEVER_IS_GIVEN[operation]
            case Binary() if tree.operator in ARITHMETIC:
                return self._computed(tree)
            case _:
                inner = within(tree)
                return self._made_of(tree) if inner is None else self.bounds(inner)

    def _made_of(self, tree: Tree) -> Bounds | None:
        """Returns the bounds of what is computed of one operand, by those of that."""
        operand = series_operand(tree)
        bounds = None if operand is None else self.bounds(operand)
        if bounds is None:
            return None
        if isinstance(tree, Unary):
            return Bounds(0.0 - bounds.maximum, 0.0 - bounds.minimum)
        operation = tree.function if isinstance(tree, Call) else tree.operator if isinstance(tree, Aggregation) else ""
        if bounds.minimum >= 0 and operation in _SUMS:
            return Bounds(bounds.minimum, math.inf)
        return _FROM_0 if bounds.minimum >= 0 and operation in _OF_COUNTERS else None

    def _computed(self, tree: Binary) -> Bounds | None:
        left, right = self.bounds(tree.left), self.bounds(tree.right)
        if left is None or right is None or tree.operator not in {"+", "-", "*", "/"}:
            return None
        if tree.operator == "/" and right.minimum <= 0 <= right.maximum:
            return None
        compute = ARITHMETIC[tree.operator]
        ends = [compute(a, b) for a, b in product(left[:2], right[:2])]
        return None if any(map(math.isnan, ends)) else Bounds(min(ends), max(ends))


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
            # What is compared with a number is kept as it is, on whichever side it stands.
            return tree.right if tree.left.type is ValueType.SCALAR else tree.left
        case _:
            return None
