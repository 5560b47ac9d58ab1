"""The breakdown of an expression: the result of each sub-expression at one poll."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.expression import Expression
from exporter.rules.promql.nodes import Instant, Scalar, run
from exporter.rules.promql.series import POLICY, Vector
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.sources import Moment
from exporter.rules.promql.tree import (
    COMPARISONS,
    SET_OPERATORS,
    Binary,
    Number,
    Text,
    Tree,
    Unary,
    without_parens,
)


@dataclass(frozen=True, slots=True)
class NodeResult:
    """A sub-expression, as written, and its series (``scalar`` where it is one); neither where it failed (``error``).

    ``is_condition``: it filters, so that no series means false. ``lowest_first``: its lowest value comes nearest to the
    condition that it is compared in.
    """

    text: str
    tree: Tree
    series: Vector
    scalar: float | None
    is_condition: bool
    lowest_first: bool
    children: tuple[NodeResult, ...]
    error: str | None = None

    def branches(self) -> Iterator[NodeResult]:
        """Yields the sides of the outermost ``or``, however many it has; itself where it has none."""
        if isinstance(self.tree, Binary) and self.tree.operator == "or":
            for child in self.children:
                yield from child.branches()
        else:
            yield self


def break_down(expression: Expression, moment: Moment, policy: str | None) -> NodeResult:
    """Returns the results of an expression and its sub-expressions; of series those of ``policy`` and of none.

    ``policy`` None: all.
    """
    return _break_down(expression, expression.tree, moment, policy, lowest_first=False)


def _break_down(
    expression: Expression, tree: Tree, moment: Moment, policy: str | None, *, lowest_first: bool
) -> NodeResult:
    tree = without_parens(tree)
    operation = tree if isinstance(tree, Binary) else None
    if operation is not None and operation.operator in COMPARISONS:
        lowest_first = operation.operator in {"<", "<="}
    series: Vector = []
    scalar = error = None
    node = expression.node(tree)
    try:
        if isinstance(node, Scalar):
            scalar = run(node.run, moment)
        elif isinstance(node, Instant):
            series = [s for s in run(node.run, moment) if policy is None or s[1].get(POLICY) in {"", policy}]
    except RuleEvaluationFailed as failed:
        error = str(failed)
    # The samples of a range are no value to show.
    parts = [part for part in tree.operands if not _is_literal(part) and part.type is not ValueType.RANGE]
    return NodeResult(
        expression.excerpt(tree),
        tree,
        series,
        scalar,
        is_condition=operation is not None and (operation.operator in SET_OPERATORS or operation.filters),
        lowest_first=lowest_first,
        children=tuple(_break_down(expression, part, moment, policy, lowest_first=lowest_first) for part in parts),
        error=error,
    )


def _is_literal(tree: Tree) -> bool:
    tree = without_parens(tree)
    return _is_literal(tree.operand) if isinstance(tree, Unary) else isinstance(tree, Number | Text)
