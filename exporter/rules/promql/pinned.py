"""Which one participant a part of an expression is about: the one that a matcher names.

A number made of series (``scalar``) can only be compared with series of the same participant: rules see one participant
at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Final

from exporter.rules.promql.nodes import NO_NAME, Instant, Scalar
from exporter.rules.promql.ranges import RangeValue, RangeVector
from exporter.rules.promql.series import PARTICIPANT, POLICY, Labels, Vector
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.sources import Moment
from exporter.rules.promql.traversal import selectors
from exporter.rules.promql.tree import Binary, Call, Range, Selector, Tree, walk, without_parens

_DROPPED: Final = frozenset({"__type__", "__unit__"})
"""Labels that Prometheus leaves out of what it makes."""

_SERIES: Final = frozenset({ValueType.VECTOR, ValueType.RANGE})


def pinned_participants(tree: Tree) -> set[str]:
    """Returns the participants that selectors of an expression name."""
    return {pin for node in walk(tree) if isinstance(node, Selector) and (pin := pinned(node))}


def pinned(selector: Selector) -> str | None:
    """Returns the participant that a selector names; None where it names none, and so selects of all."""
    named = (matcher.value for matcher in selector.matchers if (matcher.label, matcher.operator) == (PARTICIPANT, "="))
    return next(named, None)


def pin_problems(tree: Tree) -> Iterator[tuple[Tree, str]]:
    """Yields what combines numbers of one participant with what is not only about that one, and why it cannot."""
    problems: list[tuple[Tree, str]] = []
    if any(isinstance(node, Call) and node.function == "scalar" for node in walk(tree)):
        _pin(tree, problems)
    yield from problems


def _pin(tree: Tree, problems: list[tuple[Tree, str]]) -> str | None:
    """Returns the participant that a part of the expression is about; None: any, or no one."""
    if isinstance(tree, Selector):
        return pinned(tree)
    pins = [(operand, _pin(operand, problems)) for operand in tree.operands]
    numbers = [(operand, pin) for operand, pin in pins if operand.type is ValueType.SCALAR and pin is not None]
    series = [(operand, pin) for operand, pin in pins if operand.type in _SERIES]
    for number, pin in numbers:
        others = [other for other, other_pin in (*numbers, *series) if other is not number and other_pin != pin]
        if others:
            problems.append((tree, _why(others[0], pin)))
            break
    if isinstance(tree, Call) and tree.function == "scalar" and series[0][1] is None and any(selectors(tree)):
        problems.append((tree, f'needs {PARTICIPANT}="...": a number is that of one participant'))
    if isinstance(tree, Call) and tree.function == "vector" and numbers:
        problems.append((tree, "a number of one participant cannot become a vector that is of none"))
    of_numbers = next((pin for _, pin in numbers), None)
    if isinstance(tree, Binary) and len(series) > 1:
        (_, left), (_, right) = series
        if tree.operator == "or":
            return left if left == right else None
        return left if tree.operator == "unless" else left or right
    return series[0][1] if series else of_numbers


def _why(other: Tree, pin: str | None) -> str:
    if other.type in _SERIES and not any(selectors(other)):
        return f"combines a number of {pin} with what is of no participant"
    if other.type is ValueType.SCALAR:
        return "combines numbers of two participants: rules see one at a time"
    return f'is about {pin} on one side only: select {PARTICIPANT}="{pin}" on the other one, too'


def absent_labels(argument: Tree) -> Labels:
    """Returns the labels of what ``absent`` gives: those that the selector demands by ``=``, each once."""
    selector = without_parens(argument)
    if isinstance(selector, Range):
        selector = selector.selector
    labels: dict[str, str] = {}
    seen: set[str] = set()
    for matcher in selector.conditions if isinstance(selector, Selector) else ():
        if matcher.label in _DROPPED:
            continue
        if matcher.operator == "=" and matcher.label not in seen:
            labels[matcher.label] = matcher.value
            seen.add(matcher.label)
        else:
            labels.pop(matcher.label, None)
    return Labels.of(labels)


def sole_value(over: Instant) -> Scalar:
    """Returns the value of a vector's only sample as a number; NaN where there is none, or more than one."""
    run = over.run

    def number(moment: Moment) -> float:
        samples = run(moment)
        return samples[0][2] if len(samples) == 1 else math.nan

    return Scalar(number)


def only_of(participants: Collection[str], over: Instant) -> Instant:
    """Returns a vector that has series in the evaluation of these participants only; of all where there are none."""
    if not participants:
        return over
    run = over.run
    return replace(over, run=lambda moment: run(moment) if moment.participant in participants else [])


def absent(over: Instant | RangeVector, labels: Labels) -> Instant:
    """Returns a sample of its own where there is no other, in the evaluation of the participant in its labels."""
    participant = labels.get(PARTICIPANT)
    if not participant:
        why = "what it gives carries the selector's labels, and of anything else none"
        raise ValueError(f'needs a selector itself, with {PARTICIPANT}="..." once: {why}')
    if isinstance(over, RangeVector) and over.mode is not None:
        raise ValueError(f"takes no {over.mode} range")
    run_over: Callable[[Moment], Vector | RangeValue] = over.run

    def run(moment: Moment) -> Vector:
        if moment.participant != participant:
            return []
        value = run_over(moment)
        is_there = bool(value.series if isinstance(value, RangeValue) else value)
        return [] if is_there else [("", labels, 1.0)]

    carries_policy = bool(labels.get(POLICY))
    return Instant(
        run, NO_NAME, carries_participant=True, carries_policy=carries_policy, can_fail=over.can_fail, data=over.data
    )
