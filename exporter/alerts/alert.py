"""Alerts, the transitions between their states, and what an evaluation comes to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Literal, NewType, TypeAlias

from exporter.alerts.written_series import Pairs
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.observation import BucketObservation

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


RecordedValues: TypeAlias = "Mapping[tuple[str, Pairs], float]"
"""What rules record at an evaluation, by metric name and labels."""


@dataclass(frozen=True, slots=True)
class RuleSample:
    """One series of a rule's result: the alert's labels and annotations, already expanded."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    value: float


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
    """A rule that could not be evaluated at a poll: its alerts stay as they are, or it records nothing."""

    group: str
    name: str
    message: str
    kind: Literal["alerting", "recording"] = "alerting"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a poll made of a participant's alerts.

    ``alerts`` are those open afterwards (pending or firing) by fingerprint;
    ``transitions`` in the order in which they happened; ``counts`` of the alerts or series
    of each rule, in the order of the rules; ``recorded`` are the values that rules record.
    """

    alerts: Mapping[Fingerprint, Alert]
    transitions: tuple[Transition, ...] = ()
    failures: tuple[RuleFailure, ...] = ()
    counts: tuple[int, ...] = ()
    recorded: RecordedValues = field(default_factory=dict)

    def differs_from(self, alerts_before: Mapping[Fingerprint, Alert]) -> bool:
        """Returns whether rules made any difference, or could not be evaluated."""
        if self.transitions or self.failures or len(alerts_before) != len(self.alerts):
            return True
        return any(alerts_before.get(identity) is not alert for identity, alert in self.alerts.items())


def by_fingerprint(alerts: Iterable[Alert]) -> dict[Fingerprint, Alert]:
    return {alert.fingerprint: alert for alert in alerts}
