"""Compacted history: what is older than ``database.compact_after``, in a chunk for each participant and hour.

The database does it, in one transaction for a chunk: rows become arrays, figures that can be computed from others to
the bit are left out, and what comes back is compared with what went in. The views ``dict_rate_limit_states`` and
``dict_rate_limit_reconciliations`` give the same rows before and after (migration 0018).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exporter.buckets.bucket import Ispb
from exporter.store.database import Database, queries
from exporter.store.lease import Fence

_SQL: Final = queries("chunks")


@dataclass(frozen=True, slots=True)
class DueHour:
    """An hour (UTC) of a participant that is to be compacted, and how long ago it began."""

    participant: Ispb
    hour: datetime
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Compacted:
    """How many polls and bucket states are in a chunk."""

    polls: int
    states: int


async def due_hours(
    database: Database, compact_after_seconds: float, refused_until: Mapping[Ispb, datetime]
) -> list[DueHour]:
    """Returns each participant's first hour that is due, the oldest first. Raises DatabaseUnusable.

    Of a participant in ``refused_until`` nothing before that time is.
    """
    parameters = {
        "participants": list(refused_until),
        "passed": list(refused_until.values()),
        "compact_after_seconds": compact_after_seconds,
    }
    return [
        DueHour(Ispb(participant), hour, age)
        for participant, hour, age in await database.fetch(_SQL["due"], parameters)
    ]


async def compact(fence: Fence, due: DueHour) -> Compacted:
    """Compacts an hour, or what came late of one that was compacted before. Doing it twice changes nothing.

    Raises ReconciliationRefused where a chunk would not give back what went into it (the hour stays as it is),
    LeaseLost, DatabaseUnusable.
    """
    async with fence.long_transaction("compaction") as connection:
        cursor = await connection.execute(_SQL["compact"], {"participant": due.participant, "hour": due.hour})
        ((polls, states),) = await cursor.fetchall()
    return Compacted(polls, states)
