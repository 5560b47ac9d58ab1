"""A matcher on a value that its label cannot have: a policy, a participant, a category, an outcome that is none."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.bucket import OUTCOMES
from exporter.buckets.catalog import CATEGORIES
from exporter.buckets.gauges import METRIC_NAMES
from exporter.rules.golang import full_match, quote
from exporter.rules.lint.alternatives import alternatives
from exporter.rules.lint.context import Context, Installation, Problems
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS
from exporter.rules.promql.tree import Matcher
from exporter.structures import did_you_mean

_ISPB: Final = re.compile("[0-9]{8}", re.ASCII)

_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class _Values:
    """What a label can be; None: any ISPB. ``none_of`` says of another value that it is none."""

    known: frozenset[str] | None
    none_of: str

    def selected(self, pattern: str) -> bool:
        """Returns whether a regular expression matches one of them, or may."""
        if self.known is None:
            return not pattern.isalnum() or _ISPB.fullmatch(pattern) is not None
        return any(map(full_match(pattern), self.known))

    def has(self, value: str) -> bool:
        return value in self.known if self.known is not None else _ISPB.fullmatch(value) is not None


_CATEGORIES: Final = _Values(frozenset(CATEGORIES), f"is no category; they are {', '.join(CATEGORIES)}")
_BY_LABEL: Final = {
    "psp_category": _CATEGORIES,
    "previous_psp_category": _Values(frozenset({"", *CATEGORIES}), _CATEGORIES.none_of),
    "outcome": _Values(frozenset(OUTCOMES), f"is no outcome; they are {', '.join(OUTCOMES)}"),
}
_OF_ALERTS: Final = {
    "severity": _Values(frozenset(Severity), f"is no severity; they are {', '.join(Severity)}"),
    "alertstate": _Values(frozenset({AlertState.PENDING, AlertState.FIRING}), "is neither pending nor firing"),
}


def check(context: Context) -> Problems:
    for selected in context.selected:
        labels = context.rules.labels_of(selected.metric)
        for matcher in selected.conditions:
            values = _values(context, selected.metric, matcher.label) if matcher.label in labels else None
            for why in () if values is None else _wrong(matcher, values, selected.metric):
                yield context.about(matcher, why)


def _values(context: Context, metric: str, label: str) -> _Values | None:
    """Returns the values that a label of a metric's series can have; None where they are not known."""
    if label == PARTICIPANT:
        return _participants(context.installation)
    if metric in ALERT_SERIES and label in _OF_ALERTS:
        return _OF_ALERTS[label] if label == "severity" or metric == ALERTS else None
    if metric not in METRIC_NAMES and label in context.rules.written:
        return None
    return _policies(context.installation) if label == POLICY else _BY_LABEL.get(label)


def _participants(installation: Installation) -> _Values:
    if not installation.participants:
        return _Values(None, "is no ISPB, which has eight digits")
    names = sorted(installation.participants)
    named = ", ".join(names[:_MOST_NAMED]) + (f" and {len(names) - _MOST_NAMED:,} more" * (len(names) > _MOST_NAMED))
    return _Values(installation.participants, f"is none of the participants configured: {named}")


def _policies(installation: Installation) -> _Values | None:
    if installation.policies is None:
        return None
    where = "published, nor in the database" if installation.are_seen else "published"
    return _Values(installation.policies, f"is no policy that is {where}")


def _wrong(matcher: Matcher, values: _Values, metric: str) -> Iterator[str]:
    excludes = matcher.operator in {"!=", "!~"}
    effect = "excludes nothing" if excludes else "selects nothing"
    if not matcher.value:
        if not excludes and not values.has("") and metric in METRIC_NAMES:
            yield f" {effect}: every series of {metric} has a {matcher.label}"
    elif matcher.operator in {"=", "!="}:
        if not values.has(matcher.value):
            yield f" {effect}: {_none_of(matcher.value, values)}"
    elif not values.selected(matcher.value):
        text = matcher.value if matcher.value.isalnum() else ""
        yield f" {effect}: {_none_of(text, values) if text or values.known is None else 'no value matches'}"
    else:
        for text in _dead(matcher.value, values):
            yield f": {_none_of(text, values)}"


def _none_of(text: str, values: _Values) -> str:
    meant: Collection[str] = values.known or ()
    return f"{quote(text)} {values.none_of}{did_you_mean(text, meant)}"


def _dead(pattern: str, values: _Values) -> list[str]:
    """Returns the alternatives of a regular expression that match none of the values."""
    dead = [one for one in alternatives(pattern) if one.text and not values.selected(one.alone)]
    outermost = [
        one
        for one in dead
        if not any(other is not one and other.begin <= one.begin and one.end <= other.end for other in dead)
    ]
    return [one.text for one in outermost]
