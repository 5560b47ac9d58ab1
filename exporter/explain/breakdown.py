"""The breakdown of an expression: the result of each sub-expression at one poll."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser as promql

from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.expression import Compiler, expression_text
from exporter.rules.promql.functions import COMPARISONS
from exporter.rules.promql.nodes import Scalar
from exporter.rules.promql.series import POLICY, Vector
from exporter.rules.promql.sources import Moment
from exporter.rules.promql.traversal import sub_expressions
from exporter.rules.promql.vector_matching import SET_OPERATORS


@dataclass(frozen=True, slots=True)
class NodeResult:
    """A sub-expression and its series (``scalar`` where it is one); none of either where it failed (``error``).

    ``is_condition``: it filters, so that no series means false. ``lowest_first``: its lowest value comes nearest to the
    condition that it is compared in.
    """

    tree: Any
    series: Vector
    scalar: float | None
    is_condition: bool
    lowest_first: bool
    children: tuple[NodeResult, ...]
    error: str | None = None

    @property
    def text(self) -> str:
        return expression_text(self.tree)

    def branches(self) -> Iterator[NodeResult]:
        """Yields the sides of the outermost ``or``, however many it has; itself where it has none."""
        if isinstance(self.tree, promql.BinaryExpr) and str(self.tree.op) == "or":
            for child in self.children:
                yield from child.branches()
        else:
            yield self


def break_down(tree: Any, moment: Moment, policy: str | None, *, lowest_first: bool = False) -> NodeResult:
    """Evaluates an expression and its sub-expressions; keeps series of ``policy`` and of none (None: all)."""
    while isinstance(tree, promql.ParenExpr):
        tree = tree.expr
    operator = str(tree.op) if isinstance(tree, promql.BinaryExpr) else ""
    if operator in COMPARISONS:
        lowest_first = operator in {"<", "<="}
    as_bool = bool(operator and tree.modifier is not None and tree.modifier.return_bool)
    operands = [child for child in sub_expressions(tree) if not _is_literal(child)]
    series: Vector = []
    scalar = error = None
    node = Compiler(None).compile(tree)
    try:
        if isinstance(node, Scalar):
            scalar = node.run(moment)
        else:
            series = [s for s in node.run(moment) if policy is None or s[1].get(POLICY) in {"", policy}]
    except RuleEvaluationFailed as failed:
        error = str(failed)
    return NodeResult(
        tree,
        series,
        scalar,
        is_condition=operator in SET_OPERATORS or (operator in COMPARISONS and not as_bool),
        lowest_first=lowest_first,
        children=tuple(break_down(operand, moment, policy, lowest_first=lowest_first) for operand in operands),
        error=error,
    )


def _is_literal(tree: Any) -> bool:
    if isinstance(tree, promql.ParenExpr | promql.UnaryExpr):
        return _is_literal(tree.expr)
    return isinstance(tree, promql.NumberLiteral)
