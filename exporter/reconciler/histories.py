"""What rules look back at, of each participant: kept in memory, and read back from the database.

Read back it is before the first poll after a start or a takeover, and where other rules look further back: so none of
them changes a verdict. Of alerts the database has no samples: they come from the polls, by the rules in force.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from exporter.alerts.alert import Alert, Rule
from exporter.alerts.history import History
from exporter.alerts.lifecycle import lookback_ms
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Poll, View, view_after
from exporter.config.settings import Settings
from exporter.history.episodes import firing_at
from exporter.history.replay import Replay, lookback, warm_up
from exporter.reconciler.decide import ParticipantState
from exporter.reconciler.turns import give_way
from exporter.store.writer import Writer

log = logging.getLogger(__name__)

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Histories:
    """The histories by participant: those of a batch of polls are made ready before it is evaluated."""

    def __init__(self, writer: Writer, settings: Settings) -> None:
        self._writer = writer
        self._staleness = timedelta(seconds=settings.poll.staleness)
        self._kept_ms: Mapping[str, int] = {}
        self._rules: Sequence[Rule] | None = None
        self._by_participant: dict[Ispb, History] = {}

    def of(self, participant: Ispb) -> History | None:
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
            history = History(self._kept_ms)
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

    async def _read_back(self, history: History, before: Poll, now: datetime, *, is_ahead: bool) -> int:
        """Returns how many polls there are to look back at; of none later than now, where the last one ``is_ahead``.

        What is shown at the beginning may have been confirmed before, at most as long ago as figures are shown.
        """
        rules = self._rules or ()
        evaluate_from = min(before.polled_at, now)
        alerts: Iterable[Alert] = ()
        if history.written.kept_ms:
            evaluate_from -= warm_up([rules])
            alerts = firing_at(await self._writer.alerts(before.participant, evaluate_from), evaluate_from)
        replay = Replay(rules, tuple(alerts))
        replay.history = history
        since = evaluate_from - lookback([rules]) - self._staleness
        polls = 0
        view: View | None = None
        async for poll in self._writer.polls(before.participant, since, now if is_ahead else None):
            polls += 1
            view = view_after(view, poll)
            began_at = time.monotonic()
            replay.follow(view, evaluate_from if history.written.kept_ms else _NEVER)
            await give_way(polls, began_at)
        return polls
