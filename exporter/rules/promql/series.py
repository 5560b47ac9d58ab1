"""Series: label sets, samples, and vectors of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

from exporter.alerts.written_series import Pairs
from exporter.rules.golang import quote

METRIC_NAME: Final = "__name__"
PARTICIPANT: Final = "participant"
POLICY: Final = "policy"

_PLAIN: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """A list of labels as ``by`` and ``on`` (``keep``) or ``without`` and ``ignoring`` (not) give it.

    Made by `grouping` only, so that one list is one object and quick to look up.
    """

    names: frozenset[str]
    keep: bool

    @property
    def keeps_metric_name(self) -> bool:
        return self.keep and METRIC_NAME in self.names

    def retains(self, name: str) -> bool:
        return (name in self.names) is self.keep


@cache
def grouping(names: frozenset[str], *, keep: bool) -> Grouping:
    return Grouping(names, keep)


BY_PARTICIPANT: Final = grouping(frozenset({PARTICIPANT}), keep=True)
BY_PARTICIPANT_AND_POLICY: Final = grouping(frozenset({PARTICIPANT, POLICY}), keep=True)
BY_ALL_LABELS: Final = grouping(frozenset(), keep=False)


class Labels:
    """The labels of a series without its metric name. Immutable; remembers its projections.

    A poll's series share their label sets, so that a projection serves all its rules.
    """

    __slots__ = ("_projections", "pairs")

    def __init__(self, pairs: Pairs, projections: dict[Grouping, Labels] | None = None) -> None:
        """``projections`` are those that are known already."""
        self.pairs = pairs
        self._projections: dict[Grouping, Labels] = {} if projections is None else projections

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Labels:
        """Empty labels and the metric name are left out."""
        return cls(tuple(sorted((n, v) for n, v in labels.items() if v and n != METRIC_NAME)))

    def with_policy(self, policy: str) -> Labels:
        """Returns the labels of a bucket, where these are its participant's."""
        return Labels((*self.pairs, (POLICY, policy)), {BY_PARTICIPANT: self, BY_PARTICIPANT_AND_POLICY: _ITSELF})

    def get(self, name: str) -> str:
        """An absent label is an empty one."""
        for label, value in self.pairs:
            if label == name:
                return value
        return ""

    def projected(self, onto: Grouping) -> Labels:
        projection = self._projections.get(onto)
        if projection is None:
            pairs = tuple([pair for pair in self.pairs if onto.retains(pair[0])])
            projection = self._projections[onto] = _ITSELF if pairs == self.pairs else Labels(pairs)
        return self if projection is _ITSELF else projection

    def replaced(self, changes: Iterable[tuple[str, str]]) -> Labels:
        """Returns these labels with others set; an empty value removes."""
        return Labels.of({**dict(self.pairs), **dict(changes)})

    def __repr__(self) -> str:
        return format_series("", self)


_ITSELF: Final = Labels(())
"""A projection that leaves labels as they are: a reference to themselves would make them the garbage collector's."""

Sample: TypeAlias = "tuple[str, Labels, float]"
"""Metric name (empty where an operation dropped it), labels, value."""

Vector: TypeAlias = "list[Sample]"


def label_text(label: str) -> str:
    """Returns a label's name, in quotes where it is not a plain one."""
    return label if _PLAIN.fullmatch(label) else quote(label)


def format_series(name: str, labels: Labels) -> str:
    """Returns the series in Prometheus' notation: ``name{a="b", c="d"}``."""
    inside = ", ".join(f"{label_text(n)}={quote(v)}" for n, v in labels.pairs)
    return f"{name}{{{inside}}}" if inside or not name else name
