"""Two sides of an operator whose series never match, as where only one has a label and both are matched by it."""

from __future__ import annotations

from exporter.rules.lint.context import Context, Problems
from exporter.rules.lint.label_values import ABSENT_VALUE, Values
from exporter.rules.promql.tree import Binary, walk


def check(context: Context) -> Problems:
    values = context.rules.label_values
    for tree in walk(context.tree):
        conflicts = values.conflicts(tree) if isinstance(tree, Binary) else {}
        if isinstance(tree, Binary) and conflicts:
            label, (left, right) = next(iter(conflicts.items()))
            effect = "removes nothing" if tree.operator == "unless" else "gives nothing"
            common = ", ".join(values.in_common(tree))
            hint = f"; match by what both have: `on ({common})`" if common else ""
            sides = f"on the left {label} is {_text(left)}, on the right {_text(right)}"
            yield context.about(tree, f" {effect}, for its sides never match: {sides}{hint}")


def _text(values: Values) -> str:
    if values is None:
        return "there"
    return " or ".join(sorted(values - ABSENT_VALUE)) or "missing"
