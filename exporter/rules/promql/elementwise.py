"""Operations on numbers, and on each sample of a vector alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql import functions
from exporter.rules.promql.arithmetic import ARITHMETIC, COMPARISONS
from exporter.rules.promql.nodes import Instant, Scalar
from exporter.rules.promql.series import Labels, Vector
from exporter.rules.promql.sources import Moment

_NO_LABELS: Final = Labels(())
_DROPPED: Final = frozenset([""])
_MIRRORED: Final = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def constant(value: float) -> Scalar:
    return Scalar(lambda _: value, value)


def scalar(function: Callable[..., float], *operands: Scalar) -> Scalar:
    """Returns a number made of others; computed now where they are constant."""
    constants = [operand.constant for operand in operands if operand.constant is not None]
    if len(constants) == len(operands):
        return constant(function(*constants))
    runs = [operand.run for operand in operands]
    return Scalar(lambda moment: function(*[run(moment) for run in runs]))


def number_operation(operator: str) -> Callable[[float, float], float]:
    """Comparisons give 1 and 0."""
    if operator in ARITHMETIC:
        return ARITHMETIC[operator]
    compare = COMPARISONS[operator]
    return lambda left, right: 1.0 if compare(left, right) else 0.0


def plain(number: Callable[[Moment], float]) -> Instant:
    """Returns a vector of one series without labels."""
    return Instant(
        lambda moment: [("", _NO_LABELS, number(moment))], _DROPPED, carries_participant=False, carries_policy=False
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
    compare = COMPARISONS[_MIRRORED[operator] if number_first else operator]
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
        return replace(over, run=run, names=_DROPPED)

    def checked(moment: Moment) -> Vector:
        samples = run(moment)
        if len({labels.pairs for _, labels, _ in samples}) < len(samples):
            raise RuleEvaluationFailed("vector cannot contain metrics with the same labelset")
        return samples

    return replace(over, run=checked, names=_DROPPED, can_fail=True)


LIMITED: Final[Mapping[str, Callable[..., float]]] = {
    "clamp": lambda value, low, high: functions.greater(low, functions.lesser(high, value)),
    "clamp_min": lambda value, low: functions.greater(low, value),
    "clamp_max": lambda value, high: functions.lesser(high, value),
    "round": functions.round_to,
}
