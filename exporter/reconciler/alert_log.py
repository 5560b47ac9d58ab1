"""The log of what became of alerts."""

from __future__ import annotations

import logging
from typing import Final

from exporter.alerts.alert import AlertState, Severity, Transition
from exporter.buckets.observation import Poll

log: Final = logging.getLogger("exporter.alerts")
"""A logger of its own: the demo shows alerts otherwise, and silences it."""


def log_transition(transition: Transition, poll: Poll) -> None:
    """Logs ``alert firing``, ``alert resolved`` or ``alert pending``, decided at ``poll``."""
    alert = transition.alert
    level = logging.INFO
    if alert.state is AlertState.FIRING:
        level = logging.ERROR if alert.severity is Severity.CRITICAL else logging.WARNING
    fields = {
        "alertname": alert.name,
        "severity": str(alert.severity),
        "participant": alert.participant,
        "policy": alert.policy,
        "fingerprint": alert.fingerprint,
        "reason": alert.reason,
        "polled_at": poll.polled_at.isoformat(timespec="milliseconds"),
    }
    log.log(level, "alert %s", alert.state, extra=fields)
