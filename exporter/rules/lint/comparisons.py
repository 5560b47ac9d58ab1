"""Comparisons of a gauge with a number, and whether the gauge's range decides them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import promql_parser as promql

from exporter.rules.promql.expression import Compiler
from exporter.rules.promql.functions import COMPARISONS
from exporter.rules.promql.nodes import Scalar
from exporter.rules.promql.sources import BUCKET_GAUGE_BY_NAME, PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.promql.traversal import sub_expressions

_MIRRORED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_SAME_RANGE: Final = frozenset({"min", "max", "avg"})
"""Aggregations that stay within the range of what they aggregate."""


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


def gauge_comparison(tree: Any) -> Comparison | None:
    """Returns an expression as the comparison of a gauge, on its left, with a number; None where it is none."""
    if not is_comparison(tree):
        return None
    operator = str(tree.op)
    sides = ((tree.lhs, operator, tree.rhs), (tree.rhs, _MIRRORED.get(operator, operator), tree.lhs))
    for vector, operator, scalar in sides:
        gauge = _gauge(vector)
        threshold = _constant(scalar) if gauge is not None and not _has_selector(scalar) else None
        if gauge is not None and threshold is not None:
            return Comparison(*gauge, operator, threshold)
    return None


def is_comparison(tree: Any) -> bool:
    return isinstance(tree, promql.BinaryExpr) and str(tree.op) in COMPARISONS


def is_filter(tree: Any) -> bool:
    """Returns whether an expression is a comparison that keeps the series of which it is true."""
    return is_comparison(tree) and not getattr(tree.modifier, "return_bool", False)


def _constant(tree: Any) -> float | None:
    """Returns the value of an expression that is the same number at every instant."""
    if isinstance(tree, promql.VectorSelector | promql.AggregateExpr):
        return None
    node = Compiler(None).compile(tree)
    return node.constant if isinstance(node, Scalar) else None


def _has_selector(tree: Any) -> bool:
    """Returns that soon, of a long expression, too: `_constant` compiles it."""
    return isinstance(tree, promql.VectorSelector) or any(map(_has_selector, sub_expressions(tree)))


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
