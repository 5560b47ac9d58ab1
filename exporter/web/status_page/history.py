"""The past, for the pages: read from the database, one page at a time, and the last hours, kept in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.observation import View
from exporter.errors import DatabaseUnavailable, QueryTooSlow, StoreError
from exporter.web.sources import UtilizationHistory

if TYPE_CHECKING:
    from exporter.store.timeline import Timeline


log = logging.getLogger(__name__)

STEP_SECONDS: Final = 300
STEPS: Final = 72
HOURS: Final = STEPS * STEP_SECONDS // 3600

_PAUSE_SECONDS: Final = 0.02
_UNITS_PER_PERCENT: Final = 2.5
_ZERO: Final = 1
"""What 0 % is stored as: 0 is a step in which nothing was seen."""

_PARTICIPANTS_AT_ONCE: Final = 50


class HistoryUnavailable(Exception):
    """The database did not answer; the text is a sentence for the reader of a page."""


class History:
    """Lends ``record`` (None: this process has no database) to one page at a time.

    A page waits ``patience_seconds`` for the database and for the pages before it; nothing waits for a page.
    """

    def __init__(self, record: Timeline | None, patience_seconds: float) -> None:
        self._record = record
        self._patience_seconds = patience_seconds
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Timeline | None]:
        """Raises HistoryUnavailable where the reading fails or takes too long."""
        try:
            async with asyncio.timeout(self._patience_seconds), self._turn:
                yield self._record
        except QueryTooSlow as error:
            raise HistoryUnavailable(f"{error}: ask for a shorter time, or for less.") from error
        except StoreError as error:
            raise HistoryUnavailable(f"{error}.") from error
        except TimeoutError as error:
            raise HistoryUnavailable(f"PostgreSQL did not answer within {self._patience_seconds:g}s.") from error


class RecentUtilization:
    """The last hours of each bucket: what ``follow`` saw, and what ``recall`` read of the time before.

    One byte per bucket and step: the highest utilization that was seen in it. A bucket takes about 200 bytes, 31,000 of
    them some 6 MB.

    Buckets are sampled every ``sample_seconds``; every ``recall_seconds`` new participants are
    looked for, and ``retry_seconds`` after the database failed it is asked again.
    """

    def __init__(
        self, *, sample_seconds: float = 30.0, recall_seconds: float = 1.0, retry_seconds: float = 30.0
    ) -> None:
        self._sample_seconds = sample_seconds
        self._recall_seconds = recall_seconds
        self._retry_seconds = retry_seconds
        self._seen: dict[Ispb, dict[PolicyName, bytearray]] = {}
        self._step = 0
        self._recalled: set[Ispb] = set()

    def utilization(self, participant: Ispb, policy: PolicyName) -> list[float | None]:
        """Returns percentages, oldest first, the last for the present step; None where nothing was seen."""
        values = self._seen.get(participant, {}).get(policy, b"")
        oldest = (self._step + 1) % STEPS
        ordered = values[oldest:] + values[:oldest]
        return [(value - _ZERO) / _UNITS_PER_PERCENT if value else None for value in ordered]

    def not_recalled(self, participants: Mapping[Ispb, View]) -> int:
        """Returns the number of participants whose history was not read yet."""
        return len(participants.keys() - self._recalled)

    def sample(self, views: Mapping[Ispb, View], now: datetime) -> None:
        """Notes the highest utilization of late that ``views`` show, and drops what is older than the kept steps."""
        self._advance(_step_of(now))
        for participant, view in views.items():
            for policy, visible in view.buckets.items():
                self._note(participant, policy, self._step, 100.0 - visible.observation.lowest_left_percent)

    async def follow(self, views: Callable[[], Mapping[Ispb, View]], now: Callable[[], datetime]) -> None:
        """Samples every bucket regularly, a few participants at a time. Ends by cancellation."""
        while True:
            current = list(views().items())
            for first in range(0, len(current), _PARTICIPANTS_AT_ONCE):
                self.sample(dict(current[first : first + _PARTICIPANTS_AT_ONCE]), now())
                await asyncio.sleep(0)
            await asyncio.sleep(self._sample_seconds)

    async def recall(
        self, views: Callable[[], Mapping[Ispb, View]], history: UtilizationHistory, now: Callable[[], datetime]
    ) -> None:
        """Reads each participant's history when it first has a view, one after another. Ends by cancellation.

        A participant that is gone for a while (another process polled meanwhile) is read again.
        """
        while True:
            current = views()
            self._recalled &= current.keys()
            try:
                for participant in sorted(current.keys() - self._recalled):
                    self._advance(_step_of(now()))
                    oldest = datetime.fromtimestamp((self._step - STEPS + 1) * STEP_SECONDS, UTC)
                    by_policy = await history(participant, oldest, timedelta(seconds=STEP_SECONDS))
                    for policy, by_step in by_policy.items():
                        for at, percent in by_step.items():
                            self._note(participant, policy, _step_of(at), percent)
                    self._recalled.add(participant)
                    # Commits come first.
                    await asyncio.sleep(_PAUSE_SECONDS)
            except StoreError as error:
                # The whole process reports a database that is away in one line.
                is_away = isinstance(error, DatabaseUnavailable) and error.is_away
                level = logging.DEBUG if is_away else logging.WARNING
                log.log(level, "last hours missing from the status page", extra={"error": str(error)})
                await asyncio.sleep(self._retry_seconds)
            await asyncio.sleep(self._recall_seconds)

    def _note(self, participant: Ispb, policy: PolicyName, step: int, percent: float) -> None:
        if not self._step - STEPS < step <= self._step:
            return
        values = self._seen.setdefault(participant, {}).setdefault(policy, bytearray(STEPS))
        values[step % STEPS] = max(values[step % STEPS], round(percent * _UNITS_PER_PERCENT) + _ZERO)

    def _advance(self, step: int) -> None:
        passed = [n % STEPS for n in range(max(self._step + 1, step - STEPS + 1), step + 1)]
        if not passed:
            return
        for participant, policies in list(self._seen.items()):
            for policy, values in list(policies.items()):
                for index in passed:
                    values[index] = 0
                if not any(values):
                    del policies[policy]
            if not policies:
                del self._seen[participant]
        self._step = step


def _step_of(at: datetime) -> int:
    return int(at.timestamp()) // STEP_SECONDS
