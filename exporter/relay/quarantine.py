"""Which events the broker leaves without a receipt, while it takes others.

Of a message that a topic's policy forbids, the broker tells the client in a way
that makes it connect and send again, for ever. One such event must not keep
the rest waiting, and a broker that is merely away or slow must not cost an
event: an event is refused only where the broker took another one meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from exporter.store.outbox import OutboxRow

PATIENCE_SECONDS: Final = 10.0
LONGEST_PATIENCE_SECONDS: Final = 300.0
STALLS: Final = 2
"""Sends in a row without receipt that make an event suspect."""
MOST_HELD: Final = 20
"""Alerts whose events may wait at once while others are tried; so many forbidden ones keep none of the rest waiting."""


@dataclass(slots=True)
class Suspects:
    """``held`` are suspects by fingerprint, whose alerts wait while other events are sent: at most ``most_held``."""

    most_held: int = MOST_HELD
    held: dict[str, OutboxRow] = field(default_factory=dict)
    _stalls: dict[int, int] = field(default_factory=dict)

    def patience_seconds(self, row: OutboxRow) -> float:
        """Returns how long to wait for the row's receipt: longer each time, for a broker that is only slow."""
        return min(LONGEST_PATIENCE_SECONDS, PATIENCE_SECONDS * 2.0 ** self._stalls.get(row.id, 0))

    def stalled(self, row: OutboxRow) -> bool:
        """Notes that no receipt came for ``row``. Returns whether it is held now."""
        self._stalls[row.id] = self._stalls.get(row.id, 0) + 1
        if self._stalls[row.id] < STALLS:
            return False
        if len(self.held) >= self.most_held:
            # One more that does not pass: the broker takes none.
            self.clear()
            return False
        self.held[row.fingerprint] = row
        return True

    def taken(self, row: OutboxRow) -> list[OutboxRow]:
        """Notes that the broker took ``row``. Returns those that it refused, therefore; they are held no more."""
        refused = [suspect for suspect in self.held.values() if suspect.id != row.id]
        self.clear()
        # One stall is enough for the next verdict on them.
        self._stalls = {suspect.id: STALLS - 1 for suspect in refused}
        self._stalls.pop(row.id, None)
        return refused

    def clear(self) -> None:
        self.held.clear()
        self._stalls.clear()
