"""A comparison whose outcome never changes, because the number lies outside what is compared with it."""

from __future__ import annotations

import math

from exporter.rules.golang import shortest
from exporter.rules.lint.comparisons import comparison_with_number
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.tree import walk


def check(context: Context) -> Problems:
    for tree in walk(context.tree):
        comparison = comparison_with_number(tree)
        verdict = comparison.verdict() if comparison is not None else None
        if comparison is None or verdict is None:
            continue
        minimum, maximum, gauge = comparison.bounds
        if math.isnan(comparison.threshold):
            yield context.about(tree, " compares with NaN, which nothing equals")
            continue
        what = gauge or f"`{context.rule.expression.excerpt(comparison.compared)}`"
        if math.isinf(minimum):
            bounds = f"{shortest(maximum)} at most"
        else:
            bounds = f"{shortest(minimum)} to {shortest(maximum)}"
        yield context.about(tree, f" is {'always' if verdict else 'never'} true: {what} is {bounds}")
