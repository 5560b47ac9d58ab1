"""The audit: proves that no recorded transition was changed, inserted, or removed.

Each transition carries a number, the hash of the one before it, and its own: SHA-256 of these lines, an empty one for
null, times in microseconds since 1970, the value as the eight bytes of a double, big-endian, in hexadecimal:

previous hash, number, fingerprint, active_since, state, changed_at, reason, value,
psp_category, observed_at, available_tokens, capacity

A superuser can forge a whole new chain; its head then differs from a copy of the head that is kept elsewhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple

from exporter.alerts.alert import fingerprint
from exporter.store.database import Database, queries

_SQL: Final = queries("audit")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

FIRST: Final = bytes(32)
"""What the first transition carries as the hash of the one before it."""

PAGE_ROWS: Final = 5_000
MAX_DEFECTS: Final = 100


class Link(NamedTuple):
    """A transition as it was recorded, and its alert's own columns."""

    number: int
    previous_hash: bytes
    hash: bytes
    fingerprint: str
    active_since: datetime
    state: str
    changed_at: datetime
    reason: str | None
    value: float
    psp_category: str | None
    observed_at: datetime | None
    available_tokens: int | None
    capacity: int | None
    alertname: str
    labels: Mapping[str, str]
    firing_since: datetime | None
    resolved_at: datetime | None
    alert_reason: str | None

    def __str__(self) -> str:
        return f"transition {self.number} ({self.alertname} {self.state} at {self.changed_at.isoformat()})"

    def expected_hash(self) -> bytes:
        lines = (
            self.previous_hash.hex(),
            str(self.number),
            self.fingerprint,
            _microseconds(self.active_since),
            self.state,
            _microseconds(self.changed_at),
            self.reason or "",
            struct.pack(">d", self.value).hex(),
            self.psp_category or "",
            _microseconds(self.observed_at),
            "" if self.available_tokens is None else str(self.available_tokens),
            "" if self.capacity is None else str(self.capacity),
        )
        return sha256("\n".join(lines).encode()).digest()


@dataclass(slots=True)
class Verified:
    """The chain that was verified: how many transitions, from when to when (UTC), and the hash of the last one.

    ``defects`` are sentences, the first ``MAX_DEFECTS``; ``seen``: whether the chain holds the head to look for.
    """

    transitions: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    head: bytes = FIRST
    seen: bool = False
    defects: list[str] = field(default_factory=list)


async def verify(database: Database, head: bytes | None = None) -> Verified:
    """Follows the chain from its beginning. Raises DatabaseUnusable."""
    result = Verified(seen=head in (None, FIRST))
    after = 0
    while True:
        page = [Link(*row) for row in await database.fetch(_SQL["links"], {"after": after, "limit": PAGE_ROWS})]
        for link in page:
            result.defects += _defects(link, after, result.head)
            after, result.head = link.number, link.hash
            result.transitions += 1
            result.first_at = result.first_at or link.changed_at
            result.last_at = link.changed_at
            result.seen = result.seen or link.hash == head
        if len(page) < PAGE_ROWS or len(result.defects) > MAX_DEFECTS:
            break
    if len(result.defects) <= MAX_DEFECTS:
        result.defects += [
            f"{alertname} of {participant}, active since {since.isoformat()}: no transition records that it was {state}"
            for alertname, participant, since, state in await database.fetch(_SQL["unrecorded"], {})
        ]
        ((number, last),) = await database.fetch(_SQL["head"], {})
        if (number, last) != (after, result.head):
            result.defects.append(f"the chain ends at transition {after}, and {number} were recorded")
    if not result.seen:
        result.defects.append("no transition has the given hash: the chain is not the one that it was taken from")
    del result.defects[MAX_DEFECTS:]
    return result


def _defects(link: Link, after: int, last_hash: bytes) -> Iterator[str]:
    if link.number != after + 1:
        missing = f"transition {after + 1}" + ("" if link.number == after + 2 else f" to {link.number - 1}")
        yield f"{missing}: taken out"
    elif link.previous_hash != last_hash:
        yield f"{link}: does not follow the one before it"
    if link.hash != link.expected_hash():
        yield f"{link}: was changed"
    if fingerprint(link.labels) != link.fingerprint:
        yield f"{link}: the labels of its alert were changed"
    if link.state == "resolved":
        agrees = link.alert_reason == link.reason and link.resolved_at in (link.changed_at, link.firing_since)
    else:
        agrees = link.firing_since == link.changed_at
    if not agrees:
        yield f"{link}: its alert says another time or reason"


def _microseconds(at: datetime | None) -> str:
    return "" if at is None else str((at - _EPOCH) // _MICROSECOND)
