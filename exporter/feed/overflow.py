"""Polls that a full queue had to drop."""

from __future__ import annotations

import logging

from prometheus_client import Counter

log = logging.getLogger(__name__)


class Overflow:
    """Counts dropped polls (``polls``, and in ``counter`` by reason), and logs once until there is room again."""

    def __init__(self, capacity: int, counter: Counter | None = None) -> None:
        self.polls = 0
        self._capacity = capacity
        self._counter = counter
        self._is_full = False

    def drop(self) -> None:
        self.polls += 1
        if self._counter is not None:
            self._counter.labels("queue_full").inc()
        if not self._is_full:
            log.error("poll queue is full, dropping the oldest", extra={"capacity": self._capacity})
        self._is_full = True

    def end(self) -> None:
        """Notes that there is room again."""
        self._is_full = False
