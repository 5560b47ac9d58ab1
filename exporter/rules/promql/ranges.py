"""Nodes of range vectors: range selectors, subqueries, the functions on them; and instant vectors of another time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from exporter.alerts.written_series import Pairs
from exporter.buckets.gauge_history import Samples
from exporter.rules.promql.extended_ranges import EXTENDED_FUNCTIONS, interpolated
from exporter.rules.promql.nodes import NO_DATA, NO_NAME, Data, Instant, Scalar, without_name
from exporter.rules.promql.range_functions import KEEPS_NAME, RANGE_FUNCTIONS, Extent
from exporter.rules.promql.series import Labels, Vector
from exporter.rules.promql.sources import LOOKBACK_MS, Moment, SeriesSamples
from exporter.rules.promql.time_shifts import InstantOf, Length


class RangeValue(NamedTuple):
    """The samples of several series in a range."""

    extent: Extent
    series: Sequence[SeriesSamples]


class Selection(NamedTuple):
    """The selected series of a metric: ``vector`` is what they are now."""

    metric: str
    selects: Callable[[Labels], bool]
    vector: Instant


NO_SAMPLES: Final = RangeValue(Extent(0, 0, 0.0, 0), ())


@dataclass(frozen=True, slots=True)
class RangeVector:
    """A range vector. ``mode`` is ``anchored``, ``smoothed`` or neither; the rest is as of an `Instant`."""

    run: Callable[[Moment], RangeValue]
    names: frozenset[str]
    carries_participant: bool
    carries_policy: bool
    can_fail: bool = False
    data: Data = NO_DATA
    mode: str | None = None


Node: TypeAlias = "Scalar | Instant | RangeVector"


def earlier(over: Instant, instant: InstantOf) -> Instant:
    """Returns an instant vector as it was, or will be, at another time."""
    run = over.run
    return replace(over, run=lambda moment: run(moment.at(instant(moment))))


def selected_range(selection: Selection, length: Length, instant: InstantOf, mode: str | None) -> RangeVector:
    """Returns the samples in a range of the selected series."""
    over = selection.vector
    before_ms = LOOKBACK_MS if mode is not None else 0
    after_ms = LOOKBACK_MS if mode == "smoothed" else 0

    def run(moment: Moment) -> RangeValue:
        end_ms = instant(moment)
        extent = Extent(end_ms - length.ms, end_ms, length.seconds, moment.at_ms)
        series = moment.between(selection.metric, extent.begin_ms - before_ms, end_ms + after_ms)
        return RangeValue(extent, [one for one in series if selection.selects(one.labels)])

    return RangeVector(run, over.names, over.carries_participant, over.carries_policy, data=over.data, mode=mode)


def smoothed(selection: Selection, instant: InstantOf) -> Instant:
    """Returns an instant vector whose values are interpolated between the samples before and after."""

    def run(moment: Moment) -> Vector:
        at_ms = instant(moment)
        return [
            (name, labels, _smoothed(samples, at_ms))
            for name, labels, samples in moment.between(selection.metric, at_ms - LOOKBACK_MS, at_ms + LOOKBACK_MS)
            if samples.times_ms[0] <= at_ms and selection.selects(labels)
        ]

    return replace(selection.vector, run=run)


def _smoothed(samples: Samples, at_ms: int) -> float:
    index = bisect_left(samples.times_ms, at_ms)
    if index == len(samples.times_ms):
        return samples.values[-1]
    if samples.times_ms[index] == at_ms:
        return samples.values[index]
    return interpolated(samples, index - 1, at_ms, is_counter=False)


def subquery(over: Instant, length: Length, step_ms: int | None, instant: InstantOf) -> RangeVector:
    """Returns the results of evaluating an instant vector at each multiple of a step within a range.

    ``step_ms`` None: that of the rule's source.
    """
    run_over = over.run

    def run(moment: Moment) -> RangeValue:
        end_ms = instant(moment)
        begin_ms = end_ms - length.ms
        step = step_ms or moment.subquery_step_ms
        collected: dict[tuple[str, Pairs], tuple[Labels, list[int], list[float]]] = {}
        for at_ms in range(((begin_ms - moment.edge_ms) // step + 1) * step, end_ms + 1, step):
            for name, labels, value in run_over(moment.at(at_ms)):
                series = collected.get((name, labels.pairs))
                if series is None:
                    series = collected[name, labels.pairs] = (labels, [], [])
                series[1].append(at_ms)
                series[2].append(value)
        extent = Extent(begin_ms, end_ms, length.seconds, moment.at_ms)
        return RangeValue(
            extent,
            [
                SeriesSamples(name, labels, Samples(times_ms, values))
                for (name, _), (labels, times_ms, values) in collected.items()
            ],
        )

    return RangeVector(run, over.names, over.carries_participant, over.carries_policy, over.can_fail, over.data)


def called(function: str, over: RangeVector, numbers: Sequence[Scalar]) -> Instant:
    """Returns a function of each series' samples. Raises ValueError, a sentence, where it takes no such range."""
    functions = RANGE_FUNCTIONS
    if over.mode is not None:
        functions = EXTENDED_FUNCTIONS[over.mode]
        if function not in functions:
            raise ValueError(f"takes no {over.mode} range; {', '.join(sorted(functions))} do")
    compute, run_over, keeps_name = functions[function], over.run, function in KEEPS_NAME
    run_numbers = [number.run for number in numbers]

    def run(moment: Moment) -> Vector:
        extent, series = run_over(moment)
        arguments = [number(moment) for number in run_numbers]
        result: Vector = []
        for name, labels, samples in series:
            value = compute(samples, extent, *arguments)
            if value is not None:
                result.append((name if keeps_name else "", labels, value))
        return result

    node = Instant(run, over.names, over.carries_participant, over.carries_policy, over.can_fail, over.data)
    return node if keeps_name else without_name(node, run)


def sampled(selection: Selection, instant: InstantOf) -> Instant:
    """Returns when the selected samples were made, in seconds since 1970."""

    def run(moment: Moment) -> Vector:
        return [
            ("", labels, seconds)
            for _, labels, seconds in moment.sampled(selection.metric, instant(moment))
            if selection.selects(labels)
        ]

    return replace(selection.vector, run=run, names=NO_NAME)
