"""A selector whose time has no samples: one that is fixed, and soon forgotten, or one that is yet to come."""

from __future__ import annotations

from exporter.durations import Duration
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.lookback import looks_ahead
from exporter.rules.promql.traversal import is_shifted
from exporter.rules.promql.tree import Range, Selector, Subquery, walk


def check(context: Context) -> Problems:
    if not any(map(is_shifted, walk(context.tree))):
        return
    kept = Duration(context.installation.max_range_seconds)
    in_ranges = {id(tree.selector) for tree in walk(context.tree) if isinstance(tree, Range)}
    for tree in walk(context.tree):
        shifted = tree.selector if isinstance(tree, Range) else tree
        if not isinstance(shifted, Selector | Subquery) or id(tree) in in_ranges:
            continue
        if shifted.at is not None and shifted.at.seconds is not None:
            why = f"samples are kept for {kept} (rules.max_range), and then it selects nothing"
            yield context.about(tree, f" is of a fixed time: {why}")
    for tree in looks_ahead(context.tree, context.rule.query_offset_ms):
        yield context.about(tree, " selects nothing: it looks at what is ahead of the evaluation")
