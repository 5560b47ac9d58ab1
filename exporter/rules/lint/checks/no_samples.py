"""A selector whose time has no samples: one that is fixed, and soon forgotten, or one that is yet to come."""

from __future__ import annotations

import math

from exporter.durations import Duration
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.lookback import looks_ahead
from exporter.rules.promql.traversal import is_shifted
from exporter.rules.promql.tree import Selector, Subquery, walk


def check(context: Context) -> Problems:
    kept_seconds = context.installation.max_range_seconds
    kept = "for a time" if math.isinf(kept_seconds) else f"for {Duration(kept_seconds)} (rules.max_range)"
    for tree in walk(context.tree):
        if isinstance(tree, Selector | Subquery) and tree.at is not None and tree.at.seconds is not None:
            yield context.about(tree, f" is of a fixed time: samples are kept {kept}, and then it selects nothing")
    if not any(map(is_shifted, walk(context.tree))):
        return
    for tree in looks_ahead(context.tree, context.rule.query_offset_ms):
        yield context.about(tree, " selects nothing: it looks at what is ahead of the evaluation")
