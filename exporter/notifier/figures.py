"""What a notification says of the alert's bucket. What is not known is left out, and nothing is made up."""

from __future__ import annotations

import math
from datetime import timedelta, tzinfo
from typing import Final

from exporter.alerts.alert import Alert, AlertState
from exporter.clock import with_local_time
from exporter.durations import in_words
from exporter.store.alerts_to_notify import Level

NOT_ANSWERING: Final = "the Bridge stopped answering"
REFUSED: Final = "its figures were refused"


def figures(alert: Alert, level: Level | None, lowest: int | None, zone: tzinfo) -> dict[str, str]:
    """Returns the annotations about the alert's bucket.

    An alert that fires on though its bucket is not seen says why it is ``held``:
    its figures are the last known, and nothing is said of what becomes of them.
    `rules.prometheus.figures` asks Prometheus for the same.
    """
    annotations: dict[str, str] = {}
    if lowest is not None:
        annotations["lowest"] = str(lowest)
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
