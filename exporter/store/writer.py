"""Writes reconciled polls: a batch is one transaction, all or nothing, and doing it twice changes nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import by_fingerprint
from exporter.buckets.observation import Observation
from exporter.errors import PartitionMissing, ReconciliationRefused, StoreError
from exporter.store import queries, rows
from exporter.store.database import PATIENCE_SECONDS
from exporter.store.reconciliation import (
    Figures,
    Reconciliation,
    StatesToWrite,
    Written,
    alerts_to_write,
    states_to_write,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from psycopg import AsyncConnection, AsyncCursor

    from exporter.alerts.alert import Alert, Fingerprint
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import Category, Poll
    from exporter.store.database import Database
    from exporter.store.lease import Fence

log = logging.getLogger(__name__)

_SQL: Final = queries.load("writer")


@dataclass(frozen=True, slots=True)
class LastPoll:
    """Where a participant's reconciliation stands.

    ``polled_at`` is its last poll's; ``stream_id`` and ``sequence`` are those of the last
    that an exporter made ("" and 0: none). Nothing of that stream up to
    ``stale_sequence`` can be seen any more. ``category`` is what is known of the participant's.
    """

    participant: Ispb
    polled_at: datetime
    stream_id: str
    sequence: int
    stale_sequence: int
    category: Category | None = None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a reconciler that begins must know, by participant."""

    alerts: Mapping[Ispb, Mapping[Fingerprint, Alert]]
    last_polls: Mapping[Ispb, LastPoll]


class Writer:
    """Commits reconciliations. An idle bucket is written again after ``heartbeat_seconds``.

    What the database is known to hold is a cache. It is forgotten after any
    failure, and a participant of whom nothing is known is written in full.
    """

    def __init__(self, database: Database, heartbeat_seconds: float) -> None:
        self._database = database
        self._heartbeat_seconds = heartbeat_seconds
        self._written: dict[Ispb, Written] = {}

    async def restore(self) -> Restored:
        """Returns where to go on. Raises DatabaseUnusable."""
        self._written.clear()
        async with self._database.transaction() as connection, connection.cursor(binary=True) as cursor:
            alerts: dict[Ispb, list[Alert]] = {}
            async for row in await cursor.execute(_SQL["open_alerts"]):
                alert = rows.alert(row)
                alerts.setdefault(alert.participant, []).append(alert)
            last_polls = await _last_polls(cursor)
        return Restored({p: by_fingerprint(a) for p, a in alerts.items()}, last_polls)

    async def last_polls(self, *, patience_seconds: float = PATIENCE_SECONDS) -> dict[Ispb, LastPoll]:
        """Returns where each participant's reconciliation stands. Raises DatabaseUnusable."""
        lent = self._database.transaction(patience_seconds=patience_seconds)
        async with lent as connection, connection.cursor(binary=True) as cursor:
            return await _last_polls(cursor)

    async def commit(
        self, batch: Sequence[Reconciliation], fence: Fence
    ) -> list[tuple[Reconciliation, ReconciliationRefused]]:
        """Commits ``batch`` (in order of time per participant), and returns those that the database refuses.

        One that was committed before changes nothing. Where rows are refused,
        each poll is committed by itself; the polls of a participant that follow
        a refused one are kept as history without their alerts, and returned
        too, because what their rules saw did not happen. A poll that only waits
        for its partition is not refused. Raises LeaseLost, DatabaseUnusable: it is
        not known how much was committed.
        """
        try:
            await self._commit(batch, fence)
        except PartitionMissing as error:
            if len(batch) == 1:
                if await self._will_have_partitions(batch[0].poll):
                    raise
                return [(batch[0], _named(batch[0], error))]
        except ReconciliationRefused as error:
            if len(batch) == 1:
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
        # Whatever fails, the outcome may be unknown: what was known is put back only after success.
        participants = {r.poll.participant for r in batch}
        known = {p: self._written.pop(p) for p in participants if p in self._written}
        try:
            async with fence.transaction("reconciler") as connection:
                known |= await self._known_policies(connection, participants - known.keys())
                repeated = await self._repeated(connection, batch)
                fresh = [r for place, r in enumerate(batch, 1) if place not in repeated]
                again = {r.poll.participant for place, r in enumerate(batch, 1) if place in repeated}
                # How a repeated poll was written is not known, so its chain of states ends there.
                known |= {p: replace(known[p], chain=None) for p in again}
                after = dict(known)
                decided: list[tuple[Reconciliation, StatesToWrite]] = []
                for reconciliation in fresh:
                    poll = reconciliation.poll
                    states = states_to_write(after[poll.participant], poll, self._heartbeat_seconds)
                    after[poll.participant] = states.after
                    decided.append((reconciliation, states))
                await self._insert(connection, decided, known)
        except (ValueError, OverflowError) as error:
            raise ReconciliationRefused(f"a value cannot be written: {error}") from error
        self._written |= after

    async def _will_have_partitions(self, poll: Poll) -> bool:
        times = [poll.polled_at]
        if isinstance(poll.result, Observation):
            times.append(poll.result.observed_at)
        async with self._database.transaction() as connection:
            row = await (await connection.execute(_SQL["will_have_partitions"], {"times": times})).fetchone()
        return row is not None and bool(row[0])

    async def _known_policies(self, connection: AsyncConnection[Any], participants: set[Ispb]) -> dict[Ispb, Written]:
        found: dict[Ispb, dict[Any, Figures]] = {p: {} for p in participants}
        if participants:
            cursor = await connection.execute(_SQL["known_policies"], {"participants": list(participants)})
            async for participant, policy, *figures in cursor:
                found[participant][policy] = Figures(*figures)
        return {p: Written(policies) for p, policies in found.items()}

    async def _repeated(self, connection: AsyncConnection[Any], batch: Sequence[Reconciliation]) -> set[int]:
        cursor = await connection.execute(_SQL["already_reconciled"], rows.identities(batch))
        return {place for (place,) in await cursor.fetchall()}

    async def _insert(
        self,
        connection: AsyncConnection[Any],
        decided: Sequence[tuple[Reconciliation, StatesToWrite]],
        known: Mapping[Ispb, Written],
    ) -> None:
        alerts = alerts_to_write(r for r, _ in decided)
        statements = {
            "insert_states": rows.states(decided),
            "upsert_policies": rows.policies(decided, known),
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


async def _last_polls(cursor: AsyncCursor[Any]) -> dict[Ispb, LastPoll]:
    await cursor.execute(_SQL["last_polls"])
    return {row[0]: LastPoll(row[0], row[1], row[2], row[3], row[4], rows.category(*row[5:])) async for row in cursor}


def _named(reconciliation: Reconciliation, error: StoreError) -> ReconciliationRefused:
    poll = reconciliation.poll
    return ReconciliationRefused(
        f"participant {poll.participant}, poll {poll.sequence} of {poll.polled_at.isoformat()}: {error}"
    )
