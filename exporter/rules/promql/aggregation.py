"""``sum``, ``min``, ``max``, ``avg``, ``count``, ``group``, by or without labels."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from exporter.rules.promql.nodes import Instant
from exporter.rules.promql.series import Grouping, Labels, Pairs, Vector
from exporter.rules.promql.sources import Moment


def aggregate(aggregation: str, over: Instant, onto: Grouping) -> Callable[[Moment], Vector]:
    fold, run_over = AGGREGATIONS[aggregation], over.run
    keeps_name = onto.keeps_metric_name

    def run(moment: Moment) -> Vector:
        groups: dict[tuple[str, Pairs], tuple[Labels, list[float]]] = {}
        for name, labels, value in run_over(moment):
            kept = labels.projected(onto)
            key = (name if keeps_name else "", kept.pairs)
            group = groups.get(key)
            if group is None:
                groups[key] = (kept, [value])
            else:
                group[1].append(value)
        return [(key[0], labels, fold(values)) for key, (labels, values) in groups.items()]

    return run


def _extreme(beats: Callable[[float, float], bool]) -> Callable[[Sequence[float]], float]:
    """Returns the greatest or the least value; NaN only where there is nothing else."""

    def fold(values: Sequence[float]) -> float:
        best = values[0]
        for value in values:
            if beats(value, best) or math.isnan(best):
                best = value
        return best

    return fold


def _total(values: Sequence[float]) -> float:
    """Added up one by one: Python's own ``sum`` compensates for lost digits."""
    total = values[0]
    for value in values[1:]:
        total += value
    return total


def _mean(values: Sequence[float]) -> float:
    """Moved along with each value, so that it does not overflow where the sum would."""
    mean = values[0]
    for count, value in enumerate(values[1:], start=2):
        if math.isinf(mean) and (mean == value or math.isfinite(value)):
            continue
        mean += value / count - mean / count
    return mean


AGGREGATIONS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "sum": _total,
    "min": _extreme(operator.lt),
    "max": _extreme(operator.gt),
    "avg": _mean,
    "count": lambda values: float(len(values)),
    "group": lambda _: 1.0,
}
