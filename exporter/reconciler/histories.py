"""What rules look back at, of each participant: kept in memory, and read back from the database.

Read back it is at a start, at a takeover, and where other rules look further back: so none of them changes a verdict.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from exporter.alerts.alert import Rule
from exporter.alerts.lifecycle import lookback_ms
from exporter.buckets.bucket import Ispb
from exporter.buckets.gauge_history import GaugeHistory
from exporter.buckets.observation import View, view_after
from exporter.config.settings import Settings
from exporter.reconciler.decide import ParticipantState
from exporter.store.writer import Writer

log = logging.getLogger(__name__)

_TELL_EVERY_SECONDS: Final = 10.0


class Histories:
    """The histories by participant. ``prepare`` makes them what rules need; until then there are none."""

    def __init__(self, writer: Writer, settings: Settings) -> None:
        self._writer = writer
        self._staleness = timedelta(seconds=settings.poll.staleness)
        self._kept_ms: Mapping[str, int] = {}
        self._rules: Sequence[Rule] | None = None
        self._by_participant: dict[Ispb, GaugeHistory] = {}

    def of(self, participant: Ispb) -> GaugeHistory | None:
        """Returns a participant's history, new where there is none; None where no rule looks back."""
        if not self._kept_ms:
            return None
        history = self._by_participant.get(participant)
        if history is None:
            history = self._by_participant[participant] = GaugeHistory(self._kept_ms)
        return history

    def remove(self, participant: Ispb) -> None:
        self._by_participant.pop(participant, None)

    def clear(self) -> None:
        """Drops all histories; they are to be prepared again."""
        self._by_participant, self._rules, self._kept_ms = {}, None, {}

    async def prepare(
        self, rules: Sequence[Rule], participants: Mapping[Ispb, ParticipantState], now: datetime
    ) -> None:
        """Reads back what the rules look back at and is not kept, as of each participant's last poll.

        Polls that come next may be of long ago: exporters keep what was not followed. Raises DatabaseUnusable.
        """
        if rules is self._rules:
            return
        needed_ms = lookback_ms(rules)
        if all(self._kept_ms.get(gauge, 0) >= ms for gauge, ms in needed_ms.items()):
            for history in self._by_participant.values():
                history.keep(needed_ms)
        else:
            self._by_participant = await self._read_back(
                needed_ms, {p: state.polled_at or now for p, state in participants.items()}
            )
        self._kept_ms, self._rules = needed_ms, rules

    async def _read_back(
        self, kept_ms: Mapping[str, int], polled_at: Mapping[Ispb, datetime]
    ) -> dict[Ispb, GaugeHistory]:
        longest = timedelta(milliseconds=max(kept_ms.values()))
        began_at = told_at = time.monotonic()
        histories: dict[Ispb, GaugeHistory] = {}
        polls = 0
        for participant, last in polled_at.items():
            history = histories[participant] = GaugeHistory(kept_ms)
            view: View | None = None
            since = last - longest - self._staleness  # what is shown at first may have been confirmed that long before
            async for poll in self._writer.polls(participant, since):
                view = view_after(view, poll)
                if not view.is_partial:
                    history.add(view)
            polls += len(history)
            if time.monotonic() - told_at >= _TELL_EVERY_SECONDS:
                told_at = time.monotonic()
                log.info("reading history back", extra={"participants": len(histories), "of": len(polled_at)})
        seconds = round(time.monotonic() - began_at, 1)
        fields = {"participants": len(histories), "polls": polls, "range_seconds": longest.total_seconds()}
        log.info("history read back", extra={**fields, "seconds": seconds})
        return histories
