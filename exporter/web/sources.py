"""The contents of pages and answers: provided by the service, read at each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from exporter.alerts.alert import Alert
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.observation import View
from exporter.clock import in_utc
from exporter.durations import spaced
from exporter.health import Readiness

if TYPE_CHECKING:
    from exporter.metrics import Metrics
    from exporter.store.timeline import Timeline


OVERDUE_SECONDS: Final = 60.0
OVERDUE_POLLS: Final = 3
"""An evaluation is overdue when it is older than both: seconds, and polls of the longest interval."""


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule in force, and its last evaluation. One that records has nothing of what concerns alerts.

    ``labels`` and ``annotations`` are as written in the file, templates included.
    ``evaluated_at`` is None for a rule that was never evaluated; ``unmatched_selectors`` are those
    that have never selected a series of any participant.
    """

    name: str
    expr: str
    for_seconds: float = 0.0
    keep_firing_for_seconds: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    health: Literal["ok", "err", "unknown"] = "unknown"
    last_error: str = ""
    evaluated_at: datetime | None = None
    duration_seconds: float = 0.0
    unmatched_selectors: Sequence[str] = ()
    kind: Literal["alerting", "recording"] = "alerting"


@dataclass(frozen=True, slots=True)
class RuleGroupStatus:
    """A group of a rule file; ``interval_seconds`` and ``limit`` are 0 where the file names none."""

    name: str
    file: str
    interval_seconds: float
    rules: list[RuleStatus]
    limit: int = 0


@dataclass(frozen=True, slots=True)
class RuleExplanation:
    """Why a rule's alert about a bucket is in its state, in sentences."""

    name: str
    severity: str
    state: str
    sentences: list[str]


RuleExplainer: TypeAlias = Callable[
    [View, Sequence[Alert], PolicyName, Mapping[tuple[str, str], str], datetime], list[RuleExplanation]
]
"""Explains the rules that look at a bucket: from its view, its participant's open alerts, its policy, the errors of
rules (group, name) that could not be evaluated, and the time of now. Called in the loop's thread.
"""

UtilizationHistory: TypeAlias = Callable[
    [Ispb, datetime, timedelta], Awaitable[Mapping[PolicyName, Mapping[datetime, float]]]
]
"""Reads from the database the highest utilization (percent) of a participant's buckets in each step of time.

It takes the beginning, a whole step since 1970 as those of the steps are, and the step. Raises StoreError.
"""


def is_current(age_seconds: float, interval_seconds: float) -> bool:
    """Returns whether an evaluation is as recent as can be expected."""
    return age_seconds <= max(OVERDUE_SECONDS, OVERDUE_POLLS * interval_seconds)


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
        return f"As of {in_utc(self.at)} UTC: no rule has been evaluated for {age}."


@dataclass(frozen=True, slots=True)
class CurrentState:
    """What this process knows at ``now``. It does not change any more, so any thread may read it."""

    now: datetime
    views: Mapping[Ispb, View]
    alerts: Sequence[Alert] = ()
    groups: Sequence[RuleGroupStatus] = ()

    @property
    def evaluation(self) -> Evaluation:
        rules = [rule for group in self.groups for rule in group.rules]
        at = max((rule.evaluated_at for rule in rules if rule.evaluated_at is not None), default=None)
        interval = max((view.poll.interval_seconds for view in self.views.values()), default=0.0)
        current = not rules or (at is not None and is_current((self.now - at).total_seconds(), interval))
        return Evaluation(at, current)

    @property
    def alerts_warning(self) -> str | None:
        """Why ``alerts`` may not be those of now, in a sentence; None: they are."""
        return self.evaluation.warning(self.now)

    @property
    def policies(self) -> list[PolicyName]:
        return sorted({policy for view in self.views.values() for policy in view.buckets})


@dataclass(frozen=True, slots=True)
class Sources:
    """Where contents come from. None: this role has no such thing."""

    metrics: Metrics
    views: Callable[[], Mapping[Ispb, View]]
    readiness: Callable[[], Readiness]
    open_alerts: Callable[[], list[Alert]] | None = None
    rules: Callable[[], list[RuleGroupStatus]] | None = None
    reload: Callable[[], Awaitable[None]] | None = None
    utilization: UtilizationHistory | None = None
    record: Timeline | None = None
    why: RuleExplainer | None = None

    def current(self, now: datetime) -> CurrentState:
        """Reads the state, in the loop's thread."""
        alerts = self.open_alerts() if self.open_alerts is not None else ()
        groups = self.rules() if self.rules is not None else ()
        return CurrentState(now, self.views(), alerts, groups)
