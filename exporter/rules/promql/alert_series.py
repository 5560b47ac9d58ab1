"""The labels and values of the series of alerts, ``ALERTS`` and ``ALERTS_FOR_STATE``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from exporter.alerts.alert import Alert, AlertState, Severity
from exporter.rules.promql.series import Labels

Unexpanded: TypeAlias = "Mapping[tuple[str, Severity], Sequence[Mapping[str, str]]]"
"""Labels that are templates, as written, of each rule of a name and severity."""


def alert_labels(alert: Alert, unexpanded: Unexpanded, *, with_state: bool = True) -> Labels:
    """Returns the labels of the ``ALERTS`` series of an open alert, or of the one without its state.

    A label whose template came out empty is missing from the alert, and is in its series as the template itself: so
    Prometheus has it.
    """
    of_rules = unexpanded.get((alert.name, alert.severity))
    labels = dict(alert.labels)
    if of_rules:
        index = alert.rule_id if alert.rule_id is not None and alert.rule_id < len(of_rules) else -1
        labels = {**of_rules[index], **labels}
    if with_state:
        state = AlertState.FIRING if alert.state is AlertState.FIRING else AlertState.PENDING
        labels["alertstate"] = state.value
    return Labels.of(labels)


def active_seconds(alert: Alert) -> float:
    """Returns the value of ``ALERTS_FOR_STATE``: since when the alert is active, pending included, in whole seconds."""
    return math.floor(alert.active_since.timestamp()) + 0.0
