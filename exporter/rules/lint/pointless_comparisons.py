"""Comparisons whose outcome never changes, because the number lies outside what a gauge can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import promql_parser as promql

from exporter.rules.promql.arithmetic import COMPARISONS
from exporter.rules.promql.compiler import Problem, written
from exporter.rules.promql.sources import BUCKET_GAUGE_BY_NAME, PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.promql.traversal import constant, walk
from exporter.rules.templates.go_format import shortest

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIRRORED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_SAME_RANGE: Final = frozenset({"min", "max", "avg"})
"""Aggregations that stay within the range of what they aggregate."""


def pointless_comparisons(tree: Any) -> Iterator[Problem]:
    """Yields a problem for each comparison of a gauge with a number that is always, or never, true."""
    for part in walk(tree):
        if isinstance(part, promql.BinaryExpr) and str(part.op) in COMPARISONS:
            sentence = _judged(part)
            if sentence:
                yield Problem(sentence, written(part))


def _judged(comparison: Any) -> str:
    operator, gauge, threshold = str(comparison.op), _gauge(comparison.lhs), constant(comparison.rhs)
    if threshold is None:
        operator = _MIRRORED.get(operator, operator)
        gauge, threshold = _gauge(comparison.rhs), constant(comparison.lhs)
    if gauge is None or threshold is None:
        return ""
    name, least, greatest = gauge
    can_be = f"{name} is {shortest(least)} to {shortest(greatest)}"
    if threshold != threshold:  # noqa: PLR0124 - NaN
        return f"`{written(comparison)}` compares with NaN, which nothing equals"
    compare = COMPARISONS[operator]
    at_ends = {compare(least, threshold), compare(greatest, threshold)}
    outside = not least <= threshold <= greatest
    if operator in {"==", "!="}:
        if outside:
            return f"`{written(comparison)}` is {'never' if operator == '==' else 'always'} true: {can_be}"
        return ""
    if len(at_ends) > 1:
        return ""
    return f"`{written(comparison)}` is {'always' if at_ends == {True} else 'never'} true: {can_be}"


def _gauge(tree: Any) -> tuple[str, float, float] | None:
    """Returns the gauge whose values an expression has, with their range."""
    if isinstance(tree, promql.VectorSelector):
        name = tree.name or ""
        gauge = BUCKET_GAUGE_BY_NAME.get(name) or PARTICIPANT_GAUGE_BY_NAME.get(name)
        return None if gauge is None else (gauge.name, gauge.minimum, gauge.maximum)
    if isinstance(tree, promql.ParenExpr):
        return _gauge(tree.expr)
    if isinstance(tree, promql.AggregateExpr) and str(tree.op) in _SAME_RANGE:
        return _gauge(tree.expr)
    if isinstance(tree, promql.BinaryExpr) and not getattr(tree.modifier, "return_bool", False):
        filters = str(tree.op) in {*COMPARISONS, "and", "unless"}
        return _gauge(tree.lhs) if filters else None
    return None
