"""Numbers in words and in Prometheus' notation."""

from __future__ import annotations

import math


def counted(count: int, noun: str, plural: str = "") -> str:
    """Returns ``1 bucket``, ``1,200 buckets``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def not_finite(value: float) -> str:
    """Returns NaN and the infinities as Prometheus writes them: ``NaN``, ``+Inf``, ``-Inf``."""
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def for_json(value: float | None) -> float | str | None:
    """Returns the value, and as text what JSON has no number for: NaN and the infinities, in Prometheus' notation."""
    return value if value is None or math.isfinite(value) else not_finite(value)
