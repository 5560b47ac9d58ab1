"""What an expression is compiled to: a function to run, and the properties of its result.

Here are the nodes of numbers, and those of one vector: of each sample alone, and aggregated.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, TypeVar

from exporter.alerts.written_series import Pairs
from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME
from exporter.errors import RuleEvaluationFailed
from exporter.rules.golang import fixed, shortest
from exporter.rules.promql import aggregations
from exporter.rules.promql.aggregations import Choice, Fold
from exporter.rules.promql.functions import COMPARISONS, LIMITED, MIRRORED, number_operation
from exporter.rules.promql.series import METRIC_NAME, POLICY, Grouping, Labels, Sample, Vector, grouping
from exporter.rules.promql.sources import Moment, Source

_NO_LABELS: Final = Labels(())
NO_NAME: Final = frozenset([""])
SEVERAL_NAMES: Final = frozenset(["", "any other"])
"""Those of series whose names are computed."""

_MOST: Final = 9223372036854774784.0
"""The largest float below what Go counts in 64 bits: that already is too many."""


@dataclass(frozen=True, slots=True)
class Data:
    """A gauge, or several of which all, or any, must exist; none at all by default."""

    gauge: str = ""
    of: tuple[Data, ...] = ()
    needs: Literal["all", "any"] = "all"

    def names(self) -> frozenset[str]:
        return frozenset(filter(None, [self.gauge])).union(*(data.names() for data in self.of))

    def exists(self, source: Source, policy: str | None) -> bool:
        """Returns whether the gauges have series, those of buckets for ``policy`` (None: for any)."""
        if self.gauge:
            series = source.series(self.gauge)
            if policy is None or self.gauge not in BUCKET_METRIC_BY_NAME:
                return bool(series)
            return any(labels.get(POLICY) == policy for _, labels, _ in series)
        needed = all if self.needs == "all" else any
        return needed(data.exists(source, policy) for data in self.of)


NO_DATA: Final = Data()


def combine(needs: Literal["all", "any"], *operands: Data) -> Data:
    # The same gauges are often needed twice, above all through what rules record.
    data = tuple({id(operand): operand for operand in operands if operand.gauge or operand.of}.values())
    if len(data) < 2:
        return data[0] if data else NO_DATA
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
    data: Data = NO_DATA


_Value = TypeVar("_Value")


def run(of: Callable[[Moment], _Value], moment: Moment) -> _Value:
    """Returns the value at a moment. Raises RuleEvaluationFailed, and nothing else, whatever is in the expression."""
    try:
        return of(moment)
    except RuleEvaluationFailed:
        raise
    except Exception as error:
        raise RuleEvaluationFailed(f"{type(error).__name__}: {error}") from error


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
    return without_name(over, lambda moment: [("", labels, function(value)) for _, labels, value in run(moment)])


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

    return without_name(over, computed)


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

    return without_name(over, run_computed)


def without_name(over: Instant, run: Callable[[Moment], Vector]) -> Instant:
    """Drops the metric name; evaluation fails where that leaves two series the same."""
    if len(over.names) == 1:
        return replace(over, run=run, names=NO_NAME)
    return replace(over, run=_unique(run), names=NO_NAME, can_fail=True)


def _unique(run: Callable[[Moment], Vector]) -> Callable[[Moment], Vector]:
    """Returns a function that fails where two series are the same."""

    def checked(moment: Moment) -> Vector:
        samples = run(moment)
        if len({(name, labels.pairs) for name, labels, _ in samples}) < len(samples):
            raise RuleEvaluationFailed("vector cannot contain metrics with the same labelset")
        return samples

    return checked


def relabelled(over: Instant, label: str, value_of: Callable[[str, Labels], str | None]) -> Instant:
    """Sets a label, or the metric's name, to what is computed from name and labels; None leaves it, empty removes."""
    run_over = over.run

    def run(moment: Moment) -> Vector:
        result: Vector = []
        for name, labels, number in run_over(moment):
            value = value_of(name, labels)
            if value is None:
                result.append((name, labels, number))
            elif label == METRIC_NAME:
                result.append((value, labels, number))
            else:
                result.append((name, labels.replaced([(label, value)]), number))
        return result

    names = SEVERAL_NAMES if label == METRIC_NAME else over.names
    carries_policy = over.carries_policy or label == POLICY
    return replace(over, run=_unique(run), names=names, carries_policy=carries_policy, can_fail=True)


def aggregated(fold: Fold, over: Instant, onto: Grouping) -> Instant:
    run_over = over.run
    one_name = len(over.names) == 1 and not onto.keeps_metric_name

    def run(moment: Moment) -> Vector:
        samples = run_over(moment)
        if one_name and all(labels.projected(onto) is labels for _, labels, _ in samples):
            # Every series is a group of its own.
            return [("", labels, fold([value])) for _, labels, value in samples]
        return _folded(fold, samples, onto)

    return _grouped(over, onto, run)


def quantile(share: Scalar, over: Instant, onto: Grouping) -> Instant:
    run_over, run_share = over.run, share.run
    return _grouped(
        over, onto, lambda moment: _folded(partial(aggregations.quantile, run_share(moment)), run_over(moment), onto)
    )


def counted_values(label: str, over: Instant, onto: Grouping) -> Instant:
    """Counts equal values; each becomes a label."""
    run_over, of_all = over.run, _with(onto, label)

    def run(moment: Moment) -> Vector:
        samples = [
            (fixed(value), labels, value)
            if label == METRIC_NAME
            else (name, labels.replaced([(label, fixed(value))]), value)
            for name, labels, value in run_over(moment)
        ]
        return _folded(aggregations.FOLDS["count"], samples, of_all)

    node = _grouped(over, of_all, run)
    names = SEVERAL_NAMES if of_all.keeps_metric_name and label == METRIC_NAME else node.names
    return replace(node, names=names, carries_policy=node.carries_policy or label == POLICY)


def chosen(choose: Choice, count: Scalar, over: Instant, onto: Grouping) -> Instant:
    """Keeps some of the samples of each group, as they are. Evaluation fails where the count is no number."""
    run_over, run_count = over.run, count.run

    def run(moment: Moment) -> Vector:
        samples, most = run_over(moment), run_count(moment)
        if most < 1:
            return []
        if math.isnan(most):
            raise RuleEvaluationFailed("Parameter value is NaN")
        if most >= _MOST:
            raise RuleEvaluationFailed(f"Scalar value {shortest(most)} overflows int64")
        groups: dict[tuple[str, Pairs], list[Sample]] = defaultdict(list)
        for sample in samples:
            groups[_group_of(sample, onto)].append(sample)
        return [sample for group in groups.values() for sample in choose(group, int(most))]

    return replace(over, run=run, can_fail=True)


def _grouped(over: Instant, onto: Grouping, run: Callable[[Moment], Vector]) -> Instant:
    return replace(
        over,
        run=run,
        names=over.names if onto.keeps_metric_name else NO_NAME,
        carries_policy=over.carries_policy and onto.retains(POLICY),
    )


def _folded(fold: Fold, samples: Vector, onto: Grouping) -> Vector:
    groups: dict[tuple[str, Pairs], tuple[Labels, list[float]]] = {}
    for sample in samples:
        key = _group_of(sample, onto)
        group = groups.get(key)
        if group is None:
            groups[key] = (sample[1].projected(onto), [sample[2]])
        else:
            group[1].append(sample[2])
    return [(name, labels, fold(values)) for (name, _), (labels, values) in groups.items()]


def _group_of(sample: Sample, onto: Grouping) -> tuple[str, Pairs]:
    name, labels, _ = sample
    return name if onto.keeps_metric_name else "", labels.projected(onto).pairs


def _with(onto: Grouping, label: str) -> Grouping:
    """Returns the grouping that keeps a label, too; one that lists what it leaves out keeps it unless it is listed."""
    return grouping(onto.names | {label}, keep=True) if onto.keep else onto
