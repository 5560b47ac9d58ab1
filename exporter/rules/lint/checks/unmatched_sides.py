"""Two sides of an operator whose series never match, as where only one has a label and both are matched by it."""

from __future__ import annotations

from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.label_values import ABSENT_VALUE, Values
from exporter.rules.promql.series import PARTICIPANT
from exporter.rules.promql.tree import Binary, walk


def check(context: Context) -> Problems:
    for tree in walk(context.tree):
        conflicts = context.rules.label_values.conflicts(tree) if isinstance(tree, Binary) else {}
        if isinstance(tree, Binary) and conflicts:
            label, (left, right) = next(iter(conflicts.items()))
            effect = "removes nothing" if tree.operator == "unless" else "gives nothing"
            # What one side lacks can be left out of the match; where both have it, and never the same, it cannot.
            lacks = any(ABSENT_VALUE in sides for sides in conflicts.values())
            hint = f"; match by what both have, as `on ({PARTICIPANT})`" if lacks else ""
            sides = f"on the left {label} is {_shown(left)}, on the right {_shown(right)}"
            yield context.about(tree, f" {effect}, for its sides never match: {sides}{hint}")


def _shown(values: Values) -> str:
    if values is None:
        return "there"
    return " or ".join(sorted(values - ABSENT_VALUE)) or "missing"
