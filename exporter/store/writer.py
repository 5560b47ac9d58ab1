"""Writes reconciled polls: a batch is one transaction, all or nothing, and repeating it changes nothing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection

from exporter.alerts.alert import Alert, Fingerprint
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category, Observation, Poll
from exporter.errors import PartitionMissing, ReconciliationRefused, StoreError
from exporter.store import rows
from exporter.store.database import PATIENCE_SECONDS, Database, queries
from exporter.store.lease import Fence
from exporter.store.reader import AlertFilter, Reader
from exporter.store.reconciliation import (
    Figures,
    Reconciliation,
    StatesToWrite,
    Written,
    alerts_to_write,
    states_to_write,
)

log = logging.getLogger(__name__)

_SQL: Final = queries("writer")

_PAGE_POLLS: Final = 50
"""Polls that are read at a time: other tasks have their turn between two pages."""


@dataclass(frozen=True, slots=True)
class LastPoll:
    """How far a participant's reconciliation has come.

    ``polled_at`` is its last poll's; ``stream_id`` and ``sequence`` are those of the last
    poll by an exporter ("" and 0: none). Nothing of that stream up to
    ``stale_sequence`` can be seen any more. ``category`` is the participant's, as last known.
    """

    participant: Ispb
    polled_at: datetime
    stream_id: str
    sequence: int
    stale_sequence: int
    category: Category | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a reconciler starts from, by participant."""

    alerts: Mapping[Ispb, Mapping[Fingerprint, Alert]]
    last_polls: Mapping[Ispb, LastPoll]


class Writer:
    """Commits reconciliations. An idle bucket is written again after ``heartbeat_seconds``.

    What the database holds of each participant is cached. The cache is invalidated
    by any failure, and a participant that is not in it is written in full.
    """

    def __init__(self, database: Database, heartbeat_seconds: float) -> None:
        self._database = database
        self._heartbeat_seconds = heartbeat_seconds
        self._written: dict[Ispb, Written] = {}

    async def restore(self) -> Restored:
        """Returns what to continue from, and invalidates the cache. Raises DatabaseUnusable."""
        self._written.clear()
        alerts: dict[Ispb, dict[Fingerprint, Alert]] = {}
        async with self._database.transaction() as connection:
            async for row in await connection.execute(_SQL["open_alerts"], binary=True):
                alert = rows.alert(row)
                alerts.setdefault(alert.participant, {})[alert.fingerprint] = alert
            last_polls = await (await connection.execute(_SQL["last_polls"], binary=True)).fetchall()
        return Restored(alerts, _last_polls(last_polls))

    async def last_polls(self, *, patience_seconds: float = PATIENCE_SECONDS) -> dict[Ispb, LastPoll]:
        """Returns how far each participant's reconciliation has come. Raises DatabaseUnusable."""
        return _last_polls(await self._database.fetch(_SQL["last_polls"], {}, patience_seconds=patience_seconds))

    def polls(self, participant: Ispb, since: datetime, until: datetime | None) -> AsyncIterator[Poll]:
        """Yields the evaluated polls of ``since <= polled_at < until``, in order. Raises DatabaseUnusable."""
        return Reader(self._database, _PAGE_POLLS).polls(participant, since, until, evaluated_only=True)

    async def alerts(self, participant: Ispb, since: datetime) -> list[Alert]:
        """Returns the participant's alerts that were open at a time or later. Raises DatabaseUnusable."""
        return await Reader(self._database).alerts(
            AlertFilter(include_resolved=True, participant=participant, since=since)
        )

    async def commit(
        self, batch: Sequence[Reconciliation], fence: Fence
    ) -> list[tuple[Reconciliation, ReconciliationRefused]]:
        """Commits ``batch`` (in order of time per participant), and returns those that the database refuses.

        One that was committed before changes nothing. Where rows are refused, each poll is committed alone; the polls
        of a participant that follow a refused one are kept as history without their alerts, and returned too, because
        what their rules saw did not happen. A poll that only waits for its partition is not refused. Raises LeaseLost,
        DatabaseUnusable: how much was committed is unknown.
        """
        try:
            await self._commit(batch, fence)
        except (PartitionMissing, ReconciliationRefused) as error:
            if len(batch) == 1:
                if isinstance(error, PartitionMissing) and await self._will_have_partitions(batch[0].poll):
                    raise
                return [(batch[0], _named(batch[0], error))]
        else:
            return []
        refused: list[tuple[Reconciliation, ReconciliationRefused]] = []
        for reconciliation in batch:
            participant = reconciliation.poll.participant
            if any(r.poll.participant == participant for r, _ in refused):
                history = replace(reconciliation, evaluated=False, alerts_after=reconciliation.alerts_before)
                history = replace(history, transitions=(), failures=())
                refused += [(reconciliation, e) for _, e in await self.commit([history], fence)]
                if refused[-1][0] is not reconciliation:
                    why = ReconciliationRefused("kept without its alerts: the poll before it was refused")
                    refused.append((reconciliation, _named(reconciliation, why)))
            else:
                refused += await self.commit([reconciliation], fence)
        return refused

    async def _commit(self, batch: Sequence[Reconciliation], fence: Fence) -> None:
        # After a failure it is unknown what was committed: the cache is filled again only after success.
        participants = {r.poll.participant for r in batch}
        before = {p: self._written.pop(p) for p in participants if p in self._written}
        try:
            async with fence.transaction("reconciler") as connection:
                before |= await self._recorded(connection, participants - before.keys())
                cursor = await connection.execute(_SQL["already_reconciled"], rows.identities(batch))
                repeated = {index - 1 async for (index,) in cursor}
                # How a repeated poll was written is unknown, so its chain of states ends there.
                before |= {p: replace(before[p], chain=None) for p in {batch[i].poll.participant for i in repeated}}
                after = dict(before)
                decided: list[tuple[Reconciliation, StatesToWrite]] = []
                for reconciliation in (r for i, r in enumerate(batch) if i not in repeated):
                    poll = reconciliation.poll
                    states = states_to_write(after[poll.participant], poll, self._heartbeat_seconds)
                    after[poll.participant] = states.after
                    if not poll.is_read or states.buckets or reconciliation.changed_alerts:
                        decided.append((reconciliation, states))
                if decided:
                    await self._insert(connection, decided, before)
        except (ValueError, OverflowError) as error:
            raise ReconciliationRefused(f"a value cannot be written: {error}") from error
        self._written |= after

    async def _will_have_partitions(self, poll: Poll) -> bool:
        times = [poll.polled_at]
        if isinstance(poll.result, Observation):
            times.append(poll.result.observed_at)
        ((ready,),) = await self._database.fetch(_SQL["will_have_partitions"], {"times": times})
        return bool(ready)

    async def _recorded(self, connection: AsyncConnection[Any], participants: set[Ispb]) -> dict[Ispb, Written]:
        policies: dict[Ispb, dict[Any, Figures]] = {p: {} for p in participants}
        if participants:
            cursor = await connection.execute(_SQL["recorded_policies"], {"participants": list(participants)})
            async for participant, policy, *figures in cursor:
                policies[participant][policy] = Figures(*figures)
        return {p: Written(of_participant) for p, of_participant in policies.items()}

    async def _insert(
        self, connection: AsyncConnection[Any], decided: rows.Decided, before: Mapping[Ispb, Written]
    ) -> None:
        alerts = alerts_to_write(r for r, _ in decided)
        statements = {
            "insert_states": rows.states(decided),
            "upsert_policies": rows.policies(decided, before),
            "insert_reconciliations": rows.reconciliations(decided),
            # An instance must end before the next with its fingerprint begins.
            "delete_ended_alerts": rows.instances(alerts.ended),
            "upsert_alerts": rows.alerts((*alerts.resolved, *alerts.open)),
            "insert_alert_transitions": rows.transitions(alerts.entered),
            "insert_events": rows.events([r for r, _ in decided]),
        }
        async with connection.pipeline():
            for name, parameters in statements.items():
                if parameters is not None:
                    await connection.execute(_SQL[name], parameters)


def _last_polls(records: Iterable[tuple[Any, ...]]) -> dict[Ispb, LastPoll]:
    return {row[0]: LastPoll(row[0], row[1], row[2], row[3], row[4], rows.category(*row[5:])) for row in records}


def _named(reconciliation: Reconciliation, error: StoreError) -> ReconciliationRefused:
    poll = reconciliation.poll
    return ReconciliationRefused(
        f"participant {poll.participant}, poll {poll.sequence} of {poll.polled_at.isoformat()}: {error}"
    )
