"""What an expression is compiled to: a function to run, and the properties of its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from exporter.rules.promql.series import Vector
from exporter.rules.promql.sources import Moment


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
    data: Data | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """A gauge, or several of which all, or any, must exist."""

    gauge: str = ""
    of: tuple[Data, ...] = ()
    needs: Literal["all", "any"] = "all"

    def names(self) -> frozenset[str]:
        own = frozenset([self.gauge]) if self.gauge else frozenset[str]()
        return own.union(*(data.names() for data in self.of))


Node: TypeAlias = "Scalar | Instant"


def combine(needs: Literal["all", "any"], *operands: Data | None) -> Data | None:
    data = tuple(operand for operand in operands if operand is not None)
    if len(data) < 2:
        return data[0] if data else None
    return Data(of=data, needs=needs)
