"""An explanation in words, and for programs."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import promql_parser as promql

from exporter.explain.sentences import sentences, utc
from exporter.numbers import for_json, not_finite
from exporter.rules.promql.expression import POLICY
from exporter.rules.promql.series import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from exporter.explain.breakdown import Part
    from exporter.explain.explanation import Explanation
    from exporter.rules.promql.series import Sample

_LISTED: Final = 3
"""So many series of many are told: those nearest to the condition."""


def text(explanations: Sequence[Explanation], at: datetime) -> str:
    """Returns the explanations for a terminal; ``at`` is the time that was asked about."""
    return "\n\n".join("\n".join(_told(explanation, at)) for explanation in explanations)


def as_json(explanations: Sequence[Explanation], at: datetime) -> str:
    """Returns the same. Times are ISO 8601 in UTC; a value that JSON can't hold is text."""
    return json.dumps([_document(explanation, at) for explanation in explanations], indent=2)


def state(explanation: Explanation) -> str:
    """Returns ``firing``, ``pending`` or ``inactive``."""
    return explanation.alert.state.value if explanation.alert is not None else "inactive"


def _told(why: Explanation, at: datetime) -> Iterator[str]:
    rule = why.rule
    about = ", ".join(filter(None, (why.view.participant, why.policy)))
    yield f"{rule.name} ({rule.severity}) of {about}, at the poll of {utc(why.view.at)} UTC"
    yield f"{rule.file}:{rule.line}, group {rule.group}"
    yield ""
    yield from sentences(why, at)
    yield ""
    yield from _tree(why.part, 0)


def _tree(part: Part, depth: int) -> Iterator[str]:
    verdict = ("true " if part.series else "false") if part.condition else "     "
    yield f"{verdict}  {'  ' * depth}{_label(part)}{_outcome(part)}"
    branches = list(part.branches())
    for below in branches if len(branches) > 1 else part.parts:
        yield from _tree(below, depth + 1)


def _label(part: Part) -> str:
    """What is taken further apart is told by its operator."""
    tree = part.tree
    if isinstance(tree, promql.BinaryExpr) and str(tree.op) in {"and", "or", "unless"}:
        matching = tree.modifier.matching if tree.modifier is not None else None
        if matching is None:
            return "any of" if str(tree.op) == "or" else str(tree.op)
        word = "on" if matching.type == promql.LabelModifierType.Include else "ignoring"
        return f"{tree.op} {word} ({', '.join(matching.labels)})"
    if isinstance(tree, promql.AggregateExpr) and any(below.condition for below in part.parts):
        if tree.modifier is None:
            return f"{tree.op} of"
        word = "by" if tree.modifier.type == promql.AggModifierType.By else "without"
        return f"{tree.op} {word} ({', '.join(tree.modifier.labels)}) of"
    return part.text


def _outcome(part: Part) -> str:
    if part.error is not None:
        return f"  failed: {part.error}"
    if part.number is not None:
        return f"  = {_shown(part.number)}"
    if not part.series:
        return "" if part.condition else "  = nothing"
    if len(part.series) == 1:
        return f"  = {_shown(part.series[0][2])}"
    nearest = sorted(part.series, key=lambda s: s[2] if part.lowest_first else -s[2])[:_LISTED]
    more = len(part.series) - len(nearest)
    told = ", ".join(f"{_short(sample)} {_shown(sample[2])}" for sample in nearest)
    return f"  = {told}" + (f" and {more} more" if more else "")


def _short(sample: Sample) -> str:
    return sample[1].get(POLICY) or shown(sample[0], sample[1])


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
        "asked_at": at.isoformat(),
        "polled_at": why.view.at.isoformat(),
        "answered": why.view.up,
        "state": state(why),
        "true": why.true,
        "active_since": _iso(alert.active_since if alert else None),
        "firing_since": _iso(alert.firing_since if alert else None),
        "keep_firing_since": _iso(alert.keep_firing_since if alert else None),
        "last_true_at": _iso(why.last_true_at),
        "for_seconds": rule.for_seconds,
        "keep_firing_for_seconds": rule.keep_firing_for_seconds,
        "labels": dict(alert.labels) if alert else None,
        "error": why.failed,
        "recorded_firing_since": _iso(why.recorded.began_at if why.recorded else None),
        "sentences": list(sentences(why, at)),
        "expression": _part(why.part),
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "expr": part.text,
        "true": bool(part.series) if part.condition else None,
        "number": for_json(part.number),
        "series": [
            {"series": shown(name, labels), "labels": dict(labels.pairs), "value": for_json(value)}
            for name, labels, value in part.series
        ],
        "error": part.error,
        "parts": [_part(below) for below in part.parts],
    }


def _shown(value: float) -> str:
    return f"{value:.10g}" if math.isfinite(value) else not_finite(value)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
