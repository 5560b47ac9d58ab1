"""How far back an expression looks, by metric."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeGuard

from exporter.buckets.gauges import METRIC_NAMES
from exporter.rules.promql.sources import ALERT_SERIES, LOOKBACK_MS, SUBQUERY_STEP_MS
from exporter.rules.promql.time_shifts import length, offset_ms
from exporter.rules.promql.traversal import is_shifted
from exporter.rules.promql.tree import Aggregation, Call, Range, Selector, Subquery, Tree, without_parens

ALL_MS: Final = 2**62
"""As far as anything is kept: what ``@`` with a time asks for."""

_NOW: Final = -(2**62)
"""Looks at the instant of the evaluation."""

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


def lookback_ms(tree: Tree, query_offset_ms: int = 0, *, alerts_by_time: bool = False) -> dict[str, int]:
    """Returns how old the samples of each metric can be that an expression sees, in milliseconds.

    Metrics of which it sees only what is shown at the instant of the evaluation are left out.
    """
    longest: dict[str, int] = {}
    for look in looks_back(tree, query_offset_ms, alerts_by_time=alerts_by_time):
        if look.back_ms > longest.get(look.metric, 0):
            longest[look.metric] = look.back_ms
    return longest


def looks_back(tree: Tree, query_offset_ms: int = 0, *, alerts_by_time: bool = False) -> Iterator[Look]:
    """Yields what in an expression looks at anything but now; it is evaluated as of ``query_offset_ms`` before now.

    ``alerts_by_time``: alerts may be written at other times than the expression's.
    """
    for look in _looks(tree, 0, None):
        is_recorded = look.metric not in METRIC_NAMES and look.metric not in ALERT_SERIES
        is_by_time = is_recorded or (alerts_by_time if look.metric in ALERT_SERIES else query_offset_ms > 0)
        if is_by_time or look.back_ms != _NOW:
            back_ms = query_offset_ms + (LOOKBACK_MS if look.back_ms == _NOW else look.back_ms)
            if back_ms <= 0:  # what lies ahead is to be kept, too, as soon as it is there
                back_ms = LOOKBACK_MS
            yield look._replace(back_ms=back_ms if back_ms < ALL_MS // 2 else ALL_MS)


def looks_ahead(tree: Tree, query_offset_ms: int = 0) -> Iterator[Tree]:
    """Yields what looks at nothing but a time after the evaluation's."""
    for look in _looks(tree, 0, None):
        if look.back_ms != _NOW and query_offset_ms + look.back_ms <= 0:
            yield look.tree


def _looks(tree: Tree, before_ms: int, outermost: Tree | None) -> Iterator[Look]:
    """Yields what an expression looks at, evaluated up to ``before_ms`` earlier; the subquery it is in, if it is."""
    match tree:
        case Selector():
            is_now = outermost is None and not is_shifted(tree)
            back_ms = _NOW if is_now else _begins_ms(tree, before_ms) + LOOKBACK_MS
            yield Look(outermost or tree, tree.metric, back_ms)
        case Call(function="timestamp", arguments=(argument,)) if _is_of_alerts(selector := without_parens(argument)):
            yield Look(outermost or tree, selector.metric, _begins_ms(selector, before_ms) + LOOKBACK_MS)
        case Range():
            around_ms = LOOKBACK_MS if tree.selector.mode is not None else 0
            back_ms = _begins_ms(tree.selector, before_ms) + length(tree.range).ms + around_ms
            yield Look(outermost or tree, tree.selector.metric, back_ms)
        case Subquery():
            begins_ms = _begins_ms(tree, before_ms) + length(tree.range).ms
            yield from _looks(tree.expression, begins_ms, outermost or tree)
        case _:
            for operand in tree.operands:
                yield from _looks(operand, before_ms, outermost)


def _is_of_alerts(tree: Tree) -> TypeGuard[Selector]:
    return isinstance(tree, Selector) and tree.metric in ALERT_SERIES


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
