"""The functions of PromQL that look at one instant: what a call is compiled to, given its compiled arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from exporter.rules.golang import compile_pattern, expand, is_utf_8
from exporter.rules.promql import nodes
from exporter.rules.promql.functions import CALENDAR, LIMITED, ROUNDING
from exporter.rules.promql.mathematics import MATHEMATICS
from exporter.rules.promql.nodes import Instant, Scalar
from exporter.rules.promql.pinned import sole_value
from exporter.rules.promql.range_functions import RANGE_FUNCTIONS
from exporter.rules.promql.ranges import Node, RangeVector, called
from exporter.rules.promql.series import METRIC_NAME, PARTICIPANT, Labels

ABSENT: Final = frozenset({"absent", "absent_over_time"})

_ONE: Final = nodes.constant(1.0)


_NOT_WRITTEN: Final = frozenset({PARTICIPANT, "__type__", "__unit__"})
"""Prometheus drops the last two wherever it drops the metric's name."""


def writable(label: str, function: str) -> str:
    """Returns a label that an expression may write. Raises ValueError, a sentence, where it may not."""
    if label in _NOT_WRITTEN:
        raise ValueError(f"{function} may not write the label {label}")
    return storable(named(label, function), function)


def named(label: str, function: str) -> str:
    """Returns a label that has a name. Raises ValueError, a sentence, where it has none."""
    if not label or not is_utf_8(label):
        raise ValueError(f"{function} is given a label that has no name in UTF-8")
    return label


def storable(text: str, function: str) -> str:
    """Returns a text that labels of alerts can hold. Raises ValueError, a sentence, where it is none."""
    if not is_utf_8(text):
        raise ValueError(f"{function} writes what is not UTF-8")
    if "\0" in text:
        raise ValueError(f"{function} writes a NUL character, which the database does not take")
    return text


def _of_time(read: Callable[[float], float], times: Instant | None = None) -> Instant:
    if times is None:
        return nodes.plain(lambda moment: read(moment.seconds))
    return nodes.mapped(times, read)


def _limited(name: str, over: Instant, *limits: Scalar) -> Instant:
    return nodes.limited(over, name, limits or [_ONE])


def _label_of(name: str, labels: Labels, label: str) -> str:
    return name if label == METRIC_NAME else labels.get(label)


def _label_replace(over: Instant, label: str, replacement: str, source: str, pattern: str) -> Instant:
    storable(replacement, "label_replace")
    expression = compile_pattern(f"^(?s:{pattern})$")

    def value_of(name: str, labels: Labels) -> str | None:
        match = expression.search(_label_of(name, labels, source))
        return None if match is None else expand(replacement, match, expression.groupindex)

    return nodes.relabelled(over, writable(label, "label_replace"), value_of)


def _label_join(over: Instant, label: str, separator: str, *sources: str) -> Instant:
    storable(separator, "label_join")
    for source in sources:
        named(source, "label_join")

    def value_of(name: str, labels: Labels) -> str:
        return separator.join(_label_of(name, labels, source) for source in sources)

    return nodes.relabelled(over, writable(label, "label_join"), value_of)


def _over_range(name: str, *arguments: RangeVector | Scalar) -> Instant:
    numbers = [argument for argument in arguments if isinstance(argument, Scalar)]
    return called(name, next(argument for argument in arguments if isinstance(argument, RangeVector)), numbers)


def _timestamp(over: Instant) -> Instant:
    run = over.run
    return nodes.without_name(over, lambda moment: [("", labels, moment.seconds) for _, labels, _ in run(moment)])


CALLS: Final[Mapping[str, Callable[..., Node]]] = {
    **{name: partial(nodes.mapped, function=function) for name, function in {**ROUNDING, **MATHEMATICS}.items()},
    **{name: partial(_of_time, read) for name, read in CALENDAR.items()},
    **{name: partial(_limited, name) for name in LIMITED},
    **{name: partial(_over_range, name) for name in RANGE_FUNCTIONS},
    "time": lambda: Scalar(lambda moment: moment.seconds),
    "pi": lambda: nodes.constant(math.pi),
    "scalar": sole_value,
    "timestamp": _timestamp,
    "vector": lambda number: nodes.plain(number.run),
    "sort": lambda over: over,
    "sort_desc": lambda over: over,
    "label_replace": _label_replace,
    "label_join": _label_join,
}
"""In the order of the arguments; a text is itself."""
