"""Whether the two sides of an operator can match, by labels that only one of them has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import promql_parser as promql

from exporter.rules.promql.expression import PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERT_SERIES, BUCKET_GAUGE_BY_NAME

Labels: TypeAlias = "Mapping[str, bool]"
"""Whether all series of an expression have a label, or none has; a label of which neither is certain is missing."""

_TELLING: Final = ("alertname", POLICY)
"""Labels that some metrics always have and others never."""


def labels_of(metric: str) -> Labels:
    if metric in ALERT_SERIES:
        return {"alertname": True}
    return {"alertname": False, POLICY: metric in BUCKET_GAUGE_BY_NAME}


def labels_kept(aggregation: Any, labels: Labels) -> Labels:
    """Returns the labels of an aggregation, given those of what it aggregates."""
    modifier = aggregation.modifier
    keeps = modifier is None or modifier.type == promql.AggModifierType.By
    listed = frozenset(modifier.labels if modifier is not None else ())
    return {**labels, **{label: False for label in _TELLING if (label in listed) is not keeps}}


def never_match(operation: Any, left: Labels, right: Labels) -> bool:
    """Returns whether no series of the one side matches one of the other; False where that is not certain."""
    matching = getattr(operation.modifier, "matching", None)
    if matching is None:
        matched = set(_TELLING)
    elif matching.type == promql.LabelModifierType.Include:
        matched = set(matching.labels)
    else:
        matched = set(_TELLING).difference(matching.labels)
    return any(left[label] is not right[label] for label in matched & left.keys() & right.keys())


def match_by_participant(operation: Any) -> bool:
    """Returns whether an operator matches on ``participant`` alone, so that any two series match."""
    matching = getattr(operation.modifier, "matching", None)
    if matching is None or matching.type != promql.LabelModifierType.Include:
        return False
    return set(matching.labels) == {PARTICIPANT}
