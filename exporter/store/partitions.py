"""Monthly partitions: created ahead of the clock, dropped past their retention."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exporter.store.database import Database, queries

_SQL: Final = queries("partitions")


@dataclass(frozen=True, slots=True)
class Maintenance:
    """The partitions created and dropped, and ``shrunk``: those that gave back the space of what is compacted.

    ``postponed`` ones were in use, and are left for the next time.
    """

    created: tuple[str, ...]
    dropped: tuple[str, ...]
    shrunk: tuple[str, ...]
    postponed: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.postponed


@dataclass(frozen=True, slots=True)
class WritableMonths:
    """How many ``months`` after the current one can be written to; -1: not even the current one.

    ``detached`` are tables with a partition's name that are not partitions: none is created in their place.
    """

    months: int
    detached: tuple[str, ...]


async def maintain(database: Database, retention_months: int, *, at: datetime | None = None) -> Maintenance:
    """Creates the partitions that are missing and drops the old ones, as of ``at`` (None: the database's clock).

    Raises DatabaseUnusable.
    """
    rows = await database.fetch(_SQL["maintain"], {"retention_months": retention_months, "at": at})
    actions = ("created", "dropped", "shrunk", "postponed")
    return Maintenance(*(tuple(partition for partition, done in rows if done == action) for action in actions))


async def readiness(database: Database, *, at: datetime | None = None) -> WritableMonths:
    """Returns what can be written to, as of ``at`` (None: the database's clock). Raises DatabaseUnusable."""
    async with database.transaction() as connection:
        ((months,),) = await (await connection.execute(_SQL["ready_months"], {"at": at})).fetchall()
        detached = await (await connection.execute(_SQL["detached"])).fetchall()
    return WritableMonths(months, tuple(name for (name,) in detached))
