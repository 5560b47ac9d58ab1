"""A transition as consumers receive it: one event, the same however often it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid5

from exporter.alerts.alert import AlertState, Fingerprint, Transition
from exporter.numbers import for_json

SCHEMA_VERSION: Final = "1.1"

_NAMESPACE: Final = UUID("6f0d2d0e-6a0b-5d0f-9d2b-0c1f1d7f3a52")


@dataclass(frozen=True, slots=True)
class Event:
    """A transition to ``firing`` or ``resolved``, ready for the outbox.

    ``event_id`` follows from the alert, its state and the instant: a transition
    that is made again has the same. ``body`` lacks ``sequence``, which the relay
    adds when it sends.
    """

    event_id: UUID
    type: str
    time: datetime
    subject: str
    fingerprint: Fingerprint
    body: Mapping[str, Any]


def event_of(transition: Transition) -> Event:
    """Returns the event of a transition. Times are ISO 8601 in UTC, figures those of the transition's poll."""
    alert, observed = transition.alert, transition.observation
    event_id = uuid5(_NAMESPACE, f"{alert.fingerprint}/{alert.state}/{transition.at.isoformat()}")
    bucket = observed.bucket if observed is not None else None
    exhaustion = observed.exhaustion_projection_seconds if observed is not None else None
    body = {
        "schema_version": SCHEMA_VERSION,
        "event_id": str(event_id),
        "fingerprint": alert.fingerprint,
        "alertname": alert.name,
        "state": alert.state.value,
        "reason": alert.reason.value if alert.reason is not None else None,
        "severity": alert.severity.value,
        "participant": alert.participant,
        "policy": alert.policy,
        "psp_category": transition.category,
        "value": for_json(alert.value),
        "available_tokens": bucket.available_tokens if bucket else None,
        "lowest_available_tokens": observed.lowest_available_tokens if observed else None,
        "capacity": bucket.capacity if bucket else None,
        "utilization_percent": bucket.utilization_percent if bucket else None,
        "consumption_rate_per_minute": observed.consumption_rate_per_minute if observed else None,
        "recovery_eta_seconds": bucket.recovery_eta_seconds if bucket else None,
        "exhaustion_projection_seconds": exhaustion if exhaustion is not None and math.isfinite(exhaustion) else None,
        "error_429_rate": observed.error_429_rate if observed else None,
        "starts_at": _when(alert.firing_since),
        "ends_at": _when(alert.resolved_at),
        "observed_at": _when(transition.observed_at),
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
    }
    return Event(
        event_id=event_id,
        type=f"dict.rate_limit.alert.{AlertState(alert.state).value}",
        time=transition.at,
        subject="/".join(filter(None, (alert.participant, alert.policy, alert.name))),
        fingerprint=alert.fingerprint,
        body=body,
    )


def _when(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
