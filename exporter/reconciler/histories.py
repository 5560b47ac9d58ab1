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
from exporter.buckets.observation import Poll, View, view_after
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
        self, rules: Sequence[Rule], polls: Iterable[Poll], states: Mapping[Ispb, ParticipantState], now: datetime
    ) -> None:
        """Makes the histories of the polls' participants ready, each as of its first one of these polls.

        That may be of long ago, since exporters keep what was not followed. Raises DatabaseUnusable.
        """
        if rules is not self._rules:
            self._follow(rules)
        if not self._kept_ms:
            return
        began_at, participants, read = time.monotonic(), 0, 0
        for poll in polls:
            if poll.participant in self._by_participant:
                continue
            history = GaugeHistory(self._kept_ms)
            state = states.get(poll.participant)
            is_ahead = state is not None and state.polled_at is None
            read += await self._read_back(history, poll, now, is_ahead=is_ahead)
            self._by_participant[poll.participant] = history
            participants += 1
        if participants:
            seconds = round(time.monotonic() - began_at, 3)
            log.info("history read back", extra={"participants": participants, "polls": read, "seconds": seconds})

    def _follow(self, rules: Sequence[Rule]) -> None:
        """Keeps what other rules look back at; where that is more, it is all read back."""
        needed_ms = lookback_ms(rules)
        if all(self._kept_ms.get(gauge, 0) >= ms for gauge, ms in needed_ms.items()) and needed_ms:
            for history in self._by_participant.values():
                history.keep(needed_ms)
        else:
            self._by_participant = {}
        self._kept_ms, self._rules = needed_ms, rules

    async def _read_back(self, history: GaugeHistory, before: Poll, now: datetime, *, is_ahead: bool) -> int:
        """Returns how many polls there are to look back at; of none later than now, where the last one ``is_ahead``.

        What is shown at the beginning may have been confirmed before, at most as long ago as figures are shown.
        """
        since = min(before.polled_at, now) - timedelta(milliseconds=max(self._kept_ms.values())) - self._staleness
        polls = 0
        view: View | None = None
        async for poll in self._writer.polls(before.participant, since, now if is_ahead else None):
            polls += 1
            view = view_after(view, poll)
            if not view.is_partial:
                history.add(view)
        return polls
