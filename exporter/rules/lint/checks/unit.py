"""A threshold in another unit than what is compared with it: a share where per cent are, milliseconds, an age."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from enum import Enum, auto
from typing import Final

from exporter.buckets.catalog import POLICIES
from exporter.durations import Duration
from exporter.rules.golang import shortest
from exporter.rules.lint.comparisons import Comparison, Comparisons, within
from exporter.rules.lint.context import Context, Problems
from exporter.rules.promql.tree import Binary, Selector, Tree, walk


class _Unit(Enum):
    PERCENT = auto()
    SHARE = auto()
    SECONDS = auto()
    TIME = auto()


_BY_ENDING: Final = {
    "_percent": _Unit.PERCENT,
    "_rate": _Unit.SHARE,
    "_timestamp_seconds": _Unit.TIME,
    "_seconds": _Unit.SECONDS,
}
"""The unit by how a gauge's name ends; the first that fits."""

_LEVELS: Final = frozenset({"dict_rate_limit_available_tokens", "dict_rate_limit_lowest_available_tokens"})
_CAPACITY: Final = "dict_rate_limit_capacity"

_LEAST_SHARE: Final = 0.5
_LEAST_PERCENT: Final = 5.0
"""Less is seldom meant: half of the bucket used, and more than five times what is full."""

_LONGEST_SECONDS: Final = max(
    limit.capacity / limit.refill_tokens * limit.refill_period_seconds for limit in POLICIES.values() if limit
)
"""What the slowest bucket takes from empty to full: five days."""

_DAY: Final = 86_400
_MOST_DAYS: Final = 100
"""More are whole days in milliseconds."""

_TIMES: Final = range(1_000_000_000, 10_000_000_000)
"""Seconds since 1970 in this century and the next: milliseconds are above."""

_LARGEST: Final = 1e12


def check(context: Context) -> Problems:
    for tree in walk(context.tree):
        comparison = context.rules.comparisons.with_number(tree)
        if comparison is None or comparison.verdict() is not None:  # another check tells of that
            continue
        unit = _unit_of(comparison.compared, context.rules.comparisons)
        problem = _problem(unit, comparison, context.rule.expression.excerpt(comparison.number))
        if problem:
            yield context.about(tree, f" seems to compare {problem.format(what=context.name_of(comparison))}")


def _problem(unit: _Unit | None, comparison: Comparison, written: str) -> str:
    """Returns which units seem to be compared, with a place for what is compared; nothing where they are the same."""
    threshold, is_above = comparison.threshold, comparison.operator in {">", ">="}
    if unit is _Unit.PERCENT and is_above and _LEAST_SHARE <= threshold < 1:
        return f"per cent with a share: {{what}} is 0 to 100; for {shortest(100 * threshold)} % write that"
    if unit is _Unit.SHARE and (_LEAST_PERCENT if is_above else 1) < threshold <= 100:
        return f"a share with per cent: {{what}} is 1 at most; for {written} % write {shortest(threshold / 100)}"
    # A number of seconds that is written as a duration, or multiplied, or whole days, is meant.
    is_meant = not written.isdecimal() or (threshold % _DAY == 0 and threshold <= _MOST_DAYS * _DAY)
    if unit is _Unit.SECONDS and _LONGEST_SECONDS < threshold < _LARGEST and not is_meant:
        return f"seconds with milliseconds: {{what}} is in seconds, and {written} s are {Duration(threshold)}"
    if unit is _Unit.TIME and threshold and int(min(abs(threshold), _LARGEST)) not in _TIMES:
        return "a time with a duration: {what} is in seconds since 1970, its age is `time() - ...`"
    return ""


def _unit_of(tree: Tree, comparisons: Comparisons) -> _Unit | None:
    """Returns the unit of an expression's values; None where it has none, or an unknown one."""
    while not isinstance(tree, Selector):
        if isinstance(tree, Binary) and tree.operator == "/" and _selects(tree.left, _LEVELS):
            return _Unit.SHARE if _selects(tree.right, {_CAPACITY}) else None
        if isinstance(tree, Binary) and tree.operator == "-" and comparisons.constant(tree.left) == 1:
            tree = tree.right
            continue
        inner = within(tree)
        if inner is None:
            return None
        tree = inner
    return next((unit for ending, unit in _BY_ENDING.items() if tree.metric.endswith(ending)), None)


def _selects(tree: Tree, metrics: AbstractSet[str]) -> bool:
    while (inner := within(tree)) is not None:
        tree = inner
    return isinstance(tree, Selector) and tree.metric in metrics
