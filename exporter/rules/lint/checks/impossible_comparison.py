"""A comparison whose outcome never changes, because the number lies outside what is compared with it."""

from __future__ import annotations

import math

from exporter.rules.golang import shortest
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.tree import walk


def check(context: Context) -> Problems:
    for tree in walk(context.tree):
        comparison = context.rules.comparisons.with_number(tree)
        verdict = comparison.verdict() if comparison is not None else None
        if comparison is None or verdict is None:
            continue
        minimum, maximum, _ = comparison.bounds
        if math.isnan(comparison.threshold):
            yield context.about(tree, " compares with NaN, which nothing equals")
        elif math.isfinite(minimum) or math.isfinite(maximum):
            if verdict and (minimum == maximum or comparison.is_of_count):
                continue  # "ALERTS == 1" and "count(...) > 0" mean no harm
            always = "always" if verdict else "never"
            yield context.about(tree, f" is {always} true: {context.name_of(comparison)} is {_range(minimum, maximum)}")


def _range(minimum: float, maximum: float) -> str:
    if math.isinf(minimum):
        return f"{shortest(maximum)} at most"
    if math.isinf(maximum):
        return f"{shortest(minimum)} at least"
    return shortest(minimum) if minimum == maximum else f"{shortest(minimum)} to {shortest(maximum)}"
