"""The outbox, as the relay sees it: which events to send next, and what became of them.

A row's sequence id is committed before it is first sent. A row that has one of the producer's own ids may have been
sent before, by a process that did not live to mark it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from exporter.store.database import Database, queries
from exporter.store.lease import Fence

_SQL: Final = queries("outbox")
PRUNE_ROWS: Final = 5_000
"""Rows that are deleted in one transaction."""


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An event to send. ``body`` is JSON, ``sequence`` in it; ``event_time`` is UTC.

    ``sent_before``: it may have been sent with this ``sequence_id`` already. ``attempts``: so often it was refused.
    """

    id: int
    event_id: UUID
    fingerprint: str
    type: str
    event_time: datetime
    subject: str
    traceparent: str | None
    body: str
    sequence_id: int
    sent_before: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that the broker refused. It gets another sequence id, or is never sent again (``dead``)."""

    id: int
    error: str
    dead: bool


@dataclass(slots=True)
class DeliveryResults:
    """What became of rows that were taken: ids of those that the broker has, and of those not sent, and the refused.

    Unsent rows get other sequence ids when they are taken again. A row may be first
    unsent and then published: the broker has it after all.
    """

    published: list[int] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    unsent: list[int] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.published or self.refused or self.unsent)

    def __add__(self, later: DeliveryResults) -> DeliveryResults:
        return DeliveryResults(
            self.published + later.published, self.refused + later.refused, self.unsent + later.unsent
        )


class Outbox:
    """Every method raises DatabaseUnavailable; those that change rows raise LeaseLost, and nothing is changed."""

    def __init__(self, database: Database, prune_rows: int = PRUNE_ROWS) -> None:
        self.prune_rows = prune_rows
        self._database = database

    async def installation_id(self) -> UUID:
        """Returns this database's identity. A restored or cloned database has another."""
        identity: UUID
        ((identity,),) = await self._database.fetch(_SQL["installation_id"], {})
        return identity

    async def change_installation_id(self, fence: Fence) -> None:
        """Makes this database another one, to those outside who knew a later state of it."""
        async with fence.transaction("relay") as connection:
            await connection.execute(_SQL["change_installation_id"])

    async def highest_sequence_id(self) -> int:
        """Returns the last sequence id given to a row; 0: none."""
        highest: int
        ((highest,),) = await self._database.fetch(_SQL["highest_sequence_id"], {})
        return highest

    async def take(
        self, limit: int, fence: Fence, *, producer: str, quarantined: Collection[str] = ()
    ) -> list[OutboxRow]:
        """Returns the next rows to send, in the order in which they must be sent.

        Those that ``producer`` may have sent before come first, with their ids. The others get ids, which are above
        every id given so far, in the order in which they were written, so that the order of each alert's events is
        kept; none is of an alert (fingerprint) that is ``quarantined``.
        """
        parameters = {"limit": limit, "producer": producer, "quarantined": list(quarantined)}
        async with fence.transaction("relay") as connection:
            cursor = await connection.execute(_SQL["take"], parameters, binary=True)
            return [OutboxRow(*row) async for row in cursor]

    async def commit_receipts(self, results: DeliveryResults, fence: Fence) -> None:
        """Commits what became of the rows. Doing it twice changes nothing but ``attempts``."""
        refused = results.refused
        statements: dict[str, dict[str, list[Any]]] = {
            "mark_unsent": {"ids": results.unsent},
            "mark_refused": {
                "ids": [r.id for r in refused],
                "errors": [r.error for r in refused],
                "dead": [r.dead for r in refused],
            },
            "mark_published": {"ids": results.published},
        }
        async with fence.transaction("relay") as connection, connection.pipeline():
            for name, parameters in statements.items():
                if parameters["ids"]:
                    await connection.execute(_SQL[name], parameters)

    async def prune(self, older_than_seconds: float, fence: Fence) -> int:
        """Deletes rows published longer ago than that, and returns how many: at most ``prune_rows``."""
        parameters = {"older_than_seconds": older_than_seconds, "limit": self.prune_rows}
        async with fence.transaction("relay") as connection:
            row = await (await connection.execute(_SQL["prune"], parameters)).fetchone()
        return int(row[0]) if row else 0
