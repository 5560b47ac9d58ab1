"""How far rules look back, and what memory that takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.alerts.alert import Rule
from exporter.alerts.lifecycle import lookback_ms
from exporter.buckets.catalog import POLICIES, POLICIES_READ
from exporter.buckets.gauge_history import most_bytes
from exporter.config.settings import Settings
from exporter.durations import Duration
from exporter.numbers import counted


@dataclass(frozen=True, slots=True)
class Lookback:
    """``bytes`` is the most that the samples of the ``gauges`` take of ``participants`` in ``seconds``.

    No participant: it is that of each.
    """

    seconds: float
    gauges: tuple[str, ...]
    participants: int
    bytes: int

    def __str__(self) -> str:
        of = f"of {counted(self.participants, 'participant')}" if self.participants else "for each participant"
        gauges = counted(len(self.gauges), "gauge")
        megabytes = f"{self.bytes / 1e6:,.1f} MB"
        return f"rules look back {Duration(self.seconds)} at {gauges}: {megabytes} of memory at most {of}"


def lookback_of(rules: Sequence[Rule], settings: Settings) -> Lookback | None:
    """Returns how far the rules look back; None: they look at the present only.

    At most as many reads are made as ``poll.reads.share`` allows.
    """
    kept_ms = lookback_ms(rules)
    if not kept_ms:
        return None
    limit = POLICIES[POLICIES_READ]
    reads_per_second = settings.poll.reads.share * limit.refill_tokens / limit.refill_period_seconds if limit else 0.0
    per_minute = 60 * (1 / settings.poll.interval + reads_per_second)
    participants = len(settings.participants)
    size = max(participants, 1) * most_bytes(kept_ms, per_minute, len(POLICIES))
    return Lookback(max(kept_ms.values()) / 1000, tuple(sorted(kept_ms)), participants, size)
