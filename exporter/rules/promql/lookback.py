"""How far back an expression looks, by metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from exporter.rules.promql.sources import LOOKBACK_MS, SUBQUERY_STEP_MS
from exporter.rules.promql.time_shifts import length, offset_ms
from exporter.rules.promql.traversal import is_shifted
from exporter.rules.promql.tree import Aggregation, Call, Range, Selector, Subquery, Tree

ALL_MS: Final = 2**62
"""As far as anything is kept: what ``@`` with a time asks for."""


_POLLED_EVERY_MS: Final = 15_000
_LOOKED_UP: Final = 5.0
_WRITTEN: Final = 20.0
_WRITING: Final = frozenset({"label_replace", "label_join", "count_values"})


class Look(NamedTuple):
    """A selector, range or subquery, the outermost one, that looks at ``metric``.

    ``back_ms`` is how old the samples can be that are seen there, in milliseconds.
    """

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


def looks_back(tree: Tree, before_ms: int = 0, outermost: Tree | None = None) -> Iterator[Look]:
    """Yields what in an expression, which is evaluated up to ``before_ms`` earlier, looks at anything but now.

    ``outermost`` is the subquery that it is in.
    """
    match tree:
        case Selector():
            if outermost is not None or is_shifted(tree):
                yield _look(outermost or tree, tree.metric, _begins_ms(tree, before_ms) + LOOKBACK_MS)
        case Range():
            around_ms = LOOKBACK_MS if tree.selector.mode is not None else 0
            back_ms = _begins_ms(tree.selector, before_ms) + length(tree.range).ms + around_ms
            yield _look(outermost or tree, tree.selector.metric, back_ms)
        case Subquery():
            begins_ms = _begins_ms(tree, before_ms) + length(tree.range).ms
            yield from looks_back(tree.expression, begins_ms, outermost or tree)
        case _:
            for operand in tree.operands:
                yield from looks_back(operand, before_ms, outermost)


def _look(tree: Tree, metric: str, back_ms: int) -> Look:
    if back_ms <= 0:  # what lies ahead is to be kept, too, as soon as it is there
        back_ms = LOOKBACK_MS
    return Look(tree, metric, back_ms if back_ms < ALL_MS // 2 else ALL_MS)


def _begins_ms(tree: Selector | Subquery, before_ms: int) -> int:
    """Returns how much earlier than the evaluation ``offset`` and ``@`` put what is selected; negative: later."""
    if tree.at is None:
        return before_ms + offset_ms(tree)
    return offset_ms(tree) if tree.at.seconds is None else ALL_MS


def looked_at(tree: Tree) -> float:
    """Returns how many samples of one series are looked at in an evaluation, as of a poll each 15 s.

    What takes as long counts as well: a selector for five, an operation for one, one that writes labels for twenty.
    """
    match tree:
        case Selector():
            return _LOOKED_UP
        case Range():
            return _LOOKED_UP + length(tree.range).ms / _POLLED_EVERY_MS
        case Subquery():
            step_ms = SUBQUERY_STEP_MS if tree.step is None else length(tree.step).ms
            return max(length(tree.range).ms / step_ms, 1.0) * (1.0 + looked_at(tree.expression))
        case Call(function=operation) | Aggregation(operator=operation):
            own = _WRITTEN if operation in _WRITING else 1.0
            return own + sum(map(looked_at, tree.operands), start=0.0)
        case _:
            return 1.0 + sum(map(looked_at, tree.operands), start=0.0)
