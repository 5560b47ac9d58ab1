"""The parts of a parsed expression, for those who look at it without running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import promql_parser as promql

from exporter.rules.promql.compiler import Compiler
from exporter.rules.promql.nodes import Scalar
from exporter.rules.promql.selectors import Matcher
from exporter.rules.promql.series import METRIC_NAME
from exporter.rules.promql.sources import ALERT_SERIES

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Selected:
    """A selector: metric, matchers (the one on the metric's name left out), and its tree."""

    metric: str
    matchers: tuple[Matcher, ...]
    tree: Any


def parts(tree: Any) -> list[Any]:
    """Returns what an expression is directly made of."""
    if isinstance(tree, promql.BinaryExpr):
        return [tree.lhs, tree.rhs]
    if isinstance(tree, promql.ParenExpr | promql.UnaryExpr | promql.AggregateExpr):
        return [tree.expr]
    return list(tree.args) if isinstance(tree, promql.Call) else []


def walk(tree: Any) -> Iterator[Any]:
    """Yields an expression and all its parts."""
    yield tree
    for part in parts(tree):
        yield from walk(part)


def selectors(tree: Any) -> Iterator[Selected]:
    for part in walk(tree):
        if isinstance(part, promql.VectorSelector):
            matchers = [Matcher(m.name, _OPERATORS[str(m.op)], m.value) for m in part.matchers.matchers]
            named = next((m.value for m in matchers if m.label == METRIC_NAME), "")
            yield Selected(part.name or named, tuple(m for m in matchers if m.label != METRIC_NAME), part)


def listed_labels(tree: Any) -> Iterator[tuple[Any, str]]:
    """Yields the labels that ``by``, ``without``, ``on``, ``ignoring``, ``group_left`` and ``group_right`` list."""
    for part in walk(tree):
        modifier = getattr(part, "modifier", None)
        if modifier is None:
            continue
        if isinstance(part, promql.AggregateExpr):
            yield from ((part, label) for label in modifier.labels)
        else:
            matching = modifier.matching.labels if modifier.matching is not None else []
            yield from ((part, label) for label in (*matching, *(modifier.group_labels or ())))


def constant(tree: Any) -> float | None:
    """Returns the value of an expression that is the same number at every instant."""
    if isinstance(tree, promql.VectorSelector | promql.AggregateExpr):
        return None
    node = Compiler(None).compile(tree)
    return node.constant if isinstance(node, Scalar) else None


_OPERATORS = {"MatchOp.Equal": "=", "MatchOp.NotEqual": "!=", "MatchOp.Re": "=~", "MatchOp.NotRe": "!~"}


def looks_at_alerts(tree: Any) -> bool:
    """Returns whether an expression asks for series of alerts."""
    return any(selected.metric in ALERT_SERIES for selected in selectors(tree))
