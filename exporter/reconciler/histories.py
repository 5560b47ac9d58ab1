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

from exporter.alerts.alert import Alert
from exporter.alerts.history import History, of_written
from exporter.alerts.lifecycle import lookback_ms
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Poll, View, view_after
from exporter.config.settings import Settings
from exporter.history.episodes import firing_at
from exporter.history.lookback import lookback, warm_up
from exporter.history.replay import Replay
from exporter.history.rule_dependencies import with_dependencies, written_names
from exporter.reconciler.decide import ParticipantState
from exporter.reconciler.turns import give_way
from exporter.rules.rule import AnyCompiledRule
from exporter.store.writer import Writer

log = logging.getLogger(__name__)

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Histories:
    """The histories by participant: those of a batch of polls are made ready before it is evaluated.

    Where rules look back at what rules wrote, those that write it, and all that these depend on, are evaluated again.
    """

    def __init__(self, writer: Writer, settings: Settings) -> None:
        self._writer = writer
        self._staleness = timedelta(seconds=settings.poll.staleness)
        self._kept_ms: Mapping[str, int] = {}
        self._rules: Sequence[AnyCompiledRule] | None = None
        self._writing: Sequence[AnyCompiledRule] = ()
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
        self,
        rules: Sequence[AnyCompiledRule],
        polls: Iterable[Poll],
        states: Mapping[Ispb, ParticipantState],
        now: datetime,
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

    def _follow(self, rules: Sequence[AnyCompiledRule]) -> None:
        """Keeps what other rules look back at; where that is more, it is all read back."""
        needed_ms = lookback_ms(rules)
        if all(self._kept_ms.get(gauge, 0) >= ms for gauge, ms in needed_ms.items()) and needed_ms:
            for history in self._by_participant.values():
                history.keep(needed_ms)
        else:
            self._by_participant = {}
        self._kept_ms, self._rules = needed_ms, rules
        kept = of_written(needed_ms).keys()
        writing = [rule for rule in rules if not kept.isdisjoint(written_names(rule))]
        self._writing = with_dependencies(writing, rules)

    async def _read_back(self, history: History, before: Poll, now: datetime, *, is_ahead: bool) -> int:
        """Returns how many polls there are to look back at; of none later than now, where the last one ``is_ahead``.

        What is shown at the beginning may have been confirmed before, at most as long ago as figures are shown.
        """
        end = min(before.polled_at, now)
        since = end - lookback([self._rules or ()])
        evaluate_from, alerts = _NEVER, list[Alert]()
        if self._writing:
            written = timedelta(milliseconds=max(history.written.kept_ms.values()))
            evaluate_from = end - written - warm_up([self._writing])
            since = min(since, evaluate_from - lookback([self._writing]))
            alerts += firing_at(await self._writer.alerts(before.participant, evaluate_from), evaluate_from)
        replay = Replay(self._writing, alerts, is_stored=True)
        replay.history = history
        since -= self._staleness
        polls = 0
        view: View | None = None
        async for poll in self._writer.polls(before.participant, since, now if is_ahead else None):
            polls += 1
            view = view_after(view, poll)
            began_at = time.monotonic()
            replay.follow(view, evaluate_from)
            await give_way(polls, began_at)
        return polls
