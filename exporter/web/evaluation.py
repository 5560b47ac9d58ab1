"""Whether rules are evaluated as often as they should be, so that the open alerts are those of now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.durations import spaced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View
    from exporter.web.sources import RuleGroupStatus

OVERDUE_SECONDS: Final = 60.0
OVERDUE_POLLS: Final = 3
"""An evaluation is overdue when it is older than both: seconds, and polls of the longest interval."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """When a rule was last evaluated (None: not by this process), and whether that is as recent as can be expected."""

    at: datetime | None
    current: bool

    def warning(self, now: datetime) -> str | None:
        """Returns why the open alerts may not be those of now, in a sentence; None: they are."""
        if self.current:
            return None
        if self.at is None:
            return "Not known: this process has evaluated no rule yet. If it is on standby, ask the leader."
        age = spaced((now - self.at).total_seconds())
        return f"As of {self.at:%Y-%m-%d %H:%M:%S} UTC: no rule has been evaluated for {age}."


def last_evaluation(groups: Sequence[RuleGroupStatus], views: Mapping[Ispb, View], now: datetime) -> Evaluation:
    rules = [rule for group in groups for rule in group.rules]
    at = max((rule.evaluated_at for rule in rules if rule.evaluated_at is not None), default=None)
    interval = max((view.poll.interval_seconds for view in views.values()), default=0.0)
    return Evaluation(at, current=not rules or (at is not None and is_current((now - at).total_seconds(), interval)))


def is_current(age_seconds: float, interval_seconds: float) -> bool:
    """Returns whether an evaluation is as recent as can be expected."""
    return age_seconds <= max(OVERDUE_SECONDS, OVERDUE_POLLS * interval_seconds)
