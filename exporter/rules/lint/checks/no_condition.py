"""An alert without a condition: it fires while nothing is wrong, too, for every series that there is."""

from __future__ import annotations

from typing import Final

from exporter.buckets.gauges import PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.finding import Location
from exporter.rules.lint.comparisons import Comparison
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import REFUSED, UP
from exporter.rules.promql.calls import ABSENT
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import series_operand
from exporter.rules.promql.tree import Binary, Call, Selector, Tree, walk

_AS_USUAL: Final = {UP: 1.0, REFUSED: 0.0}
"""What gauges are while nothing is wrong."""


def check(context: Context) -> Problems:
    if context.rule.kind == "recording" or context.is_unknown:
        return
    if _has_condition(context.tree, context, _recorded(context)):
        return
    message = "has no condition: it fires while nothing is wrong"
    if any(isinstance(tree, Binary) and tree.as_bool for tree in walk(context.tree)):
        message += "; a comparison with `bool` gives 0 or 1, and keeps every series"
    yield Location(context.parsed.expr.line), message


def _recorded(context: Context) -> dict[str, bool]:
    """Returns whether what rules record has a condition, by name."""
    recorded = context.rules.have_condition
    if not recorded:
        for name in context.rules.recording:  # one after those that it is made of, so that no chain is too deep
            _is_recorded_on_condition(name, context, recorded)
    return recorded


def _has_condition(tree: Tree, context: Context, recorded: dict[str, bool]) -> bool:
    """Returns whether an expression tells some series from others, or one time from another.

    ``recorded`` is whether what rules record does.
    """
    match tree:
        case Selector():
            return _is_condition(tree, context, recorded)
        case Call() if tree.function in ABSENT:
            return True
        case Binary() if tree.operator == "unless":
            left, right = tree.left, tree.right
            comparison = context.rules.comparisons.with_number(right)
            return not _is_usually(comparison, holds=False) or _has_condition(left, context, recorded)
        case Binary() if tree.filters:
            return _is_compared(tree, context, recorded)
        case Binary():
            have = (_has_condition(side, context, recorded) for side in (tree.left, tree.right))
            return all(have) if tree.operator == "or" else any(have)
        case _:
            operand = series_operand(tree)
            return operand is not None and _has_condition(operand, context, recorded)


def _is_compared(tree: Binary, context: Context, recorded: dict[str, bool]) -> bool:
    comparison = context.rules.comparisons.with_number(tree)
    if comparison is not None and comparison.is_of_count and comparison.verdict():
        return _has_condition(comparison.compared, context, recorded)
    return not _is_usually(comparison, holds=True)


def _is_condition(tree: Selector, context: Context, recorded: dict[str, bool]) -> bool:
    """Returns whether series of a selector are only there where something is the matter."""
    metric = tree.metric
    if metric in context.rules.recording:
        return _is_recorded_on_condition(metric, context, recorded)
    gauge = PARTICIPANT_GAUGE_BY_NAME.get(metric)
    changing = gauge.label_names if gauge is not None else ()
    return (
        metric in ALERT_SERIES
        or (gauge is not None and gauge.of_an_event)
        or any(matcher.label in changing for matcher in tree.conditions)
    )


def _is_recorded_on_condition(name: str, context: Context, recorded: dict[str, bool]) -> bool:
    if name not in recorded:
        recorded[name] = True  # as far as it is made of itself
        rules = context.rules.recording[name]
        recorded[name] = all(_has_condition(rule.expression.tree, context, recorded) for rule in rules)
    return recorded[name]


def _is_usually(comparison: Comparison | None, *, holds: bool) -> bool:
    """Returns whether a comparison is true, or is false, while nothing is wrong: it is a guard, and no condition."""
    usual = _AS_USUAL.get(comparison.bounds.gauge) if comparison is not None and comparison.is_now else None
    return comparison is not None and usual is not None and comparison.holds_for(usual) is holds
