"""How far rules look back, and what memory that takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.alerts.history import of_shown, of_written
from exporter.alerts.lifecycle import lookback_ms
from exporter.alerts.rule import Rule, alerting
from exporter.alerts.written_series import SAMPLE_BYTES, SLACK
from exporter.buckets.catalog import POLICIES, POLICIES_READ
from exporter.buckets.gauge_history import most_bytes
from exporter.config.settings import Settings
from exporter.durations import Duration
from exporter.numbers import counted
from exporter.rules.promql.sources import ALERT_SERIES


@dataclass(frozen=True, slots=True)
class Lookback:
    """``bytes`` is the most that the samples of what is looked at take in ``seconds``.

    It is that of all ``participants``; where none are configured, of each.
    """

    seconds: float
    metrics: tuple[str, ...]
    alert_series: tuple[str, ...]
    recorded: tuple[str, ...]
    participants: int
    bytes: int

    def __str__(self) -> str:
        of = f"of {counted(self.participants, 'participant')}" if self.participants else "for each participant"
        shown = [counted(len(self.metrics), "metric")] if self.metrics else []
        recorded = [counted(len(self.recorded), "recorded metric")] if self.recorded else []
        looked_at = " and ".join([*shown, *recorded, *self.alert_series])
        megabytes = f"{self.bytes / 1e6:,.1f} MB"
        return f"rules look back {Duration(self.seconds)} at {looked_at}: {megabytes} of memory at most {of}"


def lookback_of(rules: Sequence[Rule], settings: Settings) -> Lookback | None:
    """Returns how far the rules look back; None: they look at the present only.

    At most as many reads are made as ``poll.reads.share`` allows, and at most each rule has an alert, or series, about
    each bucket.
    """
    kept_ms = lookback_ms(rules)
    if not kept_ms:
        return None
    limit = POLICIES[POLICIES_READ]
    reads_per_second = settings.poll.reads.share * limit.refill_tokens / limit.refill_period_seconds if limit else 0.0
    per_minute = 60 * (1 / settings.poll.interval + reads_per_second)
    participants = len(settings.participants)
    shown_ms, written_ms = of_shown(kept_ms), of_written(kept_ms)
    bytes_each = most_bytes(shown_ms, per_minute, len(POLICIES)) if shown_ms else 0
    writing = Counter(rule.name for rule in rules if rule.kind == "recording")
    writing.update(dict.fromkeys(ALERT_SERIES, len(alerting(rules))))
    for name, ms in written_ms.items():
        samples = ms / 60_000 * per_minute + SLACK
        bytes_each += math.ceil(samples * writing[name] * len(POLICIES) * SAMPLE_BYTES)
    size = max(participants, 1) * bytes_each
    longest_seconds = max(kept_ms.values()) / 1000
    alert_series, recorded = ALERT_SERIES & written_ms.keys(), written_ms.keys() - ALERT_SERIES
    return Lookback(
        longest_seconds,
        tuple(sorted(shown_ms)),
        tuple(sorted(alert_series)),
        tuple(sorted(recorded)),
        participants,
        size,
    )
