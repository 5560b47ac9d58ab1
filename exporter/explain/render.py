"""Explanations as text for a terminal, and as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from exporter.clock import in_utc
from exporter.explain.breakdown import NodeResult
from exporter.explain.explanation import Explanation
from exporter.explain.sentences import sentences
from exporter.numbers import for_json, not_finite
from exporter.rules.promql.series import POLICY, format_series
from exporter.rules.promql.tree import SET_OPERATORS, Aggregation, Binary

_MOST_SERIES: Final = 3
"""Of many series the text has those nearest to the condition."""


def text(explanations: Sequence[Explanation], at: datetime) -> str:
    """Returns the explanations for a terminal; ``at`` is the time that was asked about."""
    return "\n\n".join("\n".join(_lines(explanation, at)) for explanation in explanations)


def as_json(explanations: Sequence[Explanation], at: datetime) -> str:
    """Returns the same as JSON. Times are ISO 8601 in UTC; a value that JSON can't hold is text."""
    documents = [_document(explanation, at) for explanation in explanations]
    return json.dumps(documents, indent=2, default=datetime.isoformat)


def _lines(why: Explanation, at: datetime) -> Iterator[str]:
    rule = why.rule
    subject = ", ".join(filter(None, (why.view.participant, why.policy)))
    yield f"{rule.name} ({rule.severity}) of {subject}, at the poll of {in_utc(why.view.at)} UTC"
    yield f"{rule.file}:{rule.line}, group {rule.group}"
    yield ""
    yield from sentences(why, at)
    yield ""
    yield from _tree(why.breakdown, 0)


def _tree(node: NodeResult, depth: int) -> Iterator[str]:
    verdict = ("true " if node.series else "false") if node.is_condition else "     "
    yield f"{verdict}  {'  ' * depth}{_label(node)}{_value(node)}"
    branches = list(node.branches())
    for child in branches if len(branches) > 1 else node.children:
        yield from _tree(child, depth + 1)


def _label(node: NodeResult) -> str:
    """Returns the operator of an expression whose operands have lines of their own, else the expression."""
    tree = node.tree
    if isinstance(tree, Binary) and tree.operator in SET_OPERATORS:
        if tree.labels is None:
            return "any of" if tree.operator == "or" else tree.operator
        return f"{tree.operator} {tree.labels}"
    if isinstance(tree, Aggregation) and any(child.is_condition for child in node.children):
        return f"{tree.operator} {tree.labels} of" if tree.labels is not None else f"{tree.operator} of"
    return node.text


def _value(node: NodeResult) -> str:
    if node.error is not None:
        return f"  failed: {node.error}"
    if node.scalar is not None:
        return f"  = {_number(node.scalar)}"
    if not node.series:
        return "" if node.is_condition else "  = nothing"
    if len(node.series) == 1:
        return f"  = {_number(node.series[0][2])}"
    nearest = sorted(node.series, key=lambda s: s[2] if node.lowest_first else -s[2])[:_MOST_SERIES]
    more = len(node.series) - len(nearest)
    values = ", ".join(
        f"{labels.get(POLICY) or format_series(name, labels)} {_number(value)}" for name, labels, value in nearest
    )
    return f"  = {values}" + (f" and {more} more" if more else "")


def _number(value: float) -> str:
    return f"{value:.10g}" if math.isfinite(value) else not_finite(value)


def _document(why: Explanation, at: datetime) -> dict[str, Any]:
    alert, rule = why.alert, why.rule
    return {
        "alertname": rule.name,
        "severity": rule.severity,
        "group": rule.group,
        "file": rule.file,
        "line": rule.line,
        "participant": why.view.participant,
        "policy": why.policy,
        "asked_at": at,
        "polled_at": why.view.at,
        "answered": why.view.up,
        "state": why.state,
        "true": why.is_true,
        "active_since": alert.active_since if alert else None,
        "firing_since": alert.firing_since if alert else None,
        "keep_firing_since": alert.keep_firing_since if alert else None,
        "last_true_at": why.last_true_at,
        "for_seconds": rule.for_seconds,
        "keep_firing_for_seconds": rule.keep_firing_for_seconds,
        "labels": dict(alert.labels) if alert else None,
        "error": why.error,
        "recorded_firing_since": why.stored.began_at if why.stored else None,
        "sentences": list(sentences(why, at)),
        "expression": _expression(why.breakdown),
    }


def _expression(node: NodeResult) -> dict[str, Any]:
    return {
        "expr": node.text,
        "true": bool(node.series) if node.is_condition else None,
        "number": for_json(node.scalar),
        "series": [
            {"series": format_series(name, labels), "labels": dict(labels.pairs), "value": for_json(value)}
            for name, labels, value in node.series
        ],
        "error": node.error,
        "parts": [_expression(child) for child in node.children],
    }
