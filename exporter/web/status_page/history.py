"""The way from the pages to the database: one page at a time, and not for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from exporter.errors import QueryTooSlow, StoreError

if TYPE_CHECKING:
    from exporter.store.timeline import Timeline


class HistoryUnavailable(Exception):
    """The database did not answer; the text is a sentence for the reader of a page."""


class History:
    """Lends ``record`` (None: this process has no database) to one page at a time.

    A page waits ``patience_seconds`` for the database and for the pages before it; nothing waits for a page.
    """

    def __init__(self, record: Timeline | None, patience_seconds: float) -> None:
        self.record = record
        self._patience_seconds = patience_seconds
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Timeline | None]:
        """Raises HistoryUnavailable where the reading fails or takes too long."""
        try:
            async with asyncio.timeout(self._patience_seconds), self._turn:
                yield self.record
        except QueryTooSlow as error:
            raise HistoryUnavailable(f"{error}: ask for a shorter time, or for less.") from error
        except StoreError as error:
            raise HistoryUnavailable(f"{error}.") from error
        except TimeoutError as error:
            raise HistoryUnavailable(f"PostgreSQL did not answer within {self._patience_seconds:g}s.") from error
