"""What an expression is compiled to: something to run, and what is known of its result beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

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
    ``data`` is what it needs to have something to look at.
    """

    run: Callable[[Moment], Vector]
    names: frozenset[str]
    carries_participant: bool
    carries_policy: bool
    can_fail: bool = False
    data: Data | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """A gauge, or several of which all, or any, must be there."""

    gauge: str = ""
    of: tuple[Data, ...] = ()
    needs: Literal["all", "any"] = "all"

    def names(self) -> frozenset[str]:
        own = frozenset([self.gauge]) if self.gauge else frozenset[str]()
        return own.union(*(part.names() for part in self.of))


Node: TypeAlias = "Scalar | Instant"


def combined(needs: Literal["all", "any"], *parts: Data | None) -> Data | None:
    known = tuple(part for part in parts if part is not None)
    if len(known) < 2:
        return known[0] if known else None
    return Data(of=known, needs=needs)
