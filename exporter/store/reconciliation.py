"""What to write of a poll: decided here, purely; carried out by `exporter.store.writer`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from exporter.alerts.alert import Alert, AlertState, Evaluation, Fingerprint, RecordedValues, RuleFailure, Transition
from exporter.buckets.bucket import PolicyName
from exporter.buckets.observation import BucketObservation, Observation, Poll


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One poll taken through the rules.

    ``evaluated`` is False for a poll that came late: it is kept, rules did not see it. ``alerts_before`` and
    ``alerts_after`` are the participant's open alerts. ``recorded`` is what rules record: it is not written.
    """

    poll: Poll
    evaluated: bool
    alerts_before: Mapping[Fingerprint, Alert] = field(default_factory=dict)
    alerts_after: Mapping[Fingerprint, Alert] = field(default_factory=dict)
    transitions: tuple[Transition, ...] = ()
    failures: tuple[RuleFailure, ...] = ()
    recorded: RecordedValues = field(default_factory=dict)

    @property
    def changed_alerts(self) -> bool:
        """Whether rules made any difference at this poll, or could not be evaluated."""
        return Evaluation(self.alerts_after, self.transitions, self.failures).differs_from(self.alerts_before)


@dataclass(frozen=True, slots=True)
class Figures:
    """How a policy's bucket is laid out: tokens, and seconds."""

    capacity: int
    refill_tokens: int
    refill_period_seconds: int


@dataclass(frozen=True, slots=True)
class Written:
    """What the database holds of a participant, as far as is known.

    ``policies`` are those that it has. ``chain`` is what the next poll builds on, None where there is none.
    """

    policies: Mapping[PolicyName, Figures]
    chain: Chain | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """The last answered poll of a stream, the buckets known by it, and when (a poll's UTC time) all were last written.

    ``policies`` are those of the last whole answer: a read may have told of another bucket since.
    """

    stream_id: str
    sequence: int
    complete_at: datetime
    category: str | None
    policies: tuple[PolicyName, ...]
    buckets: Mapping[PolicyName, BucketObservation]


@dataclass(frozen=True, slots=True)
class StatesToWrite:
    """What to write of a poll's buckets, and what the database holds ``after`` that is committed.

    ``policies`` are the answer's policies where they are not those of the stream's whole answer before, else None.
    ``complete``: every bucket is among ``buckets``. ``figures`` are of policies that were added, or changed.
    """

    after: Written
    buckets: tuple[BucketObservation, ...] = ()
    policies: tuple[PolicyName, ...] | None = None
    complete: bool = False
    figures: Mapping[PolicyName, Figures] = field(default_factory=dict)
    added: tuple[PolicyName, ...] = ()
    removed: tuple[PolicyName, ...] = ()


def states_to_write(before: Written, poll: Poll, heartbeat_seconds: float) -> StatesToWrite:
    """Returns what to write of ``poll``, given what the database holds already.

    A bucket is written when anything in its state changed. All are written at the first answer of a stream, when the
    category changed, and when ``heartbeat_seconds`` have passed since they last were. Of a read its bucket is, and the
    others are as they were.
    """
    answer = poll.result
    if not isinstance(answer, Observation):
        return StatesToWrite(before)

    if not answer.is_whole:
        return _states_of_read(before, poll, answer)
    chain = before.chain
    present = {o.bucket.policy: o for o in answer.buckets}
    follows = (
        chain is not None
        and chain.stream_id == poll.stream_id
        and chain.sequence < poll.sequence
        and chain.category == answer.category
        and 0 <= (poll.polled_at - chain.complete_at).total_seconds() < heartbeat_seconds
    )
    if chain is not None and follows:
        last, complete_at = chain.buckets, chain.complete_at
        buckets = tuple(o for o in answer.buckets if last.get(o.bucket.policy) != o)
        policies = None if chain.policies == tuple(present) else tuple(present)
    else:
        complete_at, buckets, policies = poll.polled_at, answer.buckets, tuple(present)

    figures = _changed_figures(before, answer)
    removed = tuple(sorted(before.policies.keys() - present.keys() - set(answer.refused)))
    policies_after = before.policies
    if figures or removed:
        policies_after = {p: f for p, f in before.policies.items() if p not in removed} | figures
    return StatesToWrite(
        after=Written(
            policies_after,
            Chain(poll.stream_id, poll.sequence, complete_at, answer.category, tuple(present), present),
        ),
        buckets=buckets,
        policies=policies,
        complete=not follows,
        figures=figures,
        added=tuple(sorted(figures.keys() - before.policies.keys())),
        removed=removed,
    )


def _states_of_read(before: Written, poll: Poll, answer: Observation) -> StatesToWrite:
    chain, buckets, chain_after = before.chain, answer.buckets, None
    if chain is not None and chain.stream_id == poll.stream_id and chain.sequence < poll.sequence:
        buckets = tuple(o for o in answer.buckets if chain.buckets.get(o.bucket.policy) != o)
        known = {**chain.buckets, **{o.bucket.policy: o for o in buckets}}
        chain_after = replace(chain, sequence=poll.sequence, buckets=known)
    figures = _changed_figures(before, answer)
    return StatesToWrite(
        after=Written({**before.policies, **figures} if figures else before.policies, chain_after),
        buckets=buckets,
        policies=tuple(o.bucket.policy for o in answer.buckets),
        figures=figures,
        added=tuple(sorted(figures.keys() - before.policies.keys())),
    )


def _changed_figures(before: Written, answer: Observation) -> dict[PolicyName, Figures]:
    now = {
        bucket.policy: Figures(bucket.capacity, bucket.refill_tokens, bucket.refill_period_seconds)
        for bucket in (o.bucket for o in answer.buckets)
    }
    return {policy: figures for policy, figures in now.items() if before.policies.get(policy) != figures}


@dataclass(frozen=True, slots=True)
class Entered:
    """An alert that entered a state; ``transition`` is None for ``pending``."""

    alert: Alert
    at: datetime
    transition: Transition | None = None


@dataclass(frozen=True, slots=True)
class AlertsToWrite:
    """What a batch of polls leaves of its alerts, by instance (fingerprint and ``active_since``).

    ``ended`` never fired and are deleted; ``resolved`` and ``open`` are as the
    batch left them; ``entered`` is their audit, in order.
    """

    ended: tuple[Alert, ...]
    resolved: tuple[Alert, ...]
    open: tuple[Alert, ...]
    entered: tuple[Entered, ...]


def alerts_to_write(batch: Iterable[Reconciliation]) -> AlertsToWrite:
    """Returns what the reconciliations, in order, leave of their alerts."""
    last: dict[tuple[Fingerprint, datetime], Alert | None] = {}
    ended: dict[tuple[Fingerprint, datetime], Alert] = {}
    entered: dict[tuple[Fingerprint, datetime, AlertState], Entered] = {}
    for reconciliation in batch:
        before, after = reconciliation.alerts_before, reconciliation.alerts_after
        for transition in reconciliation.transitions:
            alert = transition.alert
            last[_instance(alert)] = alert
            entered[*_instance(alert), alert.state] = Entered(alert, transition.at, transition)
        for fingerprint, alert in after.items():
            was = before.get(fingerprint)
            if alert is was:
                continue
            last[_instance(alert)] = alert
            if alert.state is AlertState.PENDING and (was is None or was.active_since != alert.active_since):
                entered[*_instance(alert), alert.state] = Entered(alert, reconciliation.poll.polled_at)
        for fingerprint, alert in before.items():
            now = after.get(fingerprint)
            still = now is not None and now.active_since == alert.active_since
            left = last.get(_instance(alert))
            never_fired = alert.state is AlertState.PENDING and (left is None or left.state is AlertState.PENDING)
            if never_fired and not still:
                last[_instance(alert)] = None
                ended[_instance(alert)] = alert
    kept = [alert for alert in last.values() if alert is not None]
    return AlertsToWrite(
        ended=tuple(ended.values()),
        resolved=tuple(a for a in kept if a.state is AlertState.RESOLVED),
        open=tuple(a for a in kept if a.state is not AlertState.RESOLVED),
        entered=tuple(e for e in entered.values() if last[_instance(e.alert)] is not None),
    )


def _instance(alert: Alert) -> tuple[Fingerprint, datetime]:
    return alert.fingerprint, alert.active_since
