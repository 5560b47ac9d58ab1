"""Operations on two instant vectors: arithmetic, comparisons, ``and``, ``or``, ``unless``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.arithmetic import ARITHMETIC, COMPARISONS
from exporter.rules.promql.nodes import Instant
from exporter.rules.promql.series import METRIC_NAME, Grouping, Labels, Pairs, Sample, Vector, format_series
from exporter.rules.promql.sources import Moment

_Side = TypeVar("_Side")


class Cardinality(Enum):
    ONE_TO_ONE = "one-to-one"
    MANY_TO_ONE = "group_left"
    ONE_TO_MANY = "group_right"


@dataclass(frozen=True, slots=True)
class Match:
    """How the series of two sides find each other. ``include``: labels that the "one" side gives."""

    on: Grouping
    cardinality: Cardinality = Cardinality.ONE_TO_ONE
    include: tuple[str, ...] = ()

    def sides(self, left: _Side, right: _Side) -> tuple[_Side, _Side]:
        """Returns the side that may be many, and the other one."""
        return (right, left) if self.cardinality is Cardinality.ONE_TO_MANY else (left, right)

    def signature(self) -> Callable[[Sample], object]:
        """Returns what two series must have in common to match."""
        on = self.on
        if on.keeps_metric_name:
            return lambda sample: (sample[0], sample[1].projected(on).pairs)
        return lambda sample: sample[1].projected(on).pairs


def set_operation(operator: str, left: Instant, right: Instant, match: Match) -> Callable[[Moment], Vector]:
    signature = match.signature()
    run_left, run_right = left.run, right.run

    def both(moment: Moment) -> Vector:
        others = run_right(moment)
        if not others:
            # Most rules wait for something that is not so: the left side is read only where it could raise.
            return run_left(moment)[:0] if left.can_fail else []
        samples = run_left(moment)
        signatures = {signature(sample) for sample in others}
        return [sample for sample in samples if signature(sample) in signatures]

    def either(moment: Moment) -> Vector:
        samples, others = run_left(moment), run_right(moment)
        if not others or not samples:
            return samples or others
        signatures = {signature(sample) for sample in samples}
        return samples + [sample for sample in others if signature(sample) not in signatures]

    def without(moment: Moment) -> Vector:
        samples, others = run_left(moment), run_right(moment)
        if not others or not samples:
            return samples
        signatures = {signature(sample) for sample in others}
        return [sample for sample in samples if signature(sample) not in signatures]

    return {"and": both, "or": either, "unless": without}[operator]


def binary_operation(
    operator: str, left: Instant, right: Instant, match: Match, *, as_bool: bool
) -> Callable[[Moment], Vector]:
    """Arithmetic, or a comparison that filters the left side or (``as_bool``) gives 0 and 1."""
    pair_up = _Pairing(operator, match, as_bool=as_bool)
    run_left, run_right = left.run, right.run
    return lambda moment: pair_up(run_left(moment), run_right(moment))


class _Pairing:
    def __init__(self, operator: str, match: Match, *, as_bool: bool) -> None:
        self._arithmetic = ARITHMETIC.get(operator)
        self._comparison = COMPARISONS.get(operator)
        self._as_bool = as_bool
        self._match = match
        self._swapped = match.cardinality is Cardinality.ONE_TO_MANY
        self._one_to_one = match.cardinality is Cardinality.ONE_TO_ONE
        self._signature = match.signature()
        self._matches_name = match.on.keeps_metric_name
        self._keeps_name = self._arithmetic is None and (match.on.retains(METRIC_NAME) if self._one_to_one else True)

    def __call__(self, left: Vector, right: Vector) -> Vector:
        many, one = self._match.sides(left, right)
        if not many or not one:
            return []
        signature = self._signature
        ones: dict[object, Sample] = {}
        for sample in one:
            key = signature(sample)
            if key in ones:
                raise RuleEvaluationFailed(self._many_to_many(sample, ones[key]))
            ones[key] = sample
        result: Vector = []
        matched: dict[object, set[tuple[str, Pairs]]] = {}
        for sample in many:
            key = signature(sample)
            other = ones.get(key)
            if other is None:
                continue
            value = self._value(other[2], sample[2]) if self._swapped else self._value(sample[2], other[2])
            if value is None:
                continue
            name, labels = self._labels(sample, other)
            self._check_unique(matched, key, (name, labels.pairs))
            result.append((name, labels, value))
        if self._matches_name and len({(name, labels.pairs) for name, labels, _ in result}) < len(result):
            # Only the metric name distinguished them, and the operation has dropped it.
            raise RuleEvaluationFailed("vector cannot contain metrics with the same labelset")
        return result

    def _value(self, left: float, right: float) -> float | None:
        """None: a comparison that filters this pair out."""
        if self._arithmetic is not None:
            return self._arithmetic(left, right)
        assert self._comparison is not None  # noqa: S101 - an operator is one or the other
        holds = self._comparison(left, right)
        if self._as_bool:
            return 1.0 if holds else 0.0
        return left if holds else None

    def _labels(self, many: Sample, one: Sample) -> tuple[str, Labels]:
        name, labels, _ = many
        if not self._keeps_name:
            name = ""
        if self._one_to_one:
            return "" if self._as_bool else name, labels.projected(self._match.on)
        if self._match.include:
            included = [(label, one[1].get(label)) for label in self._match.include if label != METRIC_NAME]
            labels = labels.replaced(included)
            if METRIC_NAME in self._match.include:
                name = one[0]
        return "" if self._as_bool else name, labels

    def _check_unique(
        self, matched: dict[object, set[tuple[str, Pairs]]], key: object, series: tuple[str, Pairs]
    ) -> None:
        present = matched.get(key)
        if present is None:
            matched[key] = {series}
        elif self._one_to_one:
            raise RuleEvaluationFailed(
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
            )
        elif series in present:
            raise RuleEvaluationFailed("multiple matches for labels: grouping labels must ensure unique matches")
        else:
            present.add(series)

    def _many_to_many(self, sample: Sample, other: Sample) -> str:
        group = format_series("", sample[1].projected(self._match.on))
        side = "left" if self._swapped else "right"
        return (
            f"found duplicate series for the match group {group} on the {side} hand-side of the operation: "
            f"[{format_series(sample[0], sample[1])}, {format_series(other[0], other[1])}];"
            "many-to-many matching not allowed: matching labels must be unique on one side"
        )
