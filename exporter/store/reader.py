"""Reads what was recorded: buckets, alerts, the outbox, and every reconciled poll."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from exporter.alerts.alert import Alert
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.observation import BucketObservation, Poll
from exporter.store import queries, rows
from exporter.store.database import Database
from exporter.store.polls import Chain, PollRow, States, bucket_of, poll_of

_SQL: Final = queries.load("reader")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LatestState:
    """A bucket's last state. ``confirmed_at`` is the last poll (UTC) whose answer had it."""

    participant: Ispb
    observation: BucketObservation
    category: str | None
    observed_at: datetime
    confirmed_at: datetime


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


class Reader:
    """Every method raises DatabaseUnavailable. Polls are read in pages of ``page_polls``."""

    def __init__(self, database: Database, page_polls: int = 500) -> None:
        self._database = database
        self._page_polls = page_polls

    async def latest_states(self, participant: str | None = None) -> list[LatestState]:
        """Returns every bucket that its participant still has, sorted by participant and policy."""
        records = await self._fetch("latest_states", participant=participant)
        return [
            LatestState(Ispb(row[0]), bucket_of(row[1:13]), category=row[13], observed_at=row[14], confirmed_at=row[15])
            for row in records
        ]

    async def open_alerts(self, participant: str | None = None) -> list[Alert]:
        """Returns pending and firing alerts, the newest first."""
        return await self.alerts(participant=participant)

    async def alerts(
        self,
        *,
        include_resolved: bool = False,
        participant: str | None = None,
        policy: str | None = None,
        alertname: str | None = None,
        severity: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[Alert]:
        """Returns alerts, the newest first.

        With ``since``, those that were open at or after it; with ``until``, those that were opened before it.
        """
        records = await self._fetch(
            "alerts",
            include_resolved=include_resolved,
            participant=participant,
            policy=policy,
            alertname=alertname,
            severity=severity,
            since=since,
            until=until,
            limit=limit,
        )
        return [rows.alert(record) for record in records]

    async def alert_names(self) -> list[str]:
        """Returns the names of all alerts ever raised."""
        return [name for (name,) in await self._fetch("alert_names")]

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

        Steps begin at whole ones since 1970, and so should ``since``. A bucket keeps
        its state between its rows, which are at most ``heartbeat`` apart; a step in
        which no poll was answered is left out.
        """
        answered = [
            at for (at,) in await self._fetch("steps_answered", participant=participant, since=since, step=step)
        ]
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

        ``evaluated_only`` leaves out those that came too late for the rules.

        Reads a page at a time and holds no transaction between pages. A poll
        whose states are past their retention is left out.
        """
        chains: dict[str, Chain] = {}
        after: tuple[datetime, str, int] = (_EARLIEST, "", -1)
        while True:
            page = await self._page(participant, since or _EARLIEST, until, after)
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
            if len(page) < self._page_polls:
                return
            after = (page[-1].polled_at, page[-1].stream_id, page[-1].sequence)

    async def _page(
        self, participant: str, since: datetime, until: datetime | None, after: tuple[datetime, str, int]
    ) -> list[PollRow]:
        records = await self._fetch(
            "reconciliations",
            participant=participant,
            since=since,
            until=until,
            after_at=after[0],
            after_stream=after[1],
            after_sequence=after[2],
            limit=self._page_polls,
        )
        return [PollRow(*record) for record in records]

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
                states[row[12], row[13]].append(bucket_of(row[:12]))
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
