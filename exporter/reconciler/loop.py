"""Takes each poll through the rules and into the database, in order, once.

Decided first, then done: `decide` is pure; what it decided counts only when it is committed. Memory is a cache: after
any failure whose outcome is not known it is read again from the database, and what had been committed is skipped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from exporter import telemetry
from exporter.alerts.alert import Alert, RecordedValues
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category, Poll, View
from exporter.clock import Clock
from exporter.config.settings import Settings
from exporter.errors import DatabaseUnusable
from exporter.feed.inbox import Inbox
from exporter.metrics import Metrics
from exporter.reconciler.alert_log import log_transition
from exporter.reconciler.decide import ParticipantState, decide, not_ahead, removal
from exporter.reconciler.feeds import Feeds
from exporter.reconciler.finishing import finish
from exporter.reconciler.histories import Histories
from exporter.reconciler.rule_health import RuleHealthTracker
from exporter.reconciler.rules_in_force import RulesInForce
from exporter.reconciler.turns import give_way
from exporter.rules.rule import AnyCompiledRule
from exporter.store.lease import Fence
from exporter.store.reconciliation import Reconciliation
from exporter.store.writer import LastPoll, Writer

log = logging.getLogger(__name__)

BATCH_POLLS = 64
"""At most this many polls share a commit."""
COMMIT_EVERY_SECONDS = 0.05
"""A commit begins no sooner after the last one began, so that polls of many participants share it."""


class LoopObserver(Protocol):
    """Hears what the loop did, after it happened."""

    def on_transitions_committed(self) -> None: ...

    def on_database_unusable(self, error: DatabaseUnusable) -> None:
        """Polls wait in the inbox."""


class ReconcileLoop:
    """Reconciles the inbox's polls while this process leads.

    A poll further ahead of the database's clock than ``poll.max_clock_skew`` takes that clock's time.
    """

    def __init__(
        self,
        inbox: Inbox,
        writer: Writer,
        *,
        feeds: Feeds,
        rules: RulesInForce,
        observer: LoopObserver,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.health = RuleHealthTracker(metrics.rules)
        self.clock = Clock()
        """Never behind the last poll in the database."""
        self._inbox = inbox
        self._writer = writer
        self._feeds = feeds
        self._rules = rules
        self._observer = observer
        self._metrics = metrics
        self.histories = Histories(writer, settings)
        self._configured = frozenset(map(Ispb, settings.participants))
        self._tolerated = timedelta(seconds=settings.poll.max_clock_skew)
        self._reminder = telemetry.Reminder()
        self._participants: dict[Ispb, ParticipantState] = {}
        self._last_polls: Mapping[Ispb, LastPoll] = {}
        self._commit_at = 0.0
        self._last_polls_read = asyncio.Event()

    @property
    def views(self) -> dict[Ispb, View]:
        return {name: state.view for name, state in self._participants.items() if state.view is not None}

    @property
    def open_alerts(self) -> list[Alert]:
        return [alert for state in self._participants.values() for alert in state.alerts.values()]

    def now(self) -> datetime:
        return self.clock.now()

    def reset(self) -> None:
        """Drops what is known: another reconciler goes on with it."""
        self._participants = {}
        self.histories.clear()
        self._last_polls_read.clear()
        self.health.reset()
        self._metrics.recorded.clear()
        self._metrics.reconciler.last_evaluation_timestamp_seconds.clear()

    async def resume_after(self, stream_id: str, participants: Collection[str]) -> int:
        """Returns the poll of a stream after which ``participants`` are to be followed; 0: from its beginning.

        What follows was not reconciled, or can still be seen: views are not in
        the database. Waits until the database was read.
        """
        known = await self.last_polls()
        last_polls = [known.get(Ispb(participant)) for participant in participants]
        stale = (last.stale_sequence if last and last.stream_id == stream_id else 0 for last in last_polls)
        return min(stale, default=0)

    async def last_polls(self) -> Mapping[Ispb, LastPoll]:
        """Returns where the database stood when this process began to lead; waits for that."""
        await self._last_polls_read.wait()
        return self._last_polls

    async def run(self, fence: Fence) -> None:
        """Reconciles until cancelled. Raises LeaseLost."""
        self._last_polls_read.clear()
        is_restored = False
        while True:
            try:
                if not is_restored:
                    await self._restore(fence)
                    is_restored = True
                if not len(self._inbox):  # what is there may be of the time before
                    await self._remove_participants(fence)
                await self._inbox.take(1)
                await finish(self._reconcile_next(fence))
            except DatabaseUnusable as error:
                # Whether the last commit took place is not known: the database is asked.
                is_restored = False
                self._observer.on_database_unusable(error)
                await asyncio.sleep(1)

    async def _restore(self, fence: Fence) -> None:
        restored = await self._writer.restore()
        latest = fence.now() + self._tolerated
        polled_at = {p: last.polled_at for p, last in restored.last_polls.items() if last.polled_at <= latest}
        for participant in restored.last_polls.keys() - polled_at.keys():
            ahead = restored.last_polls[participant].polled_at
            log.warning(
                "last poll in the database is ahead of the database's clock, rules are evaluated all the same",
                extra={"participant": participant, "polled_at": ahead.isoformat()},
            )
        views = self.views
        self._participants = {}
        for participant in restored.alerts.keys() | restored.last_polls.keys():
            last = restored.last_polls.get(participant)
            self._participants[participant] = ParticipantState(
                view=views.get(participant),
                alerts=restored.alerts.get(participant, {}),
                polled_at=polled_at.get(participant),
                stream_id=last.stream_id if last else "",
                sequence=last.sequence if last else 0,
                category=last.category if last else None,
            )
        self._last_polls = restored.last_polls
        is_first = not self._last_polls_read.is_set()
        self._last_polls_read.set()
        if polled_at:
            self.clock.advance_to(max(polled_at.values()))
        self._feeds.report_restored(restored.last_polls)
        fields = {"participants": len(self._participants), "open_alerts": len(self.open_alerts)}
        log.log(logging.INFO if is_first else logging.DEBUG, "state restored", extra=fields)

    async def _remove_participants(self, fence: Fence) -> None:
        """Resolves the alerts of participants that the configuration (ours, or the exporters') no longer names."""
        kept = self._configured or self._feeds.participants
        if not kept:
            return
        for participant in sorted(self._participants.keys() - kept):
            state = self._participants.pop(participant)
            self.histories.discard([participant])
            self._metrics.remove(participant)
            if state.alerts:
                resolved = removal(participant, state, fence.now())
                await self._writer.commit([resolved], fence)
                self._publish([resolved])
                self._metrics.remove(participant)

    async def _reconcile_next(self, fence: Fence) -> None:
        """Reconciles what waits, and what comes until the next commit may begin."""
        if len(self._inbox) < BATCH_POLLS:
            await asyncio.sleep(self._commit_at - time.monotonic())
        self._commit_at = time.monotonic() + COMMIT_EVERY_SECONDS
        polls = await self._inbox.take(BATCH_POLLS)
        rules = self._rules.rules
        await self.histories.prepare(rules, polls, self._participants, fence.now())
        try:
            await self._reconcile(polls, rules, fence)
        except DatabaseUnusable:
            self.histories.discard(poll.participant for poll in polls)  # what was committed is not known
            raise
        self._inbox.done(polls)

    async def _reconcile(self, polls: list[Poll], rules: Sequence[AnyCompiledRule], fence: Fence) -> None:
        after: dict[Ispb, ParticipantState] = {}
        decided: list[Reconciliation] = []
        categories: dict[Ispb, Category] = {}
        seconds = 0.0
        for position, poll in enumerate(polls, 1):
            began_at = time.monotonic()
            state = after.get(poll.participant) or self._participants.get(poll.participant) or ParticipantState()
            poll = self._not_ahead(poll, state, fence)  # noqa: PLW2901
            with telemetry.carrying(poll.traceparent), telemetry.span("evaluate", participant=poll.participant):
                history = self.histories.of(poll.participant)
                after[poll.participant], reconciliation = decide(state, poll, rules, history)
            seconds += time.monotonic() - began_at
            await give_way(position, began_at)
            if reconciliation is not None:
                decided.append(reconciliation)
                category = reconciliation.poll.category
                if category is not None and category != poll.category:
                    # The exporter has started since, and does not know all of it.
                    categories[poll.participant] = category
                    if state.category is not None and category.name != state.category.name:
                        fields = {"participant": poll.participant, "previous": category.previous}
                        log.warning("category changed", extra={**fields, "category": category.name})
        refused: set[int] = set()
        if decided:
            self._metrics.reconciler.evaluate_duration.observe(seconds / len(decided))
            views = [state.view for state in after.values() if state.view is not None]
            self.health.note(rules, decided, views, seconds / len(decided))
            refused = await self._commit(decided, fence)
        self._participants |= after
        self._publish([r for r in decided if id(r) not in refused], categories)
        if refused:
            # What the refused polls decided did not happen: go on from what was committed.
            self.histories.discard(after)
            await self._restore(fence)

    async def _commit(self, decided: Sequence[Reconciliation], fence: Fence) -> set[int]:
        """Returns the ids of reconciliations that the database refused."""
        began_at = time.monotonic()
        trace = telemetry.carrying(decided[0].poll.traceparent)
        with trace, telemetry.span("persist", "client", polls=len(decided)):
            refused = await self._writer.commit(decided, fence)
        self._metrics.reconciler.persist_duration.observe(time.monotonic() - began_at)
        for _, error in refused:
            self._metrics.feed.dropped.labels("refused").inc()
            log.error("poll refused by the database", extra={"error": str(error)})
        return {id(reconciliation) for reconciliation, _ in refused}

    def _not_ahead(self, poll: Poll, state: ParticipantState, fence: Fence) -> Poll:
        adjusted = not_ahead(poll, fence.now(), self._tolerated, state.polled_at)
        if adjusted is not poll:
            self._metrics.reconciler.polls_ahead.labels(poll.participant).inc()
            if self._reminder.is_due("ahead"):
                log.error(
                    "polls are ahead of the database's clock, and take its time: set the clock of the exporter",
                    extra={"participant": poll.participant, "polled_at": poll.polled_at.isoformat()},
                )
        return adjusted

    def _publish(self, committed: Sequence[Reconciliation], categories: Mapping[Ispb, Category] | None = None) -> None:
        """Counts, logs and reports what was committed."""
        metrics = self._metrics.reconciler
        recorded: dict[Ispb, RecordedValues] = {}
        for reconciliation in committed:
            poll = reconciliation.poll
            with telemetry.carrying(poll.traceparent):
                for transition in reconciliation.transitions:
                    alert = transition.alert
                    self._metrics.count_transition(alert.participant, alert.policy, alert.severity, alert.state)
                    log_transition(transition, poll)
            for failure in reconciliation.failures:
                self._metrics.rules.evaluation_failures.labels(failure.group).inc()
            if reconciliation.evaluated:
                recorded[poll.participant] = reconciliation.recorded
                metrics.last_evaluation_timestamp_seconds.labels(poll.participant).set(poll.polled_at.timestamp())
            elif not poll.is_read:
                metrics.polls_late.labels(poll.participant).inc()
        for participant, values in recorded.items():
            self._metrics.recorded.publish(participant, values)
        if any(reconciliation.transitions for reconciliation in committed):
            self._observer.on_transitions_committed()
        self._feeds.report_committed(committed, categories)
