"""Rules, alerts, and the transitions between an alert's states."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import NewType, Protocol

from exporter.alerts.history import History
from exporter.alerts.written_series import WrittenSample
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.observation import BucketObservation, View

Fingerprint = NewType("Fingerprint", str)
"""An alert's identity: 32 hex digits over its labels, alert name included."""


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Reason(StrEnum):
    """Why an alert resolved."""

    RECOVERED = "recovered"
    POLICY_GONE = "policy_gone"
    NO_DATA = "no_data"
    RULE_REMOVED = "rule_removed"
    RULE_CHANGED = "rule_changed"
    PARTICIPANT_REMOVED = "participant_removed"


def fingerprint(labels: Mapping[str, str]) -> Fingerprint:
    """Returns the identity of the alert with these labels (``alertname`` among them)."""
    parts = [f"{name}\xff{value}" for name, value in sorted(labels.items())]
    return Fingerprint(blake2b("\xfe".join(parts).encode(), digest_size=16).hexdigest())


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert instance, open or resolved.

    ``labels`` hold ``alertname`` and ``severity``; ``policy`` is None for an alert
    about the participant. ``active_since`` is when the condition became true
    (``pending`` since), ``firing_since`` when it began firing,
    ``keep_firing_since`` when the condition ended while ``keep_firing_for``
    keeps it. ``value`` may be NaN or infinite. All times are polls' UTC times.
    ``rule_id`` distinguishes rules that share its name and severity: the index of
    the one that raised it last (None: there is only one, or the process restarted).
    """

    fingerprint: Fingerprint
    group: str
    name: str
    severity: Severity
    participant: Ispb
    policy: PolicyName | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float
    state: AlertState
    active_since: datetime
    firing_since: datetime | None = None
    keep_firing_since: datetime | None = None
    resolved_at: datetime | None = None
    reason: Reason | None = None
    rule_id: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class RuleSample:
    """One series of a rule's result: the alert's labels and annotations, already expanded."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float


class Rule(Protocol):
    """One alerting rule, compiled. `exporter.rules` builds them from files."""

    @property
    def group(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def for_seconds(self) -> float: ...
    @property
    def keep_firing_for_seconds(self) -> float: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def lookback_ms(self) -> Mapping[str, int]:
        """How old the samples of which gauges can be that it looks at, in milliseconds; of others it needs only now."""
        ...

    @property
    def fixed_labels(self) -> Mapping[str, str]:
        """The labels that it gives to each of its alerts, whatever the sample."""
        ...

    @property
    def per_policy(self) -> bool:
        """Whether its alerts carry ``policy``."""
        ...

    def has_data(self, view: View, policy: PolicyName | None) -> bool:
        """Whether the gauges that the rule looks at are there for the participant, or for one of its buckets.

        Tells an alert that recovered from one whose series vanished.
        """
        ...

    @property
    def limit(self) -> int:
        """The most alerts that it may have, of one participant; 0: any number."""
        ...

    @property
    def query_offset_ms(self) -> int:
        """How long before the evaluation it looks, in milliseconds; and the time of what it writes."""
        ...

    def written_by(self, alerts: Iterable[Alert], names: Collection[str]) -> Iterator[WrittenSample]:
        """Yields the samples of ``ALERTS`` and ``ALERTS_FOR_STATE``, where these are ``names``, of its alerts."""
        ...

    def evaluate(self, view: View, alerts: Collection[Alert], history: History | None = None) -> list[RuleSample]:
        """Returns the series that are true for the view's participant, at the view's instant.

        ``alerts`` are that participant's open alerts, as ``ALERTS`` shows them to this rule; ``history`` is what was
        shown of it, the view itself included (None: nothing else). Raises `errors.RuleEvaluationFailed`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Transition:
    """A change to ``firing`` or ``resolved``: what is persisted, counted and relayed.

    ``alert`` is the alert after it. ``observation`` is its bucket's at that poll,
    where there was one; ``category`` the participant's.
    """

    alert: Alert
    at: datetime
    category: str | None
    observation: BucketObservation | None
    observed_at: datetime | None


@dataclass(frozen=True, slots=True)
class RuleFailure:
    """A rule that could not be evaluated at a poll: its alerts stay as they are."""

    group: str
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a poll made of a participant's alerts.

    ``alerts`` are those open afterwards (pending or firing) by fingerprint;
    ``transitions`` in the order in which they happened; ``counts`` of the alerts
    of each rule, in the order of the rules.
    """

    alerts: Mapping[Fingerprint, Alert]
    transitions: tuple[Transition, ...] = ()
    failures: tuple[RuleFailure, ...] = ()
    counts: tuple[int, ...] = ()

    def differs_from(self, alerts_before: Mapping[Fingerprint, Alert]) -> bool:
        """Returns whether rules made any difference, or could not be evaluated."""
        if self.transitions or self.failures or len(alerts_before) != len(self.alerts):
            return True
        return any(alerts_before.get(identity) is not alert for identity, alert in self.alerts.items())


def by_fingerprint(alerts: Iterable[Alert]) -> dict[Fingerprint, Alert]:
    return {alert.fingerprint: alert for alert in alerts}
