"""What one alert looks like to Alertmanager: the same alert, labels included, that Prometheus would send.

Its annotations say what is known of its bucket. What is not is left out, and nothing is made up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

from exporter.alerts.alert import Alert, AlertState, Fingerprint, Severity
from exporter.clock import with_local_time
from exporter.durations import in_words
from exporter.store.alerts_to_notify import BucketState, SpanSummary

Instance: TypeAlias = "tuple[datetime, AlertState]"

NOT_ANSWERING: Final = "the Bridge stopped answering"
REFUSED: Final = "its figures were refused"
_URGENCY: Final = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert that fires or has resolved. ``instance`` tells one state of it from the next."""

    fingerprint: Fingerprint
    instance: Instance
    name: str
    urgency: int
    starts_at: datetime
    ended_at: datetime | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    link: str | None

    @property
    def fires(self) -> bool:
        return self.ended_at is None

    def body(self, valid_until: datetime) -> dict[str, Any]:
        """Returns the alert as it is posted; one that fires does so until ``valid_until``, unless posted again."""
        body = {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "startsAt": self.starts_at.isoformat(),
            "endsAt": (self.ended_at or valid_until).isoformat(),
        }
        return body if self.link is None else body | {"generatorURL": self.link}


def notice_of(
    alert: Alert, figures: Mapping[str, str], *, external_labels: Mapping[str, str], external_url: str | None
) -> Notice:
    """Returns the notice of an alert that fired.

    ``external_labels`` are added where the alert has no such label, and what is
    empty is no label, both as Prometheus does it.
    """
    link = None
    if external_url is not None:
        filters = {"participant": alert.participant, "policy": alert.policy}
        query = urlencode({name: value for name, value in filters.items() if value})
        link = f"{external_url.rstrip('/')}/?{query}"
    return Notice(
        fingerprint=alert.fingerprint,
        instance=(alert.active_since, alert.state),
        name=alert.name,
        urgency=_URGENCY[alert.severity],
        starts_at=alert.firing_since or alert.active_since,
        ended_at=alert.resolved_at if alert.state is AlertState.RESOLVED else None,
        labels={name: value for name, value in ({**external_labels, **alert.labels}).items() if value},
        annotations={**alert.annotations, **figures},
        link=link,
    )


def figures(alert: Alert, level: BucketState | None, summary: SpanSummary | None, zone: tzinfo) -> dict[str, str]:
    """Returns the annotations about the alert's bucket, of which ``summary`` says how it was since a minute before.

    An alert that fires on though its bucket is not seen says why it is ``held``: its figures are the last known, and
    nothing is said of what becomes of them. `rules.export.figures` asks Prometheus for the same.
    """
    annotations = {} if summary is None else _since_alert(summary)
    if level is None:
        return annotations
    if level.confirmed_at is not None:
        annotations["as_of"] = with_local_time(level.confirmed_at, zone)
    keeps_firing = alert.state is AlertState.FIRING and (level.refused or not level.answered)
    if keeps_firing:
        annotations["held"] = REFUSED if level.answered else NOT_ANSWERING
    if level.available_tokens is None or level.capacity is None:
        return annotations
    annotations |= {"tokens": str(level.available_tokens), "capacity": str(level.capacity)}
    if level.utilization_percent is not None:
        annotations["used"] = f"{level.utilization_percent:.1f} %"
    if keeps_firing:
        return annotations
    if level.exhaustion_projection_seconds is not None:
        draining = math.isfinite(level.exhaustion_projection_seconds)
        annotations["empty_in"] = in_words(level.exhaustion_projection_seconds) if draining else "not draining"
    if level.recovery_eta_seconds is not None and level.confirmed_at is not None:
        annotations["full_in"] = in_words(level.recovery_eta_seconds)
        full_at = level.confirmed_at + timedelta(seconds=level.recovery_eta_seconds)
        annotations["full_at"] = with_local_time(full_at, zone)
    return annotations


def _since_alert(summary: SpanSummary) -> dict[str, str]:
    refused = {"refused": str(summary.refused_calls)} if summary.refused_calls else {}
    return {"lowest": str(summary.lowest_tokens)} | refused
