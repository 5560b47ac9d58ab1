"""Whether an expression can have series, and a comparison be true: decided on its tree, nothing is evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, PARTICIPANT_INFO
from exporter.rules.lint.all_rules import MOST_ALERTS, AllRules
from exporter.rules.lint.comparisons import Bounds
from exporter.rules.promql.aggregations import CHOICES
from exporter.rules.promql.calls import ABSENT
from exporter.rules.promql.series import BY_PARTICIPANT, PARTICIPANT
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS_FOR_STATE
from exporter.rules.promql.traversal import is_shifted, series_operand
from exporter.rules.promql.tree import Aggregation, Binary, Call, Range, Selector, Subquery, Tree

UP: Final = "dict_rate_limit_up"
REFUSED: Final = "dict_rate_limit_refused_policies"

GOES_STALE: Final = frozenset(BUCKET_METRIC_BY_NAME) | {PARTICIPANT_INFO}
"""Gauges that are no longer served when no answer has confirmed them for long."""

_SERVED_WITH_A_BUCKET: Final = frozenset(
    f"dict_rate_limit_{name}"
    for name in ("available_tokens", "capacity", "utilization_percent", "recovery_eta_seconds")
)
"""Gauges that every bucket has of which anything is known."""

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
class _Result:
    """What is known of an expression's series: ``metrics`` are those that its values are made of.

    ``is_past``: they are what was, which may be when what they are made of is no longer.
    """

    presence: Presence
    metrics: frozenset[str] = frozenset()
    is_past: bool = False


@dataclass(frozen=True, slots=True)
class Situation:
    """What is so at a poll: whether it was answered, and whether ``figures`` are served that go stale.

    ``are_all_served``: the figures of every bucket are. The rule's own alert has the name ``own`` and, where one is
    open, the labels ``alert``; ``others`` is whether alerts of other rules are open. ``shared`` is what is known of
    records whatever the rule, ``known`` of those that are made of alerts of its name.
    """

    up: bool
    figures: bool
    rules: AllRules
    own: str
    shared: dict[str, _Result]
    known: dict[str, _Result]
    are_all_served: bool = False
    alert: Mapping[str, str] | None = None
    others: Presence = Presence.UNDECIDED

    def known_of(self, name: str) -> dict[str, _Result]:
        names = self.rules.alerts_through[name]
        return self.known if self.own in names and len(names) <= MOST_ALERTS else self.shared


class Situations:
    """Makes situations that share what is known of records."""

    def __init__(self, rules: AllRules) -> None:
        self._rules = rules
        self._shared: dict[tuple[bool, bool, bool, Presence], dict[str, _Result]] = {}

    def of(
        self,
        own: str,
        *,
        up: bool,
        figures: bool,
        are_all_served: bool = False,
        alert: Mapping[str, str] | None = None,
        others: Presence = Presence.UNDECIDED,
    ) -> Situation:
        shared = self._shared.setdefault((up, figures, are_all_served, others), {})
        return Situation(up, figures, self._rules, own, shared, {}, are_all_served, alert, others)


def presence(tree: Tree, situation: Situation) -> Presence:
    """Returns whether an expression has series."""
    return _judge(tree, situation).presence


def _judge(tree: Tree, situation: Situation) -> _Result:
    if isinstance(tree, Selector):
        result = _selected(tree, situation)
        if not is_shifted(tree):
            return result
        return replace(result, presence=min(result.presence, Presence.POSSIBLE), is_past=True)
    if isinstance(tree, Binary):
        return _operation(tree, _judge(tree.left, situation), _judge(tree.right, situation), situation)
    if isinstance(tree, Aggregation):
        return _aggregation(tree, _judge(tree.expression, situation), situation)
    series = series_operand(tree)
    if series is None:
        return _Result(Presence.ALWAYS)
    return _made_of(tree, _judge(series, situation), situation)


def _selected(selected: Selector, situation: Situation) -> _Result:
    name = selected.metric
    if name not in situation.rules.recording:
        return _Result(_selection(selected, situation), frozenset({name}))
    known = situation.known_of(name)
    if name not in known:
        _judge_records(name, situation)
    most = Presence.POSSIBLE if selected.conditions else Presence.ALWAYS
    return replace(known[name], presence=min(most, known[name].presence))


def _judge_records(name: str, situation: Situation) -> None:
    """Finds what is known of a record, and of those before it: they are what the expressions of their rules give."""
    needed = situation.rules.made_of([name])
    missing = [other for other in needed & situation.rules.recording.keys() if other not in situation.known_of(other)]
    for other in sorted(missing, key=situation.rules.position.__getitem__):
        known = situation.known_of(other)
        if other in known:
            continue  # one before it is made of it, too
        known[other] = _Result(Presence.POSSIBLE, frozenset({other}))  # as far as it is made of itself
        results = [_judge(rule.expression.tree, situation) for rule in situation.rules.recording[other]]
        metrics = frozenset[str]().union(*(result.metrics for result in results))
        known[other] = _Result(max(result.presence for result in results), metrics)


def _made_of(tree: Tree, result: _Result, situation: Situation) -> _Result:
    """Returns what is known of a function, a range or a sign, given what is known of its series."""
    if isinstance(tree, Call) and tree.function in ABSENT:
        return _Result(_OPPOSITE.get(result.presence, result.presence), result.metrics)
    if isinstance(tree, Subquery) and situation.figures and result.presence is Presence.NEVER:
        # What is not so now can have been so while the figures were new.
        return replace(result, presence=Presence.UNDECIDED)
    return replace(result, is_past=True) if isinstance(tree, Range | Subquery) else result


def _aggregation(tree: Aggregation, result: _Result, situation: Situation) -> _Result:
    chooses = tree.operator in CHOICES and tree.parameter is not None
    count = situation.rules.comparisons.constant(tree.parameter) if chooses and tree.parameter is not None else None
    return result if count is None or count >= 1 else replace(result, presence=Presence.NEVER)


def _selection(selected: Selector, situation: Situation) -> Presence:
    metric, conditions = selected.metric, selected.conditions
    if metric in ALERT_SERIES:
        return _alerts(selected, situation)
    if metric in GOES_STALE and not situation.figures:
        return Presence.NEVER
    # A rule is evaluated where a participant is polled: one that a matcher names is there, or the rule is not its.
    is_always = metric in _ALWAYS_SERVED and all((m.label, m.operator) == (PARTICIPANT, "=") for m in conditions)
    is_served = situation.are_all_served and metric in _SERVED_WITH_A_BUCKET and not conditions
    return Presence.ALWAYS if is_always or is_served else Presence.POSSIBLE


def _alerts(selected: Selector, situation: Situation) -> Presence:
    """Returns whether a selector of alerts selects the rule's own one, or others."""
    names = situation.rules.alerts_of(selected)
    others = situation.others if any(name != situation.own for name in names) else Presence.NEVER
    labels = situation.alert
    if labels is None:
        return others
    if selected.metric == ALERTS_FOR_STATE:
        labels = {**labels, "alertstate": ""}
    if any(m.label in labels and not m.predicate()(labels[m.label]) for m in selected.conditions):
        return others
    return Presence.ALWAYS if all(m.label in labels for m in selected.conditions) else Presence.POSSIBLE


def _operation(tree: Binary, left: _Result, right: _Result, situation: Situation) -> _Result:
    operator, metrics, is_past = tree.operator, left.metrics | right.metrics, left.is_past or right.is_past
    if operator == "or":
        return _Result(max(left.presence, right.presence), metrics, is_past)
    unmatched = bool(situation.rules.label_values.conflicts(tree))
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
    with_number = situation.rules.comparisons.with_number(comparison)
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
