"""The last hours of every bucket's utilization, small enough to keep in memory.

One byte per bucket and step: the highest utilization that was seen in it. A
bucket takes about 200 bytes, 31,000 of them some 6 MB. What was before this
process is read from the database, where there is one, in the background.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from exporter.errors import DatabaseUnavailable, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.buckets.bucket import Ispb, PolicyName
    from exporter.buckets.observation import View
    from exporter.web.sources import Past

log = logging.getLogger(__name__)

STEP_SECONDS: Final = 300
STEPS: Final = 72
HOURS: Final = STEPS * STEP_SECONDS // 3600

LOOK_SECONDS: Final = 30.0
"""How often the buckets are looked at."""

RECALL_SECONDS: Final = 1.0
"""How often it is looked whether there are participants whose past was not read yet."""

RETRY_SECONDS: Final = 30.0
"""How soon the past is asked for again where the database did not give it."""

_PAUSE_SECONDS: Final = 0.02
_UNKNOWN: Final = 255
_UNITS_PER_PERCENT: Final = 2.5
_PARTICIPANTS_AT_ONCE: Final = 50


class History:
    """What was seen of each bucket, and what ``recall`` read of the time before."""

    def __init__(self) -> None:
        self._seen: dict[Ispb, dict[PolicyName, bytearray]] = {}
        self._step = 0
        self._recalled: set[Ispb] = set()

    def utilization(self, participant: Ispb, policy: PolicyName) -> list[float | None]:
        """Returns percentages, oldest first, the last for the present step; None where nothing was seen."""
        kept = self._seen.get(participant, {}).get(policy)
        if kept is None:
            return []
        present = self._step % STEPS
        ordered = kept[present + 1 :] + kept[: present + 1]
        return [None if value == _UNKNOWN else value / _UNITS_PER_PERCENT for value in ordered]

    def not_recalled(self, participants: Mapping[Ispb, View]) -> int:
        """Returns how many of the participants the past was not read of."""
        return len(participants.keys() - self._recalled)

    def look(self, views: Mapping[Ispb, View], now: datetime) -> None:
        """Notes what ``views`` show, and forgets what is older than the kept steps."""
        self._advance(_step_of(now))
        for participant, view in views.items():
            for policy, visible in view.buckets.items():
                self._note(participant, policy, self._step, visible.observation.bucket.utilization_percent)

    async def follow(self, views: Callable[[], Mapping[Ispb, View]], now: Callable[[], datetime]) -> None:
        """Looks again and again, a few participants at a time. Ends by cancellation."""
        while True:
            shown = list(views().items())
            for first in range(0, len(shown), _PARTICIPANTS_AT_ONCE):
                self.look(dict(shown[first : first + _PARTICIPANTS_AT_ONCE]), now())
                await asyncio.sleep(0)
            await asyncio.sleep(LOOK_SECONDS)

    async def recall(self, views: Callable[[], Mapping[Ispb, View]], past: Past, now: Callable[[], datetime]) -> None:
        """Reads each participant's past once it is shown, one after another. Ends by cancellation.

        A participant that is gone for a while (another process polled meanwhile) is read again.
        """
        while True:
            shown = views()
            self._recalled &= shown.keys()
            try:
                for participant in sorted(shown.keys() - self._recalled):
                    self._advance(_step_of(now()))
                    oldest = datetime.fromtimestamp((self._step - STEPS + 1) * STEP_SECONDS, UTC)
                    found = await past(participant, oldest, timedelta(seconds=STEP_SECONDS))
                    for policy, by_step in found.items():
                        for at, percent in by_step.items():
                            self._note(participant, policy, _step_of(at), percent)
                    self._recalled.add(participant)
                    # Commits come first.
                    await asyncio.sleep(_PAUSE_SECONDS)
            except StoreError as error:
                # Of a database that is away the whole process speaks in one line.
                is_away = isinstance(error, DatabaseUnavailable) and error.is_away
                level = logging.DEBUG if is_away else logging.WARNING
                log.log(level, "the last hours are not on the status page: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(RECALL_SECONDS)

    def _note(self, participant: Ispb, policy: PolicyName, step: int, percent: float) -> None:
        if not self._step - STEPS < step <= self._step:
            return
        kept = self._seen.setdefault(participant, {}).setdefault(policy, bytearray([_UNKNOWN]) * STEPS)
        value = round(percent * _UNITS_PER_PERCENT)
        if kept[step % STEPS] == _UNKNOWN or value > kept[step % STEPS]:
            kept[step % STEPS] = value

    def _advance(self, step: int) -> None:
        if step <= self._step:
            return
        passed = [at % STEPS for at in range(max(self._step + 1, step - STEPS + 1), step + 1)]
        for participant, seen in list(self._seen.items()):
            for policy, kept in list(seen.items()):
                for index in passed:
                    kept[index] = _UNKNOWN
                if kept.count(_UNKNOWN) == STEPS:
                    del seen[policy]
            if not seen:
                del self._seen[participant]
        self._step = step


def _step_of(at: datetime) -> int:
    return int(at.timestamp()) // STEP_SECONDS
