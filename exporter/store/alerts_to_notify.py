"""What notifications for Alertmanager say: the committed alerts, and the state of their buckets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from exporter.alerts.alert import Alert
from exporter.store import rows
from exporter.store.database import Database, queries
from exporter.store.rows import of_texts, of_times

Bucket: TypeAlias = tuple[str, str]
"""Participant and policy."""

_SQL: Final = queries("alerts_to_notify")
PATIENCE_SECONDS: Final = 4.0
"""How long a query may take: alerts are sent without the figures that have not arrived by then."""


@dataclass(frozen=True, slots=True)
class BucketState:
    """A bucket's last state. What is unknown is None.

    ``answered`` and ``refused`` are about the participant's last poll: whether the Bridge answered it with news, and
    whether the bucket's figures in it were refused. ``confirmed_at`` is the last poll (UTC) that confirmed the state.
    """

    answered: bool
    refused: bool
    available_tokens: int | None = None
    capacity: int | None = None
    utilization_percent: float | None = None
    recovery_eta_seconds: float | None = None
    exhaustion_projection_seconds: float | None = None
    confirmed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """The polls (UTC) of a bucket after ``since`` up to ``until``, with the state that it was in at ``since``."""

    participant: str
    policy: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class SpanSummary:
    """What happened to a bucket in a `Span`: its lowest level, in tokens, and the calls that were refused with 429.

    ``refused_calls`` is None where no two states of it have counts. ``last_polled_at`` is the last state's poll (UTC).
    """

    lowest_tokens: int
    refused_calls: int | None
    last_polled_at: datetime

    def with_later(self, later: SpanSummary) -> SpanSummary:
        """Returns the summary of this span and the one that follows it."""
        counts = [calls for calls in (self.refused_calls, later.refused_calls) if calls is not None]
        return SpanSummary(
            min(self.lowest_tokens, later.lowest_tokens), sum(counts) if counts else None, later.last_polled_at
        )


class AlertsToNotify:
    """Every method raises DatabaseUnusable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def alerts(self, resolved_for_seconds: float) -> list[Alert]:
        """Returns the alerts that fire, and those resolved in a commit at most that long ago."""
        records = await self._fetch("alerts", resolved_for_seconds=resolved_for_seconds)
        return [rows.alert(record) for record in records]

    async def levels(self, buckets: Collection[Bucket]) -> dict[Bucket, BucketState]:
        """Returns the last state of each bucket whose participant was ever polled."""
        records = await self._fetch(
            "levels",
            participant=of_texts(participant for participant, _ in buckets),
            policy=of_texts(policy for _, policy in buckets),
        )
        return {(row[0], row[1]): BucketState(*row[2:]) for row in records}

    async def summaries(self, spans: Sequence[Span]) -> list[SpanSummary | None]:
        """Returns what happened in each span; None: the bucket had no state."""
        columns = rows.columns(spans, participant=of_texts, policy=of_texts, since=of_times, until=of_times)
        records = await self._fetch("spans", **columns)
        by_index = {row[0]: SpanSummary(*row[1:]) for row in records}
        return [by_index.get(index) for index in range(1, len(spans) + 1)]

    async def _fetch(self, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return await self._database.fetch(_SQL[name], parameters, patience_seconds=PATIENCE_SECONDS)
