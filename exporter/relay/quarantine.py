"""Events that the broker leaves without a receipt, while it takes others.

Of a message that a topic's policy forbids, the broker tells the client in a way that makes it connect and send again,
forever. One such event must not keep the rest waiting, and a broker that is merely away or slow must not cost an event:
an event is refused only where the broker took another one meanwhile.
"""

from __future__ import annotations

from typing import Final

from exporter.store.outbox import OutboxRow

LONGEST_TIMEOUT_SECONDS: Final = 300.0
FAILED_SENDS: Final = 2
"""Sends in a row without receipt that put an event into quarantine."""
MOST_QUARANTINED: Final = 20
"""Alerts whose events may wait at once while others are tried; more forbidden ones than this keep the rest waiting."""


class Quarantine:
    """``rows`` are quarantined events by fingerprint; their alerts wait while other events are sent: at most ``most``.

    ``timeout_seconds`` is how long to wait for a receipt the first time.
    """

    def __init__(self, timeout_seconds: float = 10.0, most: int = MOST_QUARANTINED) -> None:
        self.rows: dict[str, OutboxRow] = {}
        self._timeout_seconds = timeout_seconds
        self._most = most
        self._failed_sends: dict[int, int] = {}

    def timeout_seconds(self, row: OutboxRow) -> float:
        """Returns how long to wait for the row's receipt: longer each time, for a broker that is only slow."""
        return min(LONGEST_TIMEOUT_SECONDS, self._timeout_seconds * 2.0 ** self._failed_sends.get(row.id, 0))

    def note_no_receipt(self, row: OutboxRow) -> bool:
        """Notes that no receipt came for ``row``. Returns whether it is in quarantine now."""
        self._failed_sends[row.id] = self._failed_sends.get(row.id, 0) + 1
        if self._failed_sends[row.id] < FAILED_SENDS:
            return False
        if len(self.rows) >= self._most:
            # One more that does not pass: the broker takes none.
            self.clear()
            return False
        self.rows[row.fingerprint] = row
        return True

    def note_receipt(self, row: OutboxRow) -> list[OutboxRow]:
        """Notes that the broker took ``row``. Returns those that it refused, therefore; they are released."""
        refused = [other for other in self.rows.values() if other.id != row.id]
        self.clear()
        # One send without receipt is enough for the next verdict on them.
        self._failed_sends = {other.id: FAILED_SENDS - 1 for other in refused}
        self._failed_sends.pop(row.id, None)
        return refused

    def clear(self) -> None:
        self.rows.clear()
        self._failed_sends.clear()
