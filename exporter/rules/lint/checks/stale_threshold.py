"""A threshold that may begin to fire during an outage of the Bridge, on figures from before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME
from exporter.rules.finding import Location
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import UP, Presence, presence
from exporter.rules.promql.series import PARTICIPANT
from exporter.rules.promql.traversal import is_shifted
from exporter.rules.promql.tree import Aggregation, Binary, Call, Paren, Range, Tree, without_parens

_ENDS: Final = {
    "changes": (">", ">="),
    "resets": (">", ">="),
    "max_over_time": (">", ">="),
    "min_over_time": ("<", "<="),
}
"""Comparisons with functions of samples that a sample like the last one, in place of the oldest, makes no truer."""

_TRUE_OF_FEWER: Final = {">": ("max", "sum"), ">=": ("max", "sum"), "<": ("min",), "<=": ("min",)}
"""By comparison, the aggregations that are no truer where a series has gone; what is summed is never negative."""


def check(context: Context) -> Problems:
    tree = context.tree
    if context.rule.kind == "recording" or context.looked_at.isdisjoint(BUCKET_METRIC_BY_NAME):
        return
    situations, own = context.situations, context.rule.name
    if presence(tree, situations.of(own, up=False, figures=False, others=Presence.NEVER)) is not Presence.NEVER:
        return  # the outage itself sets it off
    at_first, answered = situations.of(own, up=False, figures=True), situations.of(own, up=True, figures=True)
    if any(
        presence(branch, at_first) >= Presence.POSSIBLE and presence(branch, answered) >= Presence.POSSIBLE
        for branch in _branches(tree)
        if context.parsed.for_seconds or not _only_ends(branch, context)
    ):
        message = (
            "may begin to fire while the Bridge does not answer, on figures from before; "
            f"let its threshold ask for an answered poll: `and on ({PARTICIPANT}) {UP} == 1`"
        )
        yield Location(context.parsed.expr.line), message


def _only_ends(tree: Tree, context: Context) -> bool:
    """Returns whether a comparison can become false and not true while what it looks at stays the same."""
    comparison = context.rules.comparisons.with_number(tree)
    if comparison is None:
        return False
    compared = without_parens(comparison.compared)
    while isinstance(compared, Aggregation) and compared.operator in _TRUE_OF_FEWER.get(comparison.operator, ()):
        compared = without_parens(compared.expression)
    if not isinstance(compared, Call) or comparison.operator not in _ENDS.get(compared.function, ()):
        return False
    [over] = compared.operands
    # What rules record may change while the figures that it is made of stay the same.
    return isinstance(over, Range) and not is_shifted(over.selector) and over.selector.metric in BUCKET_METRIC_BY_NAME


def _branches(tree: Tree) -> Iterator[Tree]:
    """Yields the sides of every `or` that joins whole expressions."""
    if isinstance(tree, Paren | Aggregation):
        yield from _branches(tree.expression)
    elif isinstance(tree, Binary) and tree.operator == "or":
        yield from _branches(tree.left)
        yield from _branches(tree.right)
    else:
        yield tree
