"""Recorded polls rebuilt: a row says what a poll changed, and a stream's rows in order give its buckets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from exporter.buckets.bucket import Bucket, Ispb, PolicyName, ResponseCounts
from exporter.buckets.observation import BucketObservation, Failure, Observation, Poll
from exporter.store import rows

States = defaultdict[tuple[datetime, datetime], list[BucketObservation]]
"""States by the ``observed_at`` and ``polled_at`` that they were written at."""


class PollRow(NamedTuple):
    """A row of the query ``reconciliations``."""

    polled_at: datetime
    stream_id: str
    sequence: int
    interval_seconds: float
    staleness_seconds: float
    duration_seconds: float
    clock_skew_seconds: float | None
    last_success_at: datetime | None
    known_category: str | None
    category_changed_at: datetime | None
    previous_category: str | None
    stream_began_at: datetime | None
    traceparent: str | None
    answered: bool
    observed_at: Any
    category: str | None
    correlation_id: str
    failure_code: str
    failure_message: str
    complete: bool
    policies: list[PolicyName] | None
    policies_refused: list[PolicyName] | None
    evaluated: bool


@dataclass(slots=True)
class Chain:
    """A stream's buckets as of its last answered poll; a poll that is not ``complete`` builds on them."""

    policies: Sequence[PolicyName] = ()
    last: dict[PolicyName, BucketObservation] = field(default_factory=dict)

    def append(self, row: PollRow, states: States) -> None:
        if row.complete:
            self.last = {}
        if row.policies is not None:
            self.policies = row.policies
        self.last |= {o.bucket.policy: o for o in states.get((row.observed_at, row.polled_at), ())}

    def buckets(self) -> tuple[BucketObservation, ...] | None:
        """Returns the last answered poll's buckets; None where some of their states are no longer kept."""
        try:
            return tuple([self.last[policy] for policy in self.policies])
        except KeyError:
            return None


def poll_of(participant: Ispb, row: PollRow, chain: Chain, states: States) -> Poll | None:
    result: Observation | Failure
    if row.answered:
        chain.append(row, states)
        buckets = chain.buckets()
        if buckets is None:
            return None
        refused = tuple(row.policies_refused or ())
        result = Observation(participant, row.observed_at, row.category, row.correlation_id, buckets, refused)
    else:
        result = Failure(row.failure_code, row.failure_message)
    return Poll(
        stream_id=row.stream_id,
        sequence=row.sequence,
        participant=participant,
        polled_at=row.polled_at,
        interval_seconds=row.interval_seconds,
        staleness_seconds=row.staleness_seconds,
        result=result,
        clock_skew_seconds=row.clock_skew_seconds,
        last_success_at=row.last_success_at,
        category=rows.category(row.known_category, row.category_changed_at, row.previous_category),
        stream_began_at=row.stream_began_at,
        duration_seconds=row.duration_seconds,
        traceparent=row.traceparent,
    )


def bucket_of(row: Sequence[Any]) -> BucketObservation:
    """Returns the state of a row's twelve columns, from ``policy`` to ``error_404_rate``."""
    counts = None if row[5] is None else ResponseCounts(*row[5:9])
    policy, available, capacity, refill_tokens, refill_period = row[:5]
    return BucketObservation(Bucket(policy, available, capacity, refill_tokens, refill_period, counts), *row[9:12])
