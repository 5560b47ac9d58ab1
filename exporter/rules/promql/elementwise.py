"""Operations on numbers, and on each sample of a vector by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from exporter.errors import RuleEvaluationFailed
from exporter.rules.promql import functions
from exporter.rules.promql.arithmetic import ARITHMETIC, COMPARISONS
from exporter.rules.promql.nodes import Instant, Scalar
from exporter.rules.promql.series import Labels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporter.rules.promql.series import Vector
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
    return _renamed(over, lambda moment: [("", labels, function(value)) for _, labels, value in run(moment)])


def limited(over: Instant, name: str, limits: Sequence[Scalar]) -> Instant:
    """Returns one of ``LIMITED`` of each sample. A lower limit above the upper one leaves nothing."""
    function, run = LIMITED[name], over.run
    bounds = [limit.run for limit in limits]

    def computed(moment: Moment) -> Vector:
        found = run(moment)
        given = [bound(moment) for bound in bounds]
        if len(given) == 2 and given[1] < given[0]:
            return []
        return [("", labels, function(value, *given)) for _, labels, value in found]

    return _renamed(over, computed)


def filtered(operator: str, over: Instant, number: Scalar, *, number_first: bool) -> Instant:
    """Returns the samples that compare so with a number: their own values, and their names."""
    compare = COMPARISONS[_MIRRORED[operator] if number_first else operator]
    run, bound = over.run, number.run

    def run_filtered(moment: Moment) -> Vector:
        wanted = bound(moment)
        return [sample for sample in run(moment) if compare(sample[2], wanted)]

    return replace(over, run=run_filtered)


def computed(operator: str, over: Instant, number: Scalar, *, number_first: bool) -> Instant:
    """Returns arithmetic of each sample and a number, or how it compares with it, as 0 and 1."""
    operate = number_operation(operator)
    run, other = over.run, number.run

    def run_computed(moment: Moment) -> Vector:
        given = other(moment)
        if number_first:
            return [("", labels, operate(given, value)) for _, labels, value in run(moment)]
        return [("", labels, operate(value, given)) for _, labels, value in run(moment)]

    return _renamed(over, run_computed)


def _renamed(over: Instant, run: Callable[[Moment], Vector]) -> Instant:
    """Returns what drops the metric name, and fails where that leaves two series the same."""
    if len(over.names) == 1:
        return replace(over, run=run, names=_DROPPED)

    def checked(moment: Moment) -> Vector:
        found = run(moment)
        if len({labels.pairs for _, labels, _ in found}) < len(found):
            raise RuleEvaluationFailed("vector cannot contain metrics with the same labelset")
        return found

    return replace(over, run=checked, names=_DROPPED, can_fail=True)


LIMITED: Final[Mapping[str, Callable[..., float]]] = {
    "clamp": lambda value, low, high: functions.greater(low, functions.lesser(high, value)),
    "clamp_min": lambda value, low: functions.greater(low, value),
    "clamp_max": lambda value, high: functions.lesser(high, value),
    "round": functions.round_to,
}
