"""Operations on two instant vectors: arithmetic, comparisons, ``and``, ``or``, ``unless``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.functions import COMPARISONS, number_operation
from exporter.rules.promql.nodes import NO_NAME, Instant, combine
from exporter.rules.promql.series import (
    BY_ALL_LABELS,
    METRIC_NAME,
    PARTICIPANT,
    POLICY,
    Grouping,
    Labels,
    Sample,
    Vector,
    format_series,
)
from exporter.rules.promql.sources import Moment
from exporter.rules.promql.tree import SET_OPERATORS

_Side = TypeVar("_Side")


@dataclass(frozen=True, slots=True)
class Match:
    """How the series of two sides find each other.

    ``many`` is the side of which several may match one of the other, which gives the labels ``include``.
    """

    on: Grouping
    many: Literal["left", "right"] | None = None
    include: tuple[str, ...] = ()

    def sides(self, left: _Side, right: _Side) -> tuple[_Side, _Side]:
        """Returns the side that may be many, and the other one."""
        return (right, left) if self.many == "right" else (left, right)

    def signature(self) -> Callable[[Sample], object]:
        """Returns what two series must have in common to match."""
        on = self.on
        if on.keeps_metric_name:
            return lambda sample: (sample[0], sample[1].projected(on).pairs)
        return lambda sample: sample[1].projected(on).pairs


def operation(operator: str, left: Instant, right: Instant, match: Match, *, as_bool: bool) -> Instant:
    """Arithmetic, a comparison that filters the left side or (``as_bool``) gives 0 and 1, or a set operation.

    Raises ValueError, a sentence, where rules may not combine the two.
    """
    if problem := _across_participants(operator, left, right, match):
        raise ValueError(problem)
    if operator in SET_OPERATORS:
        return _set_operation(operator, left, right, match)
    return _binary_operation(operator, left, right, match, as_bool=as_bool)


def _across_participants(operator: str, left: Instant, right: Instant, match: Match) -> str:
    """Returns why the two may not be combined, or nothing."""
    matched = match.on.retains(PARTICIPANT)
    if left.carries_participant and right.carries_participant:
        return "" if matched else f"{operator} must match on participant: rules do not look across participants"
    if operator in SET_OPERATORS:
        if operator == "or" and left.carries_participant != right.carries_participant:
            return "only one side of or carries participant"
        return f"only the right side of {operator} carries participant" if right.carries_participant else ""
    many, one = match.sides(left, right)
    if one.carries_participant or (many.carries_participant and match.many is None and not matched):
        return f"{operator} loses participant: use group_left or group_right towards the side that carries it"
    if many.carries_participant and PARTICIPANT in match.include:
        return f"{operator} loses participant: the side that should give it does not carry it"
    return ""


def _set_operation(operator: str, left: Instant, right: Instant, match: Match) -> Instant:
    union = operator == "or"
    return Instant(
        _run_set_operation(operator, left, right, match),
        left.names | right.names if union else left.names,
        carries_participant=left.carries_participant,
        carries_policy=left.carries_policy or (union and right.carries_policy),
        can_fail=left.can_fail or right.can_fail,
        data=left.data if operator == "unless" else combine("any" if union else "all", left.data, right.data),
    )


def _run_set_operation(operator: str, left: Instant, right: Instant, match: Match) -> Callable[[Moment], Vector]:
    signature = match.signature()
    on, by_labels = match.on, not match.on.keeps_metric_name
    run_left, run_right = left.run, right.run

    def both(moment: Moment) -> Vector:
        others = run_right(moment)
        if not others:
            # Most rules wait for something that is not so: the left side is read only where it could raise.
            return run_left(moment)[:0] if left.can_fail else []
        samples = run_left(moment)
        if len(others) == 1 and by_labels:
            only = others[0][1].projected(on)
            pairs = only.pairs
            return [sample for sample in samples if (own := sample[1].projected(on)) is only or own.pairs == pairs]
        signatures = {signature(sample) for sample in others}
        return [sample for sample in samples if signature(sample) in signatures]

    def unmatched(samples: Vector, others: Vector) -> Vector:
        if not others or not samples:
            return samples
        signatures = {signature(sample) for sample in others}
        return [sample for sample in samples if signature(sample) not in signatures]

    def either(moment: Moment) -> Vector:
        samples, others = run_left(moment), run_right(moment)
        return samples + unmatched(others, samples) if others else samples

    def without(moment: Moment) -> Vector:
        return unmatched(run_left(moment), run_right(moment))

    return {"and": both, "or": either, "unless": without}[operator]


def _binary_operation(operator: str, left: Instant, right: Instant, match: Match, *, as_bool: bool) -> Instant:
    pair_up = _Pairing(operator, match, as_bool=as_bool)
    run_left, run_right = left.run, right.run
    many, one = match.sides(left, right)
    if match.many is None:
        carries_policy = many.carries_policy and match.on.retains(POLICY)
    else:
        carries_policy = one.carries_policy if POLICY in match.include else many.carries_policy
    return Instant(
        lambda moment: pair_up(run_left(moment), run_right(moment)),
        one.names if pair_up.includes_name else many.names if pair_up.keeps_name else NO_NAME,
        carries_participant=many.carries_participant,
        carries_policy=carries_policy,
        can_fail=True,
        data=combine("all", left.data, right.data),
    )


class _Pairing:
    """``includes_name``: the result has the metric names of the "one" side; ``keeps_name``: those of the other."""

    def __init__(self, operator: str, match: Match, *, as_bool: bool) -> None:
        self._match = match
        self._swapped = match.many == "right"
        self._one_to_one = match.many is None
        self._signature = match.signature()
        self._matches_name = match.on.keeps_metric_name
        filters = operator in COMPARISONS and not as_bool
        self._value = _filter(operator) if filters else number_operation(operator)
        self.includes_name = METRIC_NAME in match.include
        self.keeps_name = filters and (not self._one_to_one or match.on.retains(METRIC_NAME))

    def __call__(self, left: Vector, right: Vector) -> Vector:
        many, one = self._match.sides(left, right)
        if not many or not one:
            return []
        if self._one_to_one and len(many) == len(one):
            side_by_side = self._side_by_side(many, one)
            if side_by_side is not None:
                return side_by_side
        signature = self._signature
        ones: dict[object, Sample] = {}
        for sample in one:
            key = signature(sample)
            if key in ones:
                raise RuleEvaluationFailed(self._many_to_many(sample, ones[key]))
            ones[key] = sample
        result: Vector = []
        matched: dict[object, set[object]] = defaultdict(set)
        for sample in many:
            key = signature(sample)
            other = ones.get(key)
            if other is None:
                continue
            name, labels = self._pair(sample, other)
            self._check_unique(matched[key], (name, labels.pairs))
            value = self._value(other[2], sample[2]) if self._swapped else self._value(sample[2], other[2])
            if value is not None:
                result.append((name, labels, value))
        if self._matches_name and len({(name, labels.pairs) for name, labels, _ in result}) < len(result):
            # Only the metric name distinguished them, and the operation has dropped it.
            raise RuleEvaluationFailed("vector cannot contain metrics with the same labelset")
        return result

    def _side_by_side(self, many: Vector, one: Vector) -> Vector | None:
        """Returns the result where the series match in their order, as those of two gauges do; else None."""
        if self._matches_name or self.keeps_name:
            return None
        on, value_of = self._match.on, self._value
        matches_all = on is BY_ALL_LABELS
        result: Vector = []
        for (_, labels, left), (_, others, right) in zip(many, one, strict=True):
            if others is not labels or not (matches_all or labels.projected(on) is labels):
                return None
            value = value_of(left, right)
            if value is not None:
                result.append(("", labels, value))
        return result if len({id(labels) for _, labels, _ in many}) == len(many) else None

    def _pair(self, many: Sample, one: Sample) -> tuple[str, Labels]:
        """Returns the name and the labels of the result."""
        labels = many[1]
        if self._one_to_one:
            labels = labels.projected(self._match.on)
        elif self._match.include:
            labels = labels.replaced((label, one[1].get(label)) for label in self._match.include)
        if self.includes_name:
            return one[0], labels
        return many[0] if self.keeps_name else "", labels

    def _check_unique(self, matched: set[object], series: object) -> None:
        if matched and self._one_to_one:
            raise RuleEvaluationFailed(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
        if series in matched:
            raise RuleEvaluationFailed("multiple matches for labels: grouping labels must ensure unique matches")
        matched.add(series)

    def _many_to_many(self, sample: Sample, other: Sample) -> str:
        group = format_series("", sample[1].projected(self._match.on))
        side = "left" if self._swapped else "right"
        both = ", ".join(sorted(format_series(name, labels) for name, labels, _ in (sample, other)))
        return (
            f"found duplicate series for the match group {group} on the {side} hand-side of the operation: [{both}];"
            "many-to-many matching not allowed: matching labels must be unique on one side"
        )


def _filter(operator: str) -> Callable[[float, float], float | None]:
    """Returns a comparison that gives the left value, or None where it is not true."""
    compare = COMPARISONS[operator]
    return lambda left, right: left if compare(left, right) else None
