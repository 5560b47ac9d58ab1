"""Whether an expression can have series, and a comparison be true: decided on its tree, nothing is evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Final

from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, PARTICIPANT_INFO
from exporter.rules.lint.comparisons import Bounds, comparison_with_number
from exporter.rules.lint.label_values import LabelValues
from exporter.rules.promql.aggregations import CHOICES
from exporter.rules.promql.calls import ABSENT
from exporter.rules.promql.series import BY_PARTICIPANT, PARTICIPANT
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import constant, is_shifted, series_operand
from exporter.rules.promql.tree import Aggregation, Binary, Call, Range, Selector, Subquery, Tree
from exporter.rules.rule import CompiledRecordingRule

UP: Final = "dict_rate_limit_up"
REFUSED: Final = "dict_rate_limit_refused_policies"

GOES_STALE: Final = frozenset(BUCKET_METRIC_BY_NAME) | {PARTICIPANT_INFO}
"""Gauges that are no longer served when no answer has confirmed them for long."""

_ALWAYS_SERVED: Final = frozenset({UP, REFUSED, "dict_rate_limit_poll_interval_seconds"})


class Presence(IntEnum):
    """In this order `and` is the lesser and `or` the greater of two."""

    NEVER = 0
    UNDECIDED = 1
    """What it depends on is not understood."""
    POSSIBLE = 2
    """Figures of buckets, or the time, can make it so."""
    ALWAYS = 3


_OPPOSITE: Final = {Presence.NEVER: Presence.ALWAYS, Presence.ALWAYS: Presence.NEVER}


@dataclass(frozen=True, slots=True)
class Situation:
    """Whether the last poll was answered, whether gauges that go stale are served, and the one open alert's labels.

    ``recording`` are the rules that record, by name; ``values`` knows the labels of what they and others select.
    """

    up: bool
    figures: bool
    recording: Mapping[str, Sequence[CompiledRecordingRule]]
    values: LabelValues
    alert: Mapping[str, str] | None = None
    known: dict[str, _Result] = field(default_factory=dict, init=False, compare=False)
    """What is recorded, as far as it was judged."""


@dataclass(frozen=True, slots=True)
class _Result:
    """What is known of an expression's series: ``metrics`` are those that its values are made of.

    ``is_past``: they are what was, which may be when what they are made of is no longer.
    """

    presence: Presence
    metrics: frozenset[str] = frozenset()
    is_past: bool = False


def presence(tree: Tree, situation: Situation) -> Presence:
    """Returns whether an expression has series."""
    return _judge(tree, situation).presence


def _judge(tree: Tree, situation: Situation) -> _Result:
    if isinstance(tree, Selector):
        result = _recorded(tree, situation) if tree.metric in situation.recording else _selected(tree, situation)
        return replace(result, is_past=True) if is_shifted(tree) else result
    if isinstance(tree, Binary):
        return _operation(tree, _judge(tree.left, situation), _judge(tree.right, situation), situation)
    if isinstance(tree, Aggregation):
        return _aggregation(tree, _judge(tree.expression, situation))
    series = series_operand(tree)
    if series is None:
        return _Result(Presence.ALWAYS)
    return _made_of(tree, _judge(series, situation), situation)


def _recorded(selected: Selector, situation: Situation) -> _Result:
    """Returns what is known of series that rules record, now: they are what the expressions of these give."""
    name = selected.metric
    result = situation.known.get(name)
    if result is None:
        situation.known[name] = _Result(Presence.POSSIBLE, frozenset({name}))  # as far as it is made of itself
        results = [_judge(rule.expression.tree, situation) for rule in situation.recording[name]]
        metrics = frozenset[str]().union(*(result.metrics for result in results))
        result = situation.known[name] = _Result(max(result.presence for result in results), metrics)
    most = Presence.POSSIBLE if selected.conditions else Presence.ALWAYS
    return replace(result, presence=min(most, result.presence))


def _made_of(tree: Tree, result: _Result, situation: Situation) -> _Result:
    """Returns what is known of a function, a range or a sign, given what is known of its series."""
    if isinstance(tree, Call) and tree.function in ABSENT:
        return _Result(_OPPOSITE.get(result.presence, result.presence), result.metrics)
    if isinstance(tree, Subquery) and situation.figures and result.presence is Presence.NEVER:
        # What is not so now can have been so while the figures were new.
        return replace(result, presence=Presence.UNDECIDED)
    return replace(result, is_past=True) if isinstance(tree, Range | Subquery) else result


def _aggregation(tree: Aggregation, result: _Result) -> _Result:
    count = constant(tree.parameter) if tree.operator in CHOICES and tree.parameter is not None else None
    return result if count is None or count >= 1 else replace(result, presence=Presence.NEVER)


def _selected(selected: Selector, situation: Situation) -> _Result:
    return _Result(_selection(selected, situation), frozenset({selected.metric}))


def _selection(selected: Selector, situation: Situation) -> Presence:
    conditions = selected.conditions
    if selected.metric in ALERT_SERIES:
        labels = situation.alert
        if labels is None or any(m.label in labels and not m.predicate()(labels[m.label]) for m in conditions):
            return Presence.NEVER
        return Presence.ALWAYS if all(m.label in labels for m in conditions) else Presence.POSSIBLE
    if selected.metric in GOES_STALE and not situation.figures:
        return Presence.NEVER
    # A rule is evaluated where a participant is polled: one that a matcher names is there, or the rule is not its.
    if selected.metric in _ALWAYS_SERVED and all((m.label, m.operator) == (PARTICIPANT, "=") for m in conditions):
        return Presence.ALWAYS
    return Presence.POSSIBLE


def _operation(tree: Binary, left: _Result, right: _Result, situation: Situation) -> _Result:
    operator, metrics, is_past = tree.operator, left.metrics | right.metrics, left.is_past or right.is_past
    if operator == "or":
        return _Result(max(left.presence, right.presence), metrics, is_past)
    unmatched = bool(situation.values.conflicts(tree))
    if operator == "unless":
        if left.presence is right.presence is Presence.NEVER and left.is_past and not right.is_past:
            # It is there for as long as it looks back: the end of the right side sets it off.
            return replace(left, presence=Presence.UNDECIDED)
        return replace(left, presence=left.presence if unmatched else min(left.presence, _absence(tree, right)))
    least = Presence.NEVER if unmatched else min(left.presence, right.presence)
    if operator == "and":
        return replace(left, presence=least)
    if tree.filters:
        least = min(least, _truth(tree, metrics, situation))
    return _Result(least, metrics, is_past)


def _absence(unless: Binary, right: _Result) -> Presence:
    """Returns whether the right side of `unless` leaves a series of the left one."""
    if right.presence is Presence.NEVER:
        return Presence.ALWAYS
    if right.presence is Presence.ALWAYS:
        # On `participant` alone any two series match.
        return Presence.NEVER if unless.on is BY_PARTICIPANT else Presence.UNDECIDED
    return right.presence


def _truth(comparison: Binary, metrics: frozenset[str], situation: Situation) -> Presence:
    """Returns whether a comparison is true of any value that its sides can have."""
    with_number = comparison_with_number(comparison)
    if with_number is not None:
        # In an outage like any other no figures were refused before.
        gauge = with_number.bounds.gauge
        value = {UP: float(situation.up), REFUSED: 0.0}.get(gauge)
        if value is not None and with_number.is_now:
            with_number = replace(with_number, bounds=Bounds(value, value, gauge))
        verdict = with_number.verdict()
        if verdict is not None:
            return Presence.ALWAYS if verdict else Presence.NEVER
    return Presence.POSSIBLE if metrics <= GOES_STALE else Presence.UNDECIDED
