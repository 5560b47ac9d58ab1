"""A threshold in another unit than what is compared with it: a share where per cent are, milliseconds, an age."""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from enum import Enum, auto
from typing import Final

from exporter.durations import Duration
from exporter.rules.golang import shortest
from exporter.rules.lint.comparisons import comparison_with_number, within
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.traversal import constant
from exporter.rules.promql.tree import Binary, Selector, Tree, walk


class _Unit(Enum):
    PERCENT = auto()
    SHARE = auto()
    SECONDS = auto()
    TIME = auto()


_UNITS: Final = {
    "dict_rate_limit_utilization_percent": _Unit.PERCENT,
    "dict_rate_limit_error_404_rate": _Unit.SHARE,
    "dict_rate_limit_error_429_rate": _Unit.SHARE,
    "dict_rate_limit_recovery_eta_seconds": _Unit.SECONDS,
    "dict_rate_limit_exhaustion_projection_seconds": _Unit.SECONDS,
    "dict_rate_limit_poll_interval_seconds": _Unit.SECONDS,
    "dict_rate_limit_clock_skew_seconds": _Unit.SECONDS,
    "dict_rate_limit_last_success_timestamp_seconds": _Unit.TIME,
    "dict_rate_limit_category_changed_timestamp_seconds": _Unit.TIME,
}
_TOKENS: Final = frozenset({"dict_rate_limit_available_tokens", "dict_rate_limit_lowest_available_tokens"})
_CAPACITY: Final = "dict_rate_limit_capacity"

_LONGEST_SECONDS: Final = 432_000.0
"""Five days: what the slowest bucket, CIDS_FILES_WRITE, takes from empty to full."""

_TIMES: Final = range(1_000_000_000, 10_000_000_000)
"""Seconds since 1970 in this century and the next: milliseconds are above."""


def check(context: Context) -> Problems:
    for tree in walk(context.tree):
        comparison = comparison_with_number(tree)
        if comparison is None or comparison.verdict() is not None:  # another check tells of that
            continue
        wrong = _wrong(_unit_of(comparison.compared), comparison.threshold)
        if wrong:
            what = comparison.bounds.gauge or f"`{context.rule.expression.excerpt(comparison.compared)}`"
            yield context.about(tree, f" {wrong.format(what=what)}")


def _wrong(unit: _Unit | None, threshold: float) -> str:
    """Returns which units are compared, a sentence with a place for what is compared; nothing where they are one."""
    if unit is _Unit.PERCENT and 0 < abs(threshold) < 1:
        return f"compares per cent with a share: {{what}} is 0 to 100; write {shortest(100 * threshold)}"
    if unit is _Unit.SHARE and 1 < abs(threshold) < math.inf:
        return f"compares a share with per cent: {{what}} is 0 to 1; write {shortest(threshold / 100)}"
    if unit is _Unit.SECONDS and _LONGEST_SECONDS < abs(threshold) < math.inf:
        span = Duration(abs(threshold))
        return f"compares seconds with milliseconds: {{what}} is in seconds, and {shortest(threshold)} s are {span}"
    if unit is _Unit.TIME and int(min(abs(threshold), 1e18)) not in _TIMES:
        return "compares a time with a duration: {what} is in seconds since 1970; its age is `time() - ...`"
    return ""


def _unit_of(tree: Tree) -> _Unit | None:
    """Returns the unit of an expression's values; None where it has none, or an unknown one."""
    if isinstance(tree, Selector):
        return _UNITS.get(tree.metric)
    if isinstance(tree, Binary) and tree.operator in {"*", "/", "-"}:
        return _computed(tree)
    inner = within(tree)
    return None if inner is None else _unit_of(inner)


def _computed(tree: Binary) -> _Unit | None:
    left, right = constant(tree.left), constant(tree.right)
    if left is None and right is None:
        is_level = tree.operator == "/" and _selects(tree.left, _TOKENS) and _selects(tree.right, {_CAPACITY})
        return _Unit.SHARE if is_level else None
    unit = _unit_of(tree.left if left is None else tree.right)
    match unit, tree.operator, left, right:
        case (_Unit.SHARE, "*", 100, _) | (_Unit.SHARE, "*", _, 100) | (_Unit.PERCENT, "-", 100, _):
            return _Unit.PERCENT
        case (_Unit.PERCENT, "/", _, 100) | (_Unit.SHARE, "-", 1, _):
            return _Unit.SHARE
        case _:
            return None


def _selects(tree: Tree, metrics: AbstractSet[str]) -> bool:
    while (inner := within(tree)) is not None:
        tree = inner
    return isinstance(tree, Selector) and tree.metric in metrics
