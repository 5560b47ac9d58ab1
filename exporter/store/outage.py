"""What is logged while the database cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from exporter.errors import DatabaseUnavailable, DatabaseUnusable
from exporter.telemetry import Outage, Reminder

log = logging.getLogger(__name__)


class DatabaseOutage(Outage):
    """Shared by all parts of a process that use the database, so that an outage is logged once."""

    def __init__(self, fields: Callable[[], Mapping[str, object]] = dict) -> None:
        super().__init__("database", fields=fields)
        self._reminders: dict[str, Reminder] = {}

    def report(self, error: DatabaseUnusable, *, waiting: str, **fields: object) -> None:
        """Logs why ``waiting`` (polls, events, ...) cannot go on, where that is due.

        A database that is away is one outage for all; what it refuses to do for one part is that part's own.
        """
        if isinstance(error, DatabaseUnavailable) and error.is_away:
            self.noticed(error)
        elif self._reminders.setdefault(waiting, Reminder()).is_due(str(error)):
            log.warning("waiting for the database", extra={"waiting": waiting, "error": str(error), **fields})
