"""Monthly partitions: made ahead of the clock, dropped past their retention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exporter.store import queries

if TYPE_CHECKING:
    from datetime import datetime

    from exporter.store.database import Database

_SQL: Final = queries.load("partitions")


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What was done. ``postponed`` partitions were in use, and are for the next time.

    ``ready_months`` is how many months after the current one can be written to.
    """

    created: tuple[str, ...]
    dropped: tuple[str, ...]
    postponed: tuple[str, ...]
    ready_months: int

    @property
    def complete(self) -> bool:
        return not self.postponed


async def maintain(database: Database, retention_months: int, *, at: datetime | None = None) -> Maintenance:
    """Makes the partitions that are missing and drops the old ones, as of ``at`` (None: the database's clock).

    Raises DatabaseUnavailable.
    """
    parameters = {"retention_months": retention_months, "at": at}
    async with database.connection() as connection:
        done = await (await connection.execute(_SQL["maintain"], parameters)).fetchall()
        row = await (await connection.execute(_SQL["ready_months"], parameters)).fetchone()

    def those(action: str) -> tuple[str, ...]:
        return tuple(partition for partition, what in done if what == action)

    return Maintenance(those("created"), those("dropped"), those("postponed"), row[0] if row else 0)
