"""Which values a label can have, for those of which that is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from exporter.alerts.alert import AlertState, Severity
from exporter.buckets.bucket import OUTCOMES
from exporter.buckets.catalog import CATEGORIES, POLICIES
from exporter.buckets.gauges import METRIC_NAMES
from exporter.rules.golang import full_match
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS
from exporter.structures import did_you_mean

_ISPB: Final = re.compile("[0-9]{8}", re.ASCII)

_MOST_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class Values:
    """``names`` None: any ISPB. ``kind`` is what each of them is, ``more`` the end of a sentence about that."""

    names: frozenset[str] | None
    kind: str
    more: str = ""

    def has(self, value: str) -> bool:
        return value in self.names if self.names is not None else _ISPB.fullmatch(value) is not None

    def match(self, pattern: str) -> bool:
        """Returns whether a regular expression matches any of them; where any ISPB is one, whether it may."""
        if self.names is None:
            return not pattern.isdecimal() or self.has(pattern)
        return any(map(full_match(pattern), self.names))

    def none_of(self, value: str) -> str:
        """Returns the end of a sentence about a value that is none of them."""
        return f"is no {self.kind}{self.more or did_you_mean(value, self.names or ())}"


_CATEGORIES: Final = Values(frozenset(CATEGORIES), "category", f"; they are {', '.join(CATEGORIES)}")
_BY_LABEL: Final[Mapping[str, Values]] = {
    "psp_category": _CATEGORIES,
    "previous_psp_category": Values(frozenset({"", *CATEGORIES}), _CATEGORIES.kind, _CATEGORIES.more),
    "outcome": Values(frozenset(OUTCOMES), "outcome", f"; they are {', '.join(OUTCOMES)}"),
}
_STATES: Final = (AlertState.PENDING, AlertState.FIRING)
_OF_ALERTS: Final[Mapping[str, Values]] = {
    "severity": Values(frozenset(Severity), "severity", f"; they are {', '.join(Severity)}"),
    "alertstate": Values(frozenset(_STATES), "state of an alert", f"; they are {', '.join(_STATES)}"),
}


@dataclass(frozen=True)
class Installation:
    """Where rules are to run: whose buckets are polled (none: any participant's), how often, how far back is kept.

    ``stored_policies`` returns the policies that answers have held, None where they are not known; it is called where
    one is not published. Without it a policy may have any name.
    """

    participants: frozenset[str] = frozenset()
    poll_interval_seconds: float = 15.0
    max_range_seconds: float = 86_400.0
    stored_policies: Callable[[], frozenset[str] | None] | None = lambda: None

    def values(self, metric: str, label: str, written_labels: frozenset[str]) -> Values | None:
        """Returns what a label of a metric's series can be; None where that is not known.

        ``written_labels`` are those that rules write: of alerts and recorded series they can be anything.
        """
        if label == PARTICIPANT:
            return self._participants
        if metric in ALERT_SERIES and label in _OF_ALERTS:
            return _OF_ALERTS[label] if label == "severity" or metric == ALERTS else None
        if metric not in METRIC_NAMES and label in written_labels:
            return None
        if label == POLICY:
            return None if self.stored_policies is None else _PUBLISHED
        return _BY_LABEL.get(label)

    @cached_property
    def all_policies(self) -> Values:
        """The policies that are published or stored."""
        stored = None if self.stored_policies is None else self.stored_policies()
        if stored is None:
            return _PUBLISHED
        return Values(frozenset(POLICIES) | stored, "policy that BACEN publishes or the database holds")

    @cached_property
    def _participants(self) -> Values:
        if not self.participants:
            return Values(None, "ISPB", ", which has eight digits")
        names = sorted(self.participants)
        more = f" and {len(names) - _MOST_LISTED:,} more" if len(names) > _MOST_LISTED else ""
        listed = ", ".join(names[:_MOST_LISTED])
        return Values(self.participants, "participant of the configuration", f"; they are {listed}{more}")


_PUBLISHED: Final = Values(frozenset(POLICIES), "policy that BACEN publishes")

ANY_INSTALLATION: Final = Installation()
