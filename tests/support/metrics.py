"""The ten metrics that every installation shows."""

from __future__ import annotations

THE_TEN = (
    "dict_rate_limit_available_tokens",
    "dict_rate_limit_capacity",
    "dict_rate_limit_utilization_percent",
    "dict_rate_limit_consumption_rate_per_minute",
    "dict_rate_limit_recovery_eta_seconds",
    "dict_rate_limit_exhaustion_projection_seconds",
    "dict_rate_limit_error_404_rate",
    "dict_rate_limit_alerts_created_total",
    "dict_rate_limit_alerts_resolved_total",
    "dict_rate_limit_monitoring_duration_seconds",
)

TEN_SAMPLES = frozenset({*THE_TEN[:-1], f"{THE_TEN[-1]}_bucket"})
"""What a page shows of them."""


class Increments(list[str]):
    """A counter with one label that keeps the label of each increment, in order."""

    def labels(self, label: str) -> Increment:
        return Increment(self, label)


class Increment:
    def __init__(self, increments: Increments, label: str) -> None:
        self._increments = increments
        self._label = label

    def inc(self) -> None:
        self._increments.append(self._label)
