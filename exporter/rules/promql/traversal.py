"""The sub-expressions of a parsed expression, for what looks at it without running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser as promql

from exporter.rules.promql.selectors import Matcher, matchers_of
from exporter.rules.promql.series import BY_ALL_LABELS, METRIC_NAME, Grouping, grouping
from exporter.rules.promql.sources import ALERT_SERIES


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector: metric, matchers (the one on the metric's name left out), and its tree."""

    metric: str
    matchers: tuple[Matcher, ...]
    tree: Any


def sub_expressions(tree: Any) -> list[Any]:
    """Returns the direct sub-expressions of an expression."""
    if isinstance(tree, promql.BinaryExpr):
        return [tree.lhs, tree.rhs]
    if isinstance(tree, promql.ParenExpr | promql.UnaryExpr | promql.AggregateExpr):
        return [tree.expr]
    return list(tree.args) if isinstance(tree, promql.Call) else []


def walk(tree: Any) -> Iterator[Any]:
    """Yields an expression and all its sub-expressions."""
    pending = [tree]
    while pending:
        node = pending.pop()
        yield node
        pending += reversed(sub_expressions(node))


def selectors(tree: Any) -> Iterator[Selector]:
    """Yields the selectors of an expression."""
    for node in walk(tree):
        if isinstance(node, promql.VectorSelector):
            matchers = matchers_of(node)
            metric = next((m.value for m in matchers if m.label == METRIC_NAME), "")
            yield Selector(node.name or metric, tuple(m for m in matchers if m.label != METRIC_NAME), node)


def listed_labels(tree: Any) -> Iterator[tuple[Any, str]]:
    """Yields the labels that ``by``, ``without``, ``on``, ``ignoring``, ``group_left`` and ``group_right`` list."""
    for node in walk(tree):
        modifier = getattr(node, "modifier", None)
        if modifier is None:
            continue
        if isinstance(node, promql.AggregateExpr):
            yield from ((node, label) for label in modifier.labels)
        else:
            matching = modifier.matching.labels if modifier.matching is not None else []
            yield from ((node, label) for label in (*matching, *(modifier.group_labels or ())))


def grouping_of(aggregation: Any) -> Grouping:
    """Returns the labels that an aggregation keeps."""
    modifier = aggregation.modifier
    if modifier is None:
        return grouping(frozenset(), keep=True)
    return grouping(frozenset(modifier.labels), keep=modifier.type == promql.AggModifierType.By)


def matching_of(operation: Any) -> Grouping:
    """Returns the labels by which an operator matches the series of its sides."""
    matching = getattr(operation.modifier, "matching", None)
    if matching is None:
        return BY_ALL_LABELS
    return grouping(frozenset(matching.labels), keep=matching.type == promql.LabelModifierType.Include)


def looks_at_alerts(tree: Any) -> bool:
    """Returns whether an expression selects series of alerts."""
    return any(selector.metric in ALERT_SERIES for selector in selectors(tree))
