"""Reads what was recorded: buckets, alerts, the outbox, and every reconciled poll.

A row says what a poll changed, and a stream's rows in order give its buckets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from exporter.alerts.alert import Alert
from exporter.buckets.bucket import Bucket, Ispb, PolicyName, ResponseCounts
from exporter.buckets.observation import BucketObservation, Failure, Observation, Poll
from exporter.store import rows
from exporter.store.database import Database, queries

_SQL: Final = queries("reader")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)

States: TypeAlias = defaultdict[tuple[datetime, datetime], list[BucketObservation]]
"""States by the ``observed_at`` and ``polled_at`` that they were written at."""


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts: pending and firing ones, or all (``include_resolved``); None: any.

    With ``since`` (UTC), those that were open at or after it; with ``until``, those that were opened before it.
    """

    include_resolved: bool = False
    participant: str | None = None
    policy: str | None = None
    alertname: str | None = None
    severity: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Events that wait for the broker, the age of the oldest, and those that could never be sent."""

    pending: int
    oldest_age_seconds: float
    dead: int


@dataclass(frozen=True, slots=True)
class Activity:
    """The leader (None: there is none), and the last poll (UTC) whose rules were evaluated; None: none ever was."""

    leader: str | None
    evaluated_at: datetime | None
    interval_seconds: float | None
    age_seconds: float | None


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
    is_read: bool


@dataclass(slots=True)
class Chain:
    """A stream's buckets as of its last answered poll; a poll that is not ``complete`` builds on them.

    ``policies`` are those of the last one that was no read.
    """

    policies: Sequence[PolicyName] = ()
    last: dict[PolicyName, BucketObservation] = field(default_factory=dict)

    def append(self, row: PollRow, states: States) -> None:
        if row.complete:
            self.last = {}
        if row.policies is not None and not row.is_read:
            self.policies = row.policies
        self.last |= {o.bucket.policy: o for o in states.get((row.observed_at, row.polled_at), ())}

    def buckets(self, policies: Sequence[PolicyName]) -> tuple[BucketObservation, ...] | None:
        """Returns the buckets of ``policies``; None where some of their states are no longer kept."""
        try:
            return tuple([self.last[policy] for policy in policies])
        except KeyError:
            return None


class Reader:
    """Every method raises DatabaseUnavailable. Polls are read in pages of ``page_polls``."""

    def __init__(self, database: Database, page_polls: int = 1000) -> None:
        self._database = database
        self._page_polls = page_polls

    async def alerts(self, alert_filter: AlertFilter) -> list[Alert]:
        """Returns alerts, the newest first."""
        return [rows.alert(record) for record in await self._fetch("alerts", **asdict(alert_filter))]

    async def alert_names(self) -> list[str]:
        """Returns the names of all alerts ever raised."""
        return [name for (name,) in await self._fetch("alert_names")]

    async def policies(self, *, include_removed: bool = False) -> set[PolicyName]:
        """Returns the policies of all buckets that participants still have, or have ever had."""
        return {PolicyName(policy) for (policy,) in await self._fetch("policies", include_removed=include_removed)}

    async def activity(self) -> Activity:
        (row,) = await self._fetch("activity", participants=await self.participants())
        return Activity(*row)

    async def participants(self) -> list[Ispb]:
        """Returns every participant that was ever polled."""
        return [Ispb(participant) for (participant,) in await self._fetch("participants")]

    async def utilization(
        self, participant: str, since: datetime, step: timedelta, heartbeat: timedelta
    ) -> dict[PolicyName, dict[datetime, float]]:
        """Returns the highest utilization (percent) of every bucket in each step of time from ``since`` on.

        Steps begin at whole ones since 1970, and so should ``since``. A bucket keeps its state between its rows, which
        are at most ``heartbeat`` apart; a step in which no poll was answered is left out.
        """
        records = await self._fetch("steps_answered", participant=participant, since=since, step=step)
        answered = [at for (at,) in records]
        records = await self._fetch("highest_utilization", participant=participant, since=since - heartbeat, step=step)
        return {
            policy: {at: value for at, value in _highest(answered, steps) if at >= since}
            for policy, steps in groupby(records, key=itemgetter(0))
        }

    async def outbox_stats(self) -> OutboxStats:
        (row,) = await self._fetch("outbox_stats")
        return OutboxStats(*row)

    async def polls(
        self,
        participant: str,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        evaluated_only: bool = False,
    ) -> AsyncIterator[Poll]:
        """Yields every reconciled poll of ``since <= polled_at < until``, in order, exactly as it was.

        ``evaluated_only`` leaves out those that came too late for the rules; a poll whose states are past their
        retention is always left out. Reads a page at a time and holds no transaction between pages.
        """
        chains: dict[str, Chain] = {}
        async for page in self._pages(participant, since or _EARLIEST, until or _LATEST):
            states = await self._states(participant, page)
            for row in page:
                chain = chains.get(row.stream_id)
                if chain is None and row.answered:
                    # A failed poll begins no chain: the next answered one may build on states from before the window.
                    chain = Chain() if row.complete else await self._chain_before(participant, row)
                    chains[row.stream_id] = chain
                poll = poll_of(Ispb(participant), row, chain or Chain(), states)
                if poll is not None and (row.evaluated or not evaluated_only):
                    yield poll

    async def _pages(self, participant: str, since: datetime, until: datetime) -> AsyncIterator[list[PollRow]]:
        """Yields the rows of polls, in order. No page reaches over a full hour: chunks are of an hour each."""
        window = {"participant": participant, "limit": self._page_polls}
        while since < until:
            ((begin,),) = await self._fetch("first_poll", participant=participant, since=since, until=until)
            if begin is None:
                return
            end = min(until, begin.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1))
            after = {"after_at": _EARLIEST, "after_stream": "", "after_sequence": -1}
            while True:
                records = await self._fetch("reconciliations", since=begin, until=end, **window, **after)
                page = [PollRow(*record) for record in records]
                if page:
                    yield page
                if len(page) < self._page_polls:
                    break
                last = page[-1]
                after = {"after_at": last.polled_at, "after_stream": last.stream_id, "after_sequence": last.sequence}
            since = end

    async def _chain_before(self, participant: str, row: PollRow) -> Chain:
        """Returns the stream's states as they were before ``row``."""
        records = await self._fetch(
            "chain_before", participant=participant, stream_id=row.stream_id, before=row.polled_at
        )
        page = [PollRow(*record) for record in records]
        states = await self._states(participant, page)
        chain = Chain()
        for earlier in page:
            chain.append(earlier, states)
        return chain

    async def _states(self, participant: str, page: Sequence[PollRow]) -> States:
        states: States = defaultdict(list)
        answered = [row for row in page if row.observed_at is not None]
        if answered:
            observed = [row.observed_at for row in answered]
            records = await self._fetch(
                "states",
                participant=participant,
                observed_from=min(observed),
                observed_to=max(observed),
                polled_from=answered[0].polled_at,
                polled_to=answered[-1].polled_at,
            )
            for row in records:
                states[row[14], row[15]].append(bucket_of(row[:14]))
        return states

    async def _fetch(self, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return await self._database.fetch(_SQL[name], parameters)


def _highest(answered: Sequence[datetime], steps: Iterable[tuple[Any, ...]]) -> Iterator[tuple[datetime, float]]:
    """Yields the highest value of each step: of those recorded in it, and of the one that it began with."""
    figures = {step: (highest, last) for _, step, highest, last in steps}
    before: float | None = None
    for step in sorted({*answered, *figures}):
        highest, last = figures.get(step, (before, before))
        if highest is not None:
            yield step, highest if before is None else max(highest, before)
        before = last


def poll_of(participant: Ispb, row: PollRow, chain: Chain, states: States) -> Poll | None:
    result: Observation | Failure
    if row.answered:
        chain.append(row, states)
        buckets = chain.buckets(row.policies or () if row.is_read else chain.policies)
        if buckets is None:
            return None
        refused = tuple(row.policies_refused or ())
        answered = (participant, row.observed_at, row.category, row.correlation_id)
        result = Observation(*answered, buckets, refused, is_whole=not row.is_read)
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
    """Returns the state of a row's fourteen columns, from ``policy`` to ``lowest_available_tokens``."""
    counts = None if row[5] is None else ResponseCounts(*row[5:9])
    policy, available, capacity, refill_tokens, refill_period = row[:5]
    return BucketObservation(Bucket(policy, available, capacity, refill_tokens, refill_period, counts), *row[9:14])
