"""Times as people read them: UTC first, then the time on the reader's own clock."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime, tzinfo


def with_local_time(at: datetime, zone: tzinfo) -> str:
    """Returns ``2026-11-29 17:03:15 UTC (14:03:15 -03)``, in whole seconds; where ``zone`` is UTC, that alone."""
    local = at.astimezone(zone)
    text = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return text if local.tzname() == "UTC" else f"{text} ({local:%H:%M:%S %Z})"
