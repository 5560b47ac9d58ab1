"""An expression taken apart: what each part of it gave at one poll."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import promql_parser as promql

from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.compiler import Compiler
from exporter.rules.promql.expression import POLICY, written
from exporter.rules.promql.nodes import Scalar
from exporter.rules.promql.traversal import looks_at_alerts
from exporter.rules.promql.traversal import parts as parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.rules.promql.series import Sample, Vector
    from exporter.rules.promql.sources import Moment

_SETS: Final = frozenset({"and", "or", "unless"})
_COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an expression, and its series about the subject (``number`` where it is a scalar).

    ``condition``: whether it filters, so that no series means false.
    ``lowest_first``: what comes nearest to a condition on it. ``error``: why it gave nothing.
    """

    tree: Any
    series: Vector
    number: float | None
    condition: bool
    lowest_first: bool
    parts: tuple[Part, ...]
    error: str | None = None

    @property
    def text(self) -> str:
        return written(self.tree)

    @property
    def uses_alerts(self) -> bool:
        return looks_at_alerts(self.tree)

    def branches(self) -> Iterator[Part]:
        """Yields the sides of the outermost ``or``, however many it has; itself where it has none."""
        if isinstance(self.tree, promql.BinaryExpr) and str(self.tree.op) == "or":
            for part in self.parts:
                yield from part.branches()
        else:
            yield self

    def leaves(self) -> Iterator[Part]:
        """Yields the selectors."""
        if isinstance(self.tree, promql.VectorSelector):
            yield self
        for part in self.parts:
            yield from part.leaves()


def apart(tree: Any, moment: Moment, policy: str | None, *, lowest_first: bool = False) -> Part:
    """Takes an expression that compiles apart; only series of ``policy`` or of none are looked at (None: all)."""
    while isinstance(tree, promql.ParenExpr):
        tree = tree.expr
    operator = str(tree.op) if isinstance(tree, promql.BinaryExpr) else ""
    below = operator in {"<", "<="} if operator in _COMPARISONS else lowest_first
    as_bool = bool(operator and tree.modifier is not None and tree.modifier.return_bool)
    series, number, error = _given(tree, moment)
    return Part(
        tree,
        [sample for sample in series if _about(sample, policy)],
        number,
        condition=operator in _SETS or (operator in _COMPARISONS and not as_bool),
        lowest_first=below,
        parts=tuple(
            apart(part, moment, policy, lowest_first=below) for part in parts_of(tree) if not _is_literal(part)
        ),
        error=error,
    )


def _given(tree: Any, moment: Moment) -> tuple[Vector, float | None, str | None]:
    node = Compiler(None).compile(tree)
    try:
        return ([], node.run(moment), None) if isinstance(node, Scalar) else (node.run(moment), None, None)
    except RuleEvaluationFailed as failed:
        return [], None, str(failed)


def _about(sample: Sample, policy: str | None) -> bool:
    return policy is None or sample[1].get(POLICY) in {"", policy}


def _is_literal(tree: Any) -> bool:
    if isinstance(tree, promql.ParenExpr | promql.UnaryExpr):
        return _is_literal(tree.expr)
    return isinstance(tree, promql.NumberLiteral)
