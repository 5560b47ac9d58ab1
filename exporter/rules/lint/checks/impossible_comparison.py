"""A comparison whose outcome never changes, because the number lies outside what a gauge can be."""

from __future__ import annotations

import math

from exporter.rules.golang import shortest
from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.presence import gauge_comparison
from exporter.rules.promql.tree import walk


def check(context: Context) -> Problems:
    for tree in walk(context.rule.expression.tree):
        comparison = gauge_comparison(tree)
        verdict = comparison.verdict() if comparison is not None else None
        if comparison is None or verdict is None:
            continue
        if math.isnan(comparison.threshold):
            why = "compares with NaN, which nothing equals"
        else:
            bounds = f"{shortest(comparison.minimum)} to {shortest(comparison.maximum)}"
            why = f"is {'always' if verdict else 'never'} true: {comparison.gauge} is {bounds}"
        yield context.about(tree, f" {why}")
