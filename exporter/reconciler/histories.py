"""What rules look back at, of each participant: kept in memory, and read back from the database.

Read back it is before the first poll after a start or a takeover, and where other rules look further back: so none of
them changes a verdict.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from exporter.alerts.alert import Rule
from exporter.alerts.lifecycle import lookback_ms
from exporter.buckets.bucket import Ispb
from exporter.buckets.gauge_history import GaugeHistory
from exporter.buckets.observation import View, view_after
from exporter.config.settings import Settings
from exporter.reconciler.decide import ParticipantState
from exporter.store.writer import Writer

log = logging.getLogger(__name__)


class Histories:
    """The histories by participant: those of a batch of polls are made ready before it is evaluated."""

    def __init__(self, writer: Writer, settings: Settings) -> None:
        self._writer = writer
        self._staleness = timedelta(seconds=settings.poll.staleness)
        self._kept_ms: Mapping[str, int] = {}
        self._rules: Sequence[Rule] | None = None
        self._by_participant: dict[Ispb, GaugeHistory] = {}

    def of(self, participant: Ispb) -> GaugeHistory | None:
        """Returns a participant's history; None where no rule looks back, or it is not ready."""
        return self._by_participant.get(participant)

    def discard(self, participants: Iterable[Ispb]) -> None:
        """Drops histories that may hold what was not committed: they are read back before the next poll."""
        for participant in participants:
            self._by_participant.pop(participant, None)

    def clear(self) -> None:
        self._by_participant.clear()

    async def prepare(
        self, rules: Sequence[Rule], participants: Mapping[Ispb, ParticipantState | None], now: datetime
    ) -> None:
        """Makes the histories of these participants ready; of those not known before (None) they begin now.

        Each is read back as of the participant's last poll: those that come next may be of long ago, since exporters
        keep what was not followed. Raises DatabaseUnusable.
        """
        if rules is not self._rules:
            self._follow(rules)
        if not self._kept_ms:
            return
        missing = [participant for participant in participants if participant not in self._by_participant]
        began_at, polls, read = time.monotonic(), 0, 0
        for participant in missing:
            state, history = participants[participant], GaugeHistory(self._kept_ms)
            if state is not None:
                polls += await self._read_back(participant, history, state.polled_at, now)
                read += 1
            self._by_participant[participant] = history
        if read:
            seconds = round(time.monotonic() - began_at, 3)
            log.info("history read back", extra={"participants": read, "polls": polls, "seconds": seconds})

    def _follow(self, rules: Sequence[Rule]) -> None:
        """Keeps what other rules look back at; where that is more, it is all read back."""
        needed_ms = lookback_ms(rules)
        if all(self._kept_ms.get(gauge, 0) >= ms for gauge, ms in needed_ms.items()) and needed_ms:
            for history in self._by_participant.values():
                history.keep(needed_ms)
        else:
            self._by_participant = {}
        self._kept_ms, self._rules = needed_ms, rules

    async def _read_back(
        self, participant: Ispb, history: GaugeHistory, polled_at: datetime | None, now: datetime
    ) -> int:
        """Returns the number of polls. ``polled_at`` None: the last one is ahead of the clock, and counts for nothing.

        What is shown at the beginning may have been confirmed before, at most as long ago as figures are shown.
        """
        until = now if polled_at is None else None
        since = (polled_at or now) - timedelta(milliseconds=max(self._kept_ms.values())) - self._staleness
        polls = 0
        view: View | None = None
        async for poll in self._writer.polls(participant, since, until):
            polls += 1
            view = view_after(view, poll)
            if not view.is_partial:
                history.add(view)
        return polls
