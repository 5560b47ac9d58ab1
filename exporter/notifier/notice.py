"""What one alert looks like to Alertmanager: the same alert, labels included, that Prometheus would send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

from exporter.alerts.alert import Alert, AlertState, Fingerprint, Severity

Instance: TypeAlias = "tuple[datetime, AlertState]"

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
