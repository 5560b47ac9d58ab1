"""What an expression is made of, for what looks at it without running it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Final

from exporter.rules.promql.lexer import tokens
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.tree import (
    Aggregation,
    Binary,
    Call,
    Selector,
    Span,
    Subquery,
    Text,
    Tree,
    walk,
    without_parens,
)

_SERIES: Final = frozenset({ValueType.VECTOR, ValueType.RANGE})

_MODE: Final = re.compile(r"\s*(?:anchored|smoothed)\b", re.IGNORECASE)
"""What follows an operand, and is part of it though not of its span."""


def selectors(tree: Tree) -> Iterator[Selector]:
    """Yields the selectors of an expression."""
    return (node for node in walk(tree) if isinstance(node, Selector))


def listed_labels(tree: Tree) -> Iterator[tuple[Aggregation | Binary, str]]:
    """Yields the labels that ``by``, ``without``, ``on``, ``ignoring``, ``group_left`` and ``group_right`` list."""
    for node in walk(tree):
        if isinstance(node, Aggregation | Binary) and node.labels is not None:
            included = node.include if isinstance(node, Binary) else ()
            yield from ((node, label) for label in (*node.labels.names, *included))


def written_label(node: Tree) -> str | None:
    """Returns the label that one part of an expression writes, or None."""
    if isinstance(node, Call) and node.function in {"label_replace", "label_join"}:
        label = node.arguments[1]
    elif isinstance(node, Aggregation) and node.operator == "count_values" and node.parameter is not None:
        label = node.parameter
    else:
        return None
    text = without_parens(label)
    return text.value if isinstance(text, Text) else None


def written_labels(tree: Tree) -> Iterator[str]:
    """Yields the labels that an expression writes."""
    return (label for node in walk(tree) if (label := written_label(node)) is not None)


def series_operand(tree: Tree) -> Tree | None:
    """Returns the first operand that has series, of which those of a function, a sign or a range are made."""
    return next((operand for operand in tree.operands if operand.type in _SERIES), None)


def is_shifted(tree: Tree) -> bool:
    """Returns whether what is selected is that of another time than the evaluation's, or interpolated."""
    if isinstance(tree, Subquery):
        return tree.offset is not None or tree.at is not None
    return isinstance(tree, Selector) and (tree.offset, tree.at, tree.mode) != (None, None, None)


def selected_alerts(selector: Selector, names: AbstractSet[str]) -> Iterator[str]:
    """Yields those of the names of alerts that a selector of ``ALERTS`` selects."""
    matchers = [matcher for matcher in selector.conditions if matcher.label == "alertname"]
    # Most selectors name one: to try every name, for every rule, would be quadratic.
    exact = next((matcher.value for matcher in matchers if matcher.operator == "="), None)
    tests = [matcher.predicate() for matcher in matchers]
    return (name for name in (names if exact is None else names & {exact}) if all(test(name) for test in tests))


def looks_at_alerts(tree: Tree) -> bool:
    """Returns whether an expression selects series of alerts."""
    return any(selector.metric in ALERT_SERIES for selector in selectors(tree))


def excerpt(expression: str, span: Span) -> str:
    """Returns a part of an expression as it is written, on one line and without its comments."""
    mode = _MODE.match(expression, span.end)
    part = expression[span.begin : mode.end() if mode else span.end]
    text, end = "", 0
    for token in tokens(part):
        between = token.span.begin > end and text[-1:] not in {"(", "[", "{"} and token.kind not in {")", "]", "}", ","}
        text += f"{' ' if between else ''}{token.text}"
        end = token.span.end
    return text
