"""What a rule depends on: the alerts of other rules, what they record, and the time of day.

One that asks for the day and hour, or looks at a time of its own (``@``), cannot be played at another time. The age of
a timestamp or an alert (``time() - …_timestamp_seconds``, ``time() - ALERTS_FOR_STATE``) is the same then: clock and
timestamps are moved together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from exporter.alerts.rule import Rule
from exporter.rules.promql.functions import CALENDAR
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS_FOR_STATE
from exporter.rules.promql.traversal import selected_alerts, selectors
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
    without_parens,
)
from exporter.rules.rule import AnyCompiledRule


def with_dependencies(rules: Sequence[AnyCompiledRule], all_rules: Sequence[AnyCompiledRule]) -> list[AnyCompiledRule]:
    """Returns the rules and all whose series these depend on, in the order of ``all_rules``."""
    needed: set[int] = set()
    unresolved = list(rules)
    while unresolved:
        rule = unresolved.pop()
        if id(rule) not in needed:
            needed.add(id(rule))
            unresolved += _dependencies(rule, all_rules)
    return [rule for rule in all_rules if id(rule) in needed]


def written_names(rule: Rule) -> Collection[str]:
    """Returns the names of the series that a rule writes."""
    return ALERT_SERIES if rule.kind == "alerting" else (rule.name,)


def _dependencies(rule: AnyCompiledRule, all_rules: Sequence[AnyCompiledRule]) -> list[AnyCompiledRule]:
    """Returns the rules whose alerts or series the rule selects, itself included where it does."""
    names = {other.name for other in all_rules if other.kind == "alerting"}
    alerts: set[str] = set()
    metrics: set[str] = set()
    for selector in selectors(rule.expression.tree):
        metrics.add(selector.metric)
        if selector.metric in ALERT_SERIES:
            alerts.update(selected_alerts(selector, names))
    return [other for other in all_rules if other.name in (alerts if other.kind == "alerting" else metrics)]


def is_timestamp(metric: str) -> bool:
    """Whether a metric's values are times, in seconds since 1970."""
    return metric.endswith("_timestamp_seconds") or metric == ALERTS_FOR_STATE


def time_of_day(rule: AnyCompiledRule) -> str | None:
    """Returns the sub-expression that asks for the day, the hour or a time; None if there is none."""
    tree = _asking(rule.expression.tree)
    return None if tree is None else rule.expression.excerpt(tree)


def _asking(tree: Tree) -> Tree | None:
    if _is_age(tree):
        return None
    if isinstance(tree, Call) and (tree.function == "time" or (tree.function in CALENDAR and not tree.arguments)):
        return tree
    selecting = tree.selector if isinstance(tree, Range) else tree
    if isinstance(selecting, Selector | Subquery) and selecting.at is not None and selecting.at.seconds is not None:
        return tree
    if isinstance(tree, Selector):
        return tree if is_timestamp(tree.metric) else None
    asking = (_asking(operand) for operand in tree.operands)
    return next((operand for operand in asking if operand is not None), None)


def _is_age(tree: Tree) -> bool:
    if not isinstance(tree, Binary) or tree.operator != "-" or not _is_now(tree.left):
        return False
    metrics = [s.metric for s in selectors(tree.right)]
    return bool(metrics) and all(map(is_timestamp, metrics)) and all(map(_keeps_times, walk(tree.right)))


def _keeps_times(tree: Tree) -> bool:
    if isinstance(tree, Aggregation):
        return tree.operator in {"min", "max", "avg"}
    return isinstance(tree, Selector | Paren)


def _is_now(tree: Tree) -> bool:
    tree = without_parens(tree)
    return isinstance(tree, Call) and tree.function == "time"
