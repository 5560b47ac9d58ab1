"""What the web side shows: handed over by the service, read at each request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime, timedelta

    from exporter.alerts.alert import Alert
    from exporter.buckets.bucket import Ispb, PolicyName
    from exporter.buckets.observation import View
    from exporter.health import Readiness
    from exporter.metrics import Metrics
    from exporter.store.timeline import Record


@dataclass(frozen=True, slots=True)
class RuleStatus:
    """A rule in force, and how it last went.

    ``labels`` and ``annotations`` are as written in the file, templates included.
    ``evaluated_at`` is None for a rule that was never evaluated;
    ``had_series`` None where that is not known, or says nothing: its gauges come with an event.
    """

    name: str
    expr: str
    for_seconds: float
    keep_firing_for_seconds: float
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    health: Literal["ok", "err", "unknown"] = "unknown"
    last_error: str = ""
    evaluated_at: datetime | None = None
    duration_seconds: float = 0.0
    had_series: bool | None = None


@dataclass(frozen=True, slots=True)
class RuleGroupStatus:
    """A group of a rule file; ``interval_seconds`` is 0 where the file names none."""

    name: str
    file: str
    interval_seconds: float
    rules: list[RuleStatus]


@dataclass(frozen=True, slots=True)
class Explained:
    """Why a rule's alert about a bucket stands as it does, in sentences."""

    name: str
    severity: str
    state: str
    sentences: list[str]


class Why(Protocol):
    """Explains the rules that look at a bucket, from its view and its participant's open alerts.

    ``failing`` is what rules (group, name) said that could not be evaluated. Called in a thread.
    """

    def __call__(
        self,
        view: View,
        alerts: Sequence[Alert],
        policy: PolicyName,
        failing: Mapping[tuple[str, str], str],
        now: datetime,
    ) -> list[Explained]: ...


class Past(Protocol):
    """What the database holds of a participant's buckets: the highest utilization (percent) in each step of time.

    ``since`` and the steps' beginnings are whole steps since 1970. Raises StoreError.
    """

    async def __call__(
        self, participant: Ispb, since: datetime, step: timedelta
    ) -> Mapping[PolicyName, Mapping[datetime, float]]: ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the pages come from. None: this role has no such thing."""

    metrics: Metrics
    views: Callable[[], Mapping[Ispb, View]]
    readiness: Callable[[], Readiness]
    open_alerts: Callable[[], list[Alert]] | None = None
    rules: Callable[[], list[RuleGroupStatus]] | None = None
    reload: Callable[[], Awaitable[None]] | None = None
    past: Past | None = None
    record: Record | None = None
    why: Why | None = None
