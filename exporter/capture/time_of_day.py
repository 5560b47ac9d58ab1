"""Whether a rule depends on the day and hour, so that it cannot be played at another time.

The age of a timestamp or an alert (``time() - …_timestamp_seconds``, ``time() - ALERTS_FOR_STATE``) does not: clock and
timestamps are moved together.
"""

from __future__ import annotations

from typing import Any, Final

import promql_parser as promql

from exporter.rules.promql.expression import expression_text
from exporter.rules.promql.functions import CLOCK
from exporter.rules.promql.sources import ALERTS_FOR_STATE
from exporter.rules.promql.traversal import selectors, sub_expressions, walk
from exporter.rules.rule import CompiledRule

_TIMESTAMP: Final = "_timestamp_seconds"


def is_timestamp(metric: str) -> bool:
    """Whether a metric's values are times, in seconds since 1970."""
    return metric.endswith(_TIMESTAMP) or metric == ALERTS_FOR_STATE


def time_of_day(rule: CompiledRule) -> str | None:
    """Returns the sub-expression that asks for the day or the hour; None if there is none."""
    tree = _asking(rule.expression.tree)
    return None if tree is None else expression_text(tree)


def _asking(tree: Any) -> Any | None:
    if _is_age(tree):
        return None
    if isinstance(tree, promql.Call) and (tree.func.name == "time" or (tree.func.name in CLOCK and not tree.args)):
        return tree
    if isinstance(tree, promql.VectorSelector):
        return tree if any(is_timestamp(s.metric) for s in selectors(tree)) else None
    return next(filter(None, map(_asking, sub_expressions(tree))), None)


def _is_age(tree: Any) -> bool:
    if not isinstance(tree, promql.BinaryExpr) or str(tree.op) != "-" or not _is_now(tree.lhs):
        return False
    metrics = [s.metric for s in selectors(tree.rhs)]
    return bool(metrics) and all(map(is_timestamp, metrics)) and all(map(_keeps_times, walk(tree.rhs)))


def _keeps_times(tree: Any) -> bool:
    if isinstance(tree, promql.AggregateExpr):
        return str(tree.op) in {"min", "max", "avg"}
    return isinstance(tree, promql.VectorSelector | promql.ParenExpr)


def _is_now(tree: Any) -> bool:
    if isinstance(tree, promql.ParenExpr):
        return _is_now(tree.expr)
    return isinstance(tree, promql.Call) and tree.func.name == "time"
