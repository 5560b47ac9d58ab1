"""Takes each poll through the rules and into the database, in order, once.

Decided first, then done: `decide` is pure; what it decided counts only when it
is committed. Memory is a cache: after any failure whose outcome is not known it
is read again from the database, and what had been committed is passed over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from exporter import telemetry
from exporter.alerts.alert import AlertState, Severity
from exporter.alerts.lifecycle import remove_participant
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import PARTICIPANT_REMOVED, Category, Failure, Poll, View
from exporter.errors import DatabaseUnavailable, DatabaseUnusable, PartitionMissing
from exporter.feed.inbox import Report
from exporter.reconciler.decide import Followed, decide, not_ahead
from exporter.store.reconciliation import Reconciliation

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
    from datetime import datetime

    from exporter.alerts.alert import Alert, Rule, RuleFailure, Transition
    from exporter.feed.inbox import Inbox
    from exporter.metrics import Metrics
    from exporter.store.lease import Fence
    from exporter.store.writer import LastPoll, Restored, Writer

log = logging.getLogger(__name__)
alert_log = logging.getLogger("exporter.alerts")
"""What alerts do, apart from what this program does: whoever shows them otherwise can leave it out."""

BATCH_POLLS = 32
"""At most so many polls share a commit."""

FINISH_SECONDS = 2.0
"""How long a commit in hand may still take when the process is asked to end."""


class Reports(Protocol):
    """Whoever wants to hear what was committed. Sequences are told of the stream ``stream_id`` only."""

    @property
    def stream_id(self) -> str: ...
    def report(self, report: Report) -> None: ...
    def carries(self, participant: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class RuleHealth:
    """How a rule last went: ``error`` is None where it went well."""

    evaluated_at: datetime
    duration_seconds: float
    error: str | None


class Reconciler:
    """Reconciles polls while this process leads.

    ``rules`` returns the rules in force; ``participants`` those configured (none
    of them: all that the feeds carry, which ``carried`` returns where all are
    known); ``go_on_from`` is told of the last poll in
    the database, before which no new one may be; ``wake`` is called when there
    is something to relay, ``partition_missing`` when polls wait for a partition.
    A poll further ahead of the database's clock than ``max_clock_skew_seconds``
    takes its time.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        inbox: Inbox,
        metrics: Metrics,
        rules: Callable[[], Sequence[Rule]],
        participants: Collection[Ispb],
        max_clock_skew_seconds: float,
        wake: Callable[[], None],
        listeners: Sequence[Reports] = (),
        go_on_from: Callable[[datetime], None] = lambda _: None,
        carried: Callable[[], Collection[str]] = tuple,
        partition_missing: Callable[[], None] = lambda: None,
        outage: telemetry.Outage | None = None,
    ) -> None:
        self._writer = writer
        self._inbox = inbox
        self._metrics = metrics
        self._rules = rules
        self._participants = frozenset(participants)
        self._tolerated = timedelta(seconds=max_clock_skew_seconds)
        self._wake = wake
        self._listeners = listeners
        self._go_on_from = go_on_from
        self._carried = carried
        self._partition_missing = partition_missing
        self._reminder = telemetry.Reminder()
        self._outage = outage or telemetry.Outage("database")
        self._followed: dict[Ispb, Followed] = {}
        self._last_polls: Mapping[Ispb, LastPoll] = {}
        self._standing_known = asyncio.Event()
        self._restored = False
        self._failing: dict[tuple[str, str], dict[Ispb, str]] = {}
        self._evaluated: dict[tuple[str, str], tuple[datetime, float]] = {}
        self._looked_for: Sequence[Rule] = ()
        self._without_series: list[Rule] = []

    @property
    def views(self) -> dict[Ispb, View]:
        return {p: f.view for p, f in self._followed.items() if f.view is not None}

    @property
    def open_alerts(self) -> list[Alert]:
        return [alert for f in self._followed.values() for alert in f.alerts.values()]

    def health(self, group: str, name: str) -> RuleHealth | None:
        """Returns how a rule last went; None: never evaluated."""
        evaluated = self._evaluated.get((group, name))
        if evaluated is None:
            return None
        errors = self._failing.get((group, name), {})
        return RuleHealth(*evaluated, error=next(iter(errors.values()), None))

    def had_series(self, rule: Rule) -> bool:
        """Returns whether anyone has had a series for the rule to look at since it was loaded."""
        return all(other is not rule for other in self._without_series)

    def forget(self) -> None:
        """Shows nothing of what was known: another reconciler goes on with it."""
        self._followed = {}
        self._failing, self._evaluated = {}, {}
        self._standing_known.clear()
        self._metrics.last_evaluation_timestamp_seconds.clear()

    async def begins_after(self, stream_id: str, participants: Collection[str]) -> int:
        """Returns the poll of a stream after which ``participants`` are to be followed; 0: from its beginning.

        What follows was not reconciled, or can still be seen: views are not in
        the database. Waits for what the database knows.
        """
        last_polls = await self.last_polls()
        known = [last_polls.get(Ispb(participant)) for participant in participants]
        return min((last.stale_sequence if last and last.stream_id == stream_id else 0 for last in known), default=0)

    async def last_polls(self) -> Mapping[Ispb, LastPoll]:
        """Returns where the database stood when this process began to lead; waits for that."""
        await self._standing_known.wait()
        return self._last_polls

    async def run(self, fence: Fence) -> None:
        """Reconciles until cancelled. Raises LeaseLost."""
        self._standing_known.clear()
        self._restored = False
        while True:
            try:
                if not self._restored:
                    self._restored = True
                    await self._restore(fence)
                if not len(self._inbox):  # what is there may be of the time before
                    await self._remove_participants(fence)
                polls = await self._inbox.take(BATCH_POLLS)
                await _finished(self._reconcile(polls, fence))
                self._inbox.done(polls)
            except DatabaseUnusable as error:
                # Whether the last commit took place is not known: the database tells.
                self._restored = False
                if isinstance(error, DatabaseUnavailable) and error.is_away:
                    self._outage.noticed(error)
                elif self._reminder.is_due(str(error)):
                    log.warning("polls wait for the database: %s", error, extra={"waiting": len(self._inbox)})
                if isinstance(error, PartitionMissing):
                    self._partition_missing()
                await asyncio.sleep(1)

    async def _restore(self, fence: Fence) -> None:
        restored: Restored = await self._writer.restore()
        views = {p: f.view for p, f in self._followed.items()}
        participants = restored.alerts.keys() | restored.last_polls.keys()
        latest = fence.now() + self._tolerated
        polled = {p: last.polled_at for p, last in restored.last_polls.items() if last.polled_at <= latest}
        for participant in restored.last_polls.keys() - polled.keys():
            log.warning(
                "the last poll in the database lies ahead of the database's clock: rules go on all the same",
                extra={
                    "participant": participant,
                    "polled_at": restored.last_polls[participant].polled_at.isoformat(),
                },
            )
        self._followed = {}
        for participant in participants:
            last = restored.last_polls.get(participant)
            self._followed[participant] = Followed(
                view=views.get(participant),
                alerts=restored.alerts.get(participant, {}),
                polled_at=polled.get(participant),
                stream_id=last.stream_id if last else "",
                sequence=last.sequence if last else 0,
                category=last.category if last else None,
            )
        self._last_polls = restored.last_polls
        is_first = not self._standing_known.is_set()
        self._standing_known.set()
        if polled:
            self._go_on_from(max(polled.values()))
        for listener in self._listeners:
            known = {
                participant: last.category
                for participant, last in restored.last_polls.items()
                if last.category is not None and listener.carries(participant)
            }
            if known:
                listener.report(Report(categories=known))
        fields = {"participants": len(participants), "open_alerts": len(self.open_alerts)}
        log.log(logging.INFO if is_first else logging.DEBUG, "state restored", extra=fields)

    async def _remove_participants(self, fence: Fence) -> None:
        """Resolves the alerts of participants that the configuration (ours, or the exporters') no longer names."""
        kept = self._participants or self._carried()
        if not kept:
            return
        for participant in sorted(self._followed.keys() - kept):
            followed = self._followed.pop(participant)
            self._metrics.drop(participant)
            if not followed.alerts:
                continue
            at = fence.now()
            if followed.polled_at is not None:
                # Another host's clock may have been ahead of ours.
                at = max(at, followed.polled_at + timedelta(microseconds=1))
            poll = Poll(
                stream_id=followed.stream_id,
                sequence=0,
                participant=participant,
                polled_at=at,
                interval_seconds=0.0,
                staleness_seconds=0.0,
                result=Failure(PARTICIPANT_REMOVED, "the configuration no longer names this participant"),
                category=followed.category,
            )
            gone = Reconciliation(
                poll,
                evaluated=True,
                alerts_before=followed.alerts,
                alerts_after={},
                transitions=remove_participant(followed.alerts, at),
            )
            await self._writer.commit([gone], fence)
            self._committed([gone])
            self._metrics.drop(participant)
            self._metrics.last_evaluation_timestamp_seconds.remove(participant)

    async def _reconcile(self, polls: list[Poll], fence: Fence) -> None:
        rules = self._rules()
        after: dict[Ispb, Followed] = {}
        decided: list[Reconciliation] = []
        categories: dict[Ispb, Category] = {}
        started = time.monotonic()
        for poll in polls:
            followed = after.get(poll.participant) or self._followed.get(poll.participant) or Followed()
            poll = self._in_time(poll, followed, fence)  # noqa: PLW2901
            with telemetry.carrying(poll.traceparent), telemetry.span("evaluate", participant=poll.participant):
                after[poll.participant], reconciliation = decide(followed, poll, rules)
            if reconciliation is not None:
                decided.append(reconciliation)
                categories |= self._unknown_to_the_exporter(followed, poll, reconciliation)
        evaluated_in_seconds = time.monotonic() - started
        lost: set[int] = set()
        if decided:
            self._metrics.monitoring_duration.labels("evaluate").observe(evaluated_in_seconds / len(decided))
            self._note_health(decided, rules, evaluated_in_seconds / len(decided))
            self._note_series([followed.view for followed in after.values() if followed.view is not None], rules)
            started = time.monotonic()
            with ExitStack() as spans:
                spans.enter_context(telemetry.carrying(decided[0].poll.traceparent))
                spans.enter_context(telemetry.span("persist", "client", polls=len(decided)))
                refused = await self._writer.commit(decided, fence)
            self._metrics.monitoring_duration.labels("persist").observe(time.monotonic() - started)
            for _, error in refused:
                self._metrics.snapshots_dropped.labels("refused").inc()
                log.error("a poll was refused by the database: %s", error)
            lost = {id(reconciliation) for reconciliation, _ in refused}
            decided = [r for r in decided if id(r) not in lost]
        self._followed |= after
        self._committed(decided, categories)
        if lost:
            # What the refused polls decided did not happen: go on from what was committed.
            await self._restore(fence)

    def _unknown_to_the_exporter(
        self, followed: Followed, poll: Poll, reconciliation: Reconciliation
    ) -> dict[Ispb, Category]:
        """Returns what it is to be told of the participant's category: it has started since."""
        known = reconciliation.poll.category
        if known is None or known == poll.category:
            return {}
        if followed.category is not None and known.name != followed.category.name:
            log.warning(
                "category changed from %s to %s", known.previous, known.name, extra={"participant": poll.participant}
            )
        return {poll.participant: known}

    def _in_time(self, poll: Poll, followed: Followed, fence: Fence) -> Poll:
        made = not_ahead(poll, fence.now(), self._tolerated, followed.polled_at)
        if made is not poll:
            self._metrics.polls_ahead.labels(poll.participant).inc()
            if self._reminder.is_due("ahead"):
                log.error(
                    "polls lie ahead of the database's clock, and take its time: set the clock of who polls",
                    extra={"participant": poll.participant, "polled_at": poll.polled_at.isoformat()},
                )
        return made

    def _committed(self, decided: Sequence[Reconciliation], categories: Mapping[Ispb, Category] | None = None) -> None:
        transitions = [t for r in decided for t in r.transitions]
        for reconciliation in decided:
            with telemetry.carrying(reconciliation.poll.traceparent):
                for transition in reconciliation.transitions:
                    self._tell(transition, reconciliation.poll)
        for reconciliation in decided:
            for failure in reconciliation.failures:
                self._metrics.rule_evaluation_failures.labels(failure.group).inc()
            if reconciliation.evaluated:
                self._metrics.last_evaluation_timestamp_seconds.labels(reconciliation.poll.participant).set(
                    reconciliation.poll.polled_at.timestamp()
                )
            else:
                self._metrics.polls_late.labels(reconciliation.poll.participant).inc()
        if transitions:
            self._wake()
        for listener in self._listeners:
            mine = [r for r in decided if listener.carries(r.poll.participant)]
            if mine:
                listener.report(
                    Report(
                        sequence=max(
                            (r.poll.sequence for r in mine if r.poll.stream_id == listener.stream_id), default=0
                        ),
                        transitions=tuple(t for r in mine for t in r.transitions),
                        categories={p: c for p, c in (categories or {}).items() if listener.carries(p)},
                    )
                )

    def _tell(self, transition: Transition, poll: Poll) -> None:
        alert = transition.alert
        self._metrics.count_transition(alert.participant, alert.policy, alert.severity, alert.state)
        level = logging.INFO
        if alert.state is AlertState.FIRING:
            level = logging.ERROR if alert.severity is Severity.CRITICAL else logging.WARNING
        alert_log.log(
            level,
            "alert %s",
            alert.state,
            extra={
                "alertname": alert.name,
                "severity": str(alert.severity),
                "participant": alert.participant,
                "policy": alert.policy,
                "fingerprint": alert.fingerprint,
                "reason": alert.reason,
                "polled_at": poll.polled_at.isoformat(timespec="milliseconds"),
            },
        )

    def tell(self, report: Report) -> None:
        """Tells every listener something that is no poll's: the rules' series, the outbox."""
        for listener in self._listeners:
            listener.report(report)

    def _note_health(self, decided: Sequence[Reconciliation], rules: Sequence[Rule], seconds: float) -> None:
        for reconciliation in decided:
            if not reconciliation.evaluated:
                continue
            participant = reconciliation.poll.participant
            failed: dict[tuple[str, str], RuleFailure] = {(f.group, f.name): f for f in reconciliation.failures}
            for key, failure in failed.items():
                known = self._failing.setdefault(key, {})
                if known.get(participant) != failure.message:
                    log.error(
                        "a rule failed; its alerts stay as they are: %s",
                        failure.message,
                        extra={"group": failure.group, "rule": failure.name, "participant": participant},
                    )
                known[participant] = failure.message
            for key in self._failing.keys() - failed.keys():
                self._failing[key].pop(participant, None)
        how = decided[-1].poll.polled_at, seconds / max(1, len(rules))
        self._evaluated = {(rule.group, rule.name): how for rule in rules}

    def _forget_rules(self, rules: Sequence[Rule]) -> None:
        """Drops what is known of rules that are gone."""
        named = {(rule.group, rule.name) for rule in rules}
        self._failing = {key: known for key, known in self._failing.items() if key in named}
        for group in {rule.group for rule in self._looked_for} - {rule.group for rule in rules}:
            self._metrics.rule_evaluation_failures.remove_by_labels({"rule_group": group})

    def _note_series(self, views: Sequence[View], rules: Sequence[Rule]) -> None:
        gauge = self._metrics.rule_never_had_series
        if rules is not self._looked_for:
            gauge.clear()
            self._forget_rules(rules)
            self._looked_for, self._without_series = rules, list(rules)
            for rule in rules:
                gauge.labels(rule.group, rule.name).set(1)
        for rule in list(self._without_series):
            if any(rule.has_data(view, None) for view in views):
                self._without_series.remove(rule)
                gauge.labels(rule.group, rule.name).set(0)


async def _finished(work: Coroutine[None, None, None]) -> None:
    """Waits for ``work``; where this is cancelled meanwhile, for a moment still: nobody has the polls once more."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=FINISH_SECONDS)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


def series_of(rules: Sequence[Rule]) -> frozenset[tuple[Severity, bool]]:
    """Returns the (severity, per policy) label sets that the alert counters can have."""
    return frozenset((rule.severity, rule.per_policy) for rule in rules)
