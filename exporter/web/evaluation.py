"""Whether rules are evaluated as often as they should be, so that the open alerts are those of now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exporter.clock import utc
from exporter.durations import spaced

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
        return f"As of {utc(self.at)} UTC: no rule has been evaluated for {age}."


def is_current(age_seconds: float, interval_seconds: float) -> bool:
    """Returns whether an evaluation is as recent as can be expected."""
    return age_seconds <= max(OVERDUE_SECONDS, OVERDUE_POLLS * interval_seconds)
