"""An alert that compares nothing: it fires for every series, as long as there are any."""

from __future__ import annotations

from exporter.buckets.gauges import PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.finding import Location
from exporter.rules.lint.comparisons import comparison_with_number
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import REFUSED, UP
from exporter.rules.promql.calls import ABSENT
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import series_operand
from exporter.rules.promql.tree import Binary, Call, Selector, Tree, walk

_AS_USUAL = {UP: 1.0, REFUSED: 0.0}
"""What gauges are while nothing is wrong."""


def check(context: Context) -> Problems:
    if context.rule.kind == "recording" or _has_condition(context.tree, context, set()):
        return
    subject = "bucket" if context.rule.per_policy else "participant"
    message = f"compares nothing: it fires for every {subject}, whatever its figures"
    if any(isinstance(tree, Binary) and tree.as_bool for tree in walk(context.tree)):
        message += "; a comparison with `bool` gives 0 or 1, and keeps every series"
    yield Location(context.parsed.expr.line), message


def _has_condition(tree: Tree, context: Context, reached: set[str]) -> bool:
    """Returns whether an expression tells some series from others, or one time from another."""
    match tree:
        case Selector():
            return _is_condition(tree.metric, context, reached)
        case Call() if tree.function in ABSENT:
            return True
        case Binary() if tree.operator == "unless" or tree.filters:
            return not _is_as_usual(tree)
        case Binary():
            have = (_has_condition(side, context, reached) for side in (tree.left, tree.right))
            return all(have) if tree.operator == "or" else any(have)
        case _:
            operand = series_operand(tree)
            return operand is not None and _has_condition(operand, context, reached)


def _is_condition(metric: str, context: Context, reached: set[str]) -> bool:
    """Returns whether series of a metric are only there where something is the matter."""
    if metric in context.rules.recording and metric not in reached:
        reached.add(metric)  # what it is made of is looked at once
        rules = context.rules.recording[metric]
        return all(_has_condition(rule.expression.tree, context, reached) for rule in rules)
    gauge = PARTICIPANT_GAUGE_BY_NAME.get(metric)
    return metric in ALERT_SERIES or metric in reached or (gauge is not None and gauge.of_an_event)


def _is_as_usual(tree: Binary) -> bool:
    """Returns whether a comparison is true as long as nothing is wrong: it guards a condition, and is none."""
    comparison = comparison_with_number(tree)
    usual = _AS_USUAL.get(comparison.bounds.gauge) if comparison is not None and comparison.is_now else None
    return comparison is not None and usual is not None and comparison.holds_for(usual)
