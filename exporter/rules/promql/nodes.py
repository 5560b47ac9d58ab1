"""What an expression is compiled to: a function to run, and the properties of its result.

Here are the nodes of numbers, and those of one vector: of each sample alone, and aggregated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql.functions import AGGREGATIONS, COMPARISONS, LIMITED, MIRRORED, number_operation
from exporter.rules.promql.series import POLICY, Grouping, Labels, Pairs, Vector
from exporter.rules.promql.sources import BUCKET_GAUGE_BY_NAME, Moment, ViewSource

_NO_LABELS: Final = Labels(())
NO_NAME: Final = frozenset([""])


@dataclass(frozen=True, slots=True)
class Data:
    """A gauge, or several of which all, or any, must exist; none at all by default."""

    gauge: str = ""
    of: tuple[Data, ...] = ()
    needs: Literal["all", "any"] = "all"

    def names(self) -> frozenset[str]:
        return frozenset(filter(None, [self.gauge])).union(*(data.names() for data in self.of))

    def exists(self, source: ViewSource, policy: str | None) -> bool:
        """Returns whether the gauges have series, those of buckets for ``policy`` (None: for any)."""
        if self.gauge:
            series = source.series(self.gauge)
            if policy is None or self.gauge not in BUCKET_GAUGE_BY_NAME:
                return bool(series)
            return any(labels.get(POLICY) == policy for _, labels, _ in series)
        needed = all if self.needs == "all" else any
        return needed(data.exists(source, policy) for data in self.of)


def combine(needs: Literal["all", "any"], *operands: Data) -> Data:
    data = tuple(operand for operand in operands if operand.gauge or operand.of)
    if len(data) < 2:
        return data[0] if data else Data()
    return Data(of=data, needs=needs)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number. ``constant`` where it is the same at every instant."""

    run: Callable[[Moment], float]
    constant: float | None = None


@dataclass(frozen=True, slots=True)
class Instant:
    """An instant vector.

    ``names`` are the metric names that its series can have (empty: dropped).
    ``carries_participant`` and ``carries_policy``: whether its series do.
    ``can_fail``: whether running it can raise.
    ``data`` are the gauges that it needs.
    """

    run: Callable[[Moment], Vector]
    names: frozenset[str]
    carries_participant: bool
    carries_policy: bool
    can_fail: bool = False
    data: Data = Data()


Node: TypeAlias = "Scalar | Instant"


def constant(value: float) -> Scalar:
    return Scalar(lambda _: value, value)


def scalar(function: Callable[..., float], *operands: Scalar) -> Scalar:
    """Returns a number made of others; computed now where they are constant."""
    constants = [operand.constant for operand in operands if operand.constant is not None]
    if len(constants) == len(operands):
        return constant(function(*constants))
    runs = [operand.run for operand in operands]
    return Scalar(lambda moment: function(*[run(moment) for run in runs]))


def plain(number: Callable[[Moment], float]) -> Instant:
    """Returns a vector of one series without labels."""
    return Instant(
        lambda moment: [("", _NO_LABELS, number(moment))], NO_NAME, carries_participant=False, carries_policy=False
    )


def mapped(over: Instant, function: Callable[[float], float]) -> Instant:
    run = over.run
    return _without_name(over, lambda moment: [("", labels, function(value)) for _, labels, value in run(moment)])


def limited(over: Instant, name: str, limits: Sequence[Scalar]) -> Instant:
    """Returns one of ``LIMITED`` of each sample. A lower limit above the upper one leaves nothing."""
    function, run = LIMITED[name], over.run
    bounds = [limit.run for limit in limits]

    def computed(moment: Moment) -> Vector:
        samples = run(moment)
        numbers = [bound(moment) for bound in bounds]
        if len(numbers) == 2 and numbers[1] < numbers[0]:
            return []
        return [("", labels, function(value, *numbers)) for _, labels, value in samples]

    return _without_name(over, computed)


def filtered(operator: str, over: Instant, number: Scalar, *, number_first: bool) -> Instant:
    """Keeps the samples for which the comparison with a number is true; values and names are unchanged."""
    compare = COMPARISONS[MIRRORED[operator] if number_first else operator]
    run, bound = over.run, number.run

    def run_filtered(moment: Moment) -> Vector:
        threshold = bound(moment)
        return [sample for sample in run(moment) if compare(sample[2], threshold)]

    return replace(over, run=run_filtered)


def computed(operator: str, over: Instant, number: Scalar, *, number_first: bool) -> Instant:
    """Applies arithmetic with a number, or a comparison with ``bool`` (0 and 1), to each sample."""
    operate = number_operation(operator)
    run, other = over.run, number.run

    def run_computed(moment: Moment) -> Vector:
        operand = other(moment)
        if number_first:
            return [("", labels, operate(operand, value)) for _, labels, value in run(moment)]
        return [("", labels, operate(value, operand)) for _, labels, value in run(moment)]

    return _without_name(over, run_computed)


def _without_name(over: Instant, run: Callable[[Moment], Vector]) -> Instant:
    """Drops the metric name; evaluation fails where that leaves two series the same."""
    if len(over.names) == 1:
        return replace(over, run=run, names=NO_NAME)

    def checked(moment: Moment) -> Vector:
        samples = run(moment)
        if len({labels.pairs for _, labels, _ in samples}) < len(samples):
            raise RuleEvaluationFailed("vector cannot contain metrics with the same labelset")
        return samples

    return replace(over, run=checked, names=NO_NAME, can_fail=True)


def aggregated(aggregation: str, over: Instant, onto: Grouping) -> Instant:
    fold, run_over = AGGREGATIONS[aggregation], over.run
    keeps_name = onto.keeps_metric_name
    one_name = len(over.names) == 1 and not keeps_name

    def run(moment: Moment) -> Vector:
        samples = run_over(moment)
        if one_name and all(labels.projected(onto) is labels for _, labels, _ in samples):
            # Every series is a group of its own.
            return [("", labels, fold([value])) for _, labels, value in samples]
        groups: dict[tuple[str, Pairs], tuple[Labels, list[float]]] = {}
        for name, labels, value in samples:
            kept = labels.projected(onto)
            key = (name if keeps_name else "", kept.pairs)
            group = groups.get(key)
            if group is None:
                groups[key] = (kept, [value])
            else:
                group[1].append(value)
        return [(key[0], labels, fold(values)) for key, (labels, values) in groups.items()]

    return replace(
        over,
        run=run,
        names=over.names if keeps_name else NO_NAME,
        carries_policy=over.carries_policy and onto.retains(POLICY),
    )
