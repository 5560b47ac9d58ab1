"""What an alert becomes at an evaluation."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from exporter.alerts.alert import Alert, AlertState, Fingerprint, Reason, RuleSample
from exporter.alerts.rule import AlertingRule
from exporter.buckets.bucket import Ispb, PolicyName


def pending(rule: AlertingRule, identity: Fingerprint, sample: RuleSample, at: datetime) -> Alert:
    """Returns an alert whose condition has become true."""
    return Alert(
        fingerprint=identity,
        group=rule.group,
        name=rule.name,
        severity=rule.severity,
        participant=Ispb(sample.labels["participant"]),
        policy=PolicyName(sample.labels["policy"]) if "policy" in sample.labels else None,
        labels=sample.labels,
        annotations=sample.annotations,
        value=sample.value,
        state=AlertState.PENDING,
        active_since=at,
    )


def updated(alert: Alert, rule: AlertingRule, sample: RuleSample) -> Alert:
    """Returns an open alert whose condition is true; the same object where nothing of it has changed."""
    same_value = alert.value == sample.value or (alert.value != alert.value and sample.value != sample.value)
    if (
        same_value
        and alert.keep_firing_since is None
        and alert.group == rule.group
        and alert.annotations == sample.annotations
    ):
        return alert
    return replace(alert, group=rule.group, value=sample.value, annotations=sample.annotations, keep_firing_since=None)


def resolved(alert: Alert, at: datetime, reason: Reason) -> Alert:
    """Returns an alert that has ended."""
    # An alert that began by a wrong clock ends no earlier than it began.
    ended_at = at if alert.firing_since is None else max(at, alert.firing_since)
    return replace(alert, state=AlertState.RESOLVED, resolved_at=ended_at, reason=reason)
