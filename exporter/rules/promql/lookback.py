"""How far back an expression looks, by metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from exporter.rules.promql.sources import LOOKBACK_MS, SUBQUERY_STEP_MS
from exporter.rules.promql.time_shifts import length, offset_ms
from exporter.rules.promql.traversal import is_shifted
from exporter.rules.promql.tree import Range, Selector, Subquery, Tree

ALL_MS: Final = 2**62
"""As far as anything is kept: what ``@`` with a time asks for."""


class Look(NamedTuple):
    """A selector or a range, and how old the samples can be that are seen there, in milliseconds."""

    tree: Tree
    metric: str
    back_ms: int


def lookback_ms(tree: Tree) -> Mapping[str, int]:
    """Returns how old the samples of each metric can be that an expression sees, in milliseconds.

    Metrics of which it sees only what is shown at the instant of the evaluation are left out.
    """
    longest: dict[str, int] = {}
    for look in looks_back(tree):
        if look.back_ms > longest.get(look.metric, 0):
            longest[look.metric] = look.back_ms
    return longest


def looks_back(tree: Tree, before_ms: int = 0) -> Iterator[Look]:
    """Yields what in an expression, which is evaluated up to ``before_ms`` earlier, looks at anything but now."""
    match tree:
        case Selector():
            if before_ms or is_shifted(tree):
                yield Look(tree, tree.metric, min(_begins_ms(tree, before_ms) + LOOKBACK_MS, ALL_MS))
        case Range():
            around_ms = LOOKBACK_MS if tree.selector.mode is not None else 0
            begins_ms = _begins_ms(tree.selector, before_ms) + length(tree.range).ms
            yield Look(tree, tree.selector.metric, min(begins_ms + around_ms, ALL_MS))
        case Subquery():
            yield from looks_back(tree.expression, _begins_ms(tree, before_ms) + length(tree.range).ms)
        case _:
            for operand in tree.operands:
                yield from looks_back(operand, before_ms)


def _begins_ms(tree: Selector | Subquery, before_ms: int) -> int:
    """Returns how much earlier than the evaluation ``offset`` and ``@`` put what is selected."""
    if tree.at is None:
        return max(before_ms + offset_ms(tree), 0)
    if tree.at.seconds is None:
        return max(offset_ms(tree), 0)
    return ALL_MS


def evaluations(tree: Tree) -> int:
    """Returns how often a part of the expression is evaluated, at most: subqueries evaluate what is in them again."""
    inside = max(map(evaluations, tree.operands), default=1)
    if not isinstance(tree, Subquery):
        return inside
    step_ms = SUBQUERY_STEP_MS if tree.step is None else length(tree.step).ms
    return inside * max(length(tree.range).ms // step_ms, 1)
