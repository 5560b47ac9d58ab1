"""History for pages: a bucket by steps of time, and past alerts.

Someone waits for a page, and the reconciler must not wait for either: these statements
have connections of their own, a time limit, and a limit of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import errors as pg

from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.observation import MISSED_INTERVALS
from exporter.errors import DatabaseUnavailable, QueryTooSlow
from exporter.store.database import Database, queries

_SQL: Final = queries("timeline")
_PATIENCE_SECONDS: Final = 3.0
_QUIET: Final = timedelta(minutes=15)
_LATE: Final = 1.5
"""A state is written at the first poll after a heartbeat, which may come late."""


@dataclass(frozen=True, slots=True)
class Step:
    """A bucket in one step of time: its state at the end, and the extremes within.

    Where no poll was answered, or there was no such bucket, all is None. Tokens; consumption in tokens per minute.
    """

    tokens: int | None = None
    lowest: int | None = None
    highest: int | None = None
    capacity: int | None = None
    refill_per_minute: float | None = None
    consumed_per_minute: float | None = None
    most_consumed: float | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """Where ``with_extremes`` is false, the database took too long to find them."""

    steps: list[Step]
    with_extremes: bool


@dataclass(frozen=True, slots=True)
class Band:
    """When an alert about the bucket fired; ``until`` None: it still does."""

    name: str
    severity: str
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """An alert's change of state, and the tokens of its bucket then (None: not known)."""

    name: str
    severity: str
    state: str
    at: datetime
    reason: str | None
    tokens: int | None
    capacity: int | None
    active_since: datetime
    firing_since: datetime | None
    keep_firing_since: datetime | None


@dataclass(frozen=True, slots=True)
class PastAlert:
    """An alert, open or resolved; ``lowest`` are the fewest tokens while it was open, of ``capacity``."""

    fingerprint: str
    name: str
    severity: str
    participant: Ispb
    policy: PolicyName | None
    state: str
    active_since: datetime
    firing_since: datetime | None
    resolved_at: datetime | None
    reason: str | None
    summary: str | None
    runbook_url: str | None
    lowest: int | None = None
    capacity: int | None = None

    @property
    def began_at(self) -> datetime:
        return self.firing_since or self.active_since


@dataclass(frozen=True, slots=True)
class AlertQuery:
    """Which alerts: those open from ``since`` up to ``until``. ``participant`` is the beginning of an ISPB; empty: any.

    ``sort`` is a key of `ORDERS`, with a ``-`` before it where the greatest comes first.
    """

    since: datetime
    until: datetime
    participant: str = ""
    policy: str = ""
    name: str = ""
    severity: str = ""
    state: str = ""
    sort: str = "-began"
    skip: int = 0
    limit: int = 50


ORDERS: Final = {
    "began": b"active_since",
    "duration": b"coalesce(resolved_at, now()) - coalesce(firing_since, active_since)",
    "severity": b"array_position(ARRAY['info', 'warning', 'critical'], severity)",
    "alert": b"alertname",
    "participant": b"participant",
    "policy": b"policy",
    "state": b"state",
    "reason": b"reason",
}


class Timeline:
    """Every method raises StoreError; QueryTooSlow where a statement takes longer than ``statement_seconds``.

    A bucket's state is written at least every ``heartbeat_seconds``.
    """

    def __init__(self, database: Database, heartbeat_seconds: float, statement_seconds: float = 2.0) -> None:
        self._database = database
        self._state_age = timedelta(seconds=heartbeat_seconds * _LATE)
        self._statement_seconds = statement_seconds

    async def buckets(self, participant: str) -> list[PolicyName]:
        """Returns the policies that a participant has or had, sorted."""
        return [PolicyName(policy) for (policy,) in await self._fetch(_SQL["buckets"], participant=participant)]

    async def participants(self) -> list[Ispb]:
        """Returns every participant that ever had a bucket, sorted."""
        return [Ispb(participant) for (participant,) in await self._fetch(_SQL["participants"])]

    async def steps(self, participant: str, policy: str, since: datetime, step: timedelta, steps: int) -> Steps:
        """Returns the bucket in each step from ``since`` on. A bucket keeps its state until its next row."""
        parameters = {"participant": participant, "policy": policy, "since": since, "step": step, "steps": steps}
        ends = await self._fetch(_SQL["steps"], **parameters, held=self._state_age, quiet=_QUIET)
        result: list[Step] = []
        before = Step()
        for n, polled_at, interval, observed_at, tokens, capacity, refill, period, rate in ends:
            begins = since + n * step
            answered = polled_at is not None and (begins - polled_at).total_seconds() < MISSED_INTERVALS * interval
            if not answered or observed_at is None:
                before = Step()
            else:
                # The state that the step began with counts as well.
                both = (tokens, tokens if before.tokens is None else before.tokens)
                before = Step(tokens, min(both), max(both), capacity, refill * 60 / period, rate, rate)
            result.append(before)
        try:
            extremes = await self._fetch(_SQL["extremes"], **parameters)
        except QueryTooSlow:
            return Steps(result, with_extremes=False)
        for n, lowest, highest, most in extremes:
            if 0 <= n < steps:
                result[n] = _with_extremes(result[n], lowest, highest, most)
        return Steps(result, with_extremes=True)

    async def bands(self, participant: str, policy: str, since: datetime, until: datetime, limit: int) -> list[Band]:
        """Returns when alerts about the bucket fired, the newest first."""
        records = await self._fetch(
            _SQL["bands"], participant=participant, policy=policy, since=since, until=until, limit=limit
        )
        return [Band(*row) for row in records]

    async def changes(self, participant: str, policy: str, until: datetime, limit: int) -> list[Change]:
        """Returns the last changes of alerts about the bucket before ``until``, the last first."""
        records = await self._fetch(_SQL["changes"], participant=participant, policy=policy, until=until, limit=limit)
        return [Change(*row) for row in records]

    async def alerts(self, query: AlertQuery) -> list[PastAlert]:
        """Returns a page of alerts; without their lowest levels where the database takes too long to find these."""
        column = ORDERS[query.sort.removeprefix("-")]
        direction = b"DESC" if query.sort.startswith("-") else b"ASC"
        order = b" ORDER BY %b %b NULLS LAST, id %b OFFSET %%(skip)s::int LIMIT %%(limit)s::int;"
        statement = _SQL["alerts"].removesuffix(b";") + order % (column, direction, direction)
        parameters = {name: getattr(query, name) for name in query.__slots__ if name != "sort"}
        alerts = [PastAlert(*row) for row in await self._fetch(statement, **parameters)]
        try:
            records = await self._fetch(
                _SQL["lowest"],
                fingerprints=[alert.fingerprint for alert in alerts],
                participants=[alert.participant for alert in alerts],
                policies=[alert.policy for alert in alerts],
                since=[alert.active_since for alert in alerts],
                until=[alert.resolved_at or query.until for alert in alerts],
            )
        except QueryTooSlow:
            return alerts
        by_index = {index: {"lowest": tokens, "capacity": capacity} for index, tokens, capacity in records}
        return [replace(alert, **by_index[index]) for index, alert in enumerate(alerts, 1)]

    async def _fetch(self, query: bytes, **parameters: Any) -> list[tuple[Any, ...]]:
        bound = {"milliseconds": str(round(self._statement_seconds * 1000))}
        try:
            async with self._database.transaction(patience_seconds=_PATIENCE_SECONDS) as connection:
                await connection.execute(_SQL["bound"], bound)
                return await (await connection.execute(query, parameters, binary=True)).fetchall()
        except DatabaseUnavailable as error:
            if isinstance(error.__cause__, pg.QueryCanceled):
                raise QueryTooSlow(f"PostgreSQL took longer than {self._statement_seconds:g}s") from error
            raise


def _with_extremes(step: Step, lowest: int, highest: int, most_consumed: float | None) -> Step:
    """Returns the step with the extremes recorded in it, beside the state that it began with."""
    if step.lowest is None or step.highest is None:
        return step
    rates = [rate for rate in (step.most_consumed, most_consumed) if rate is not None]
    return replace(
        step,
        lowest=min(step.lowest, lowest),
        highest=max(step.highest, highest),
        most_consumed=max(rates, default=None),
    )
