"""What one poll comes to: what is known after it, and what to commit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from exporter.alerts.alert import Alert, Fingerprint
from exporter.alerts.history import History
from exporter.alerts.lifecycle import RulesBefore, evaluate, remove_participant
from exporter.alerts.rule import Rule
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import PARTICIPANT_REMOVED, Category, Failure, Observation, Poll, View, view_after
from exporter.store.reconciliation import Reconciliation


@dataclass(frozen=True, slots=True)
class ParticipantState:
    """What is known of one participant after its last reconciled poll.

    ``polled_at`` is that poll's; ``stream_id`` and ``sequence`` the last that an exporter made; ``category`` what is
    known of it, also from before the exporter started; ``rules`` those of the last evaluation.
    """

    view: View | None = None
    alerts: Mapping[Fingerprint, Alert] = field(default_factory=dict)
    polled_at: datetime | None = None
    stream_id: str = ""
    sequence: int = 0
    category: Category | None = None
    rules: Sequence[Rule] | None = None


def category_after(before: Category | None, poll: Poll) -> Category | None:
    """Returns what is known of a participant's category after ``poll``, given what was known ``before`` it.

    An exporter that has started since the category changed knows of no change.
    """
    category = poll.category
    if category is None and isinstance(poll.result, Observation) and poll.result.category is not None:
        category = Category(poll.result.category)  # an exporter of the previous release does not send it
    if category is None or before is None:
        return category or before
    if category.changed_at is not None and (before.changed_at is None or category.changed_at >= before.changed_at):
        return category
    if category.name == before.name:
        return before
    changed_at = poll.result.observed_at if isinstance(poll.result, Observation) else poll.polled_at
    return Category(category.name, changed_at, before.name)


def decide(
    state: ParticipantState, poll: Poll, rules: Sequence[Rule], history: History | None = None
) -> tuple[ParticipantState, Reconciliation | None]:
    """Returns what is known after ``poll``, and what to commit (None: it was reconciled before).

    ``history`` is what the rules look back at; a poll that is evaluated is added to it.

    A poll that comes out of order, behind one that was already evaluated (the feed was lost meanwhile), is kept as
    history and not evaluated: alerts never go back in time. So is a read behind which polls are missing: what it does
    not show need not be gone.
    """
    made_by_exporter = poll.sequence > 0
    out_of_order = state.polled_at is not None and poll.polled_at <= state.polled_at
    repeated = made_by_exporter and poll.stream_id == state.stream_id and poll.sequence <= state.sequence
    if out_of_order and not made_by_exporter:
        return state, None
    if not out_of_order:
        category = category_after(state.category, poll)
        if category is not poll.category:
            poll = replace(poll, category=category)
        if category is not state.category:
            state = replace(state, category=category)
    view = view_after(state.view, poll)
    if repeated:
        return replace(state, view=view), None
    if made_by_exporter:
        state = replace(state, stream_id=poll.stream_id, sequence=poll.sequence)
    if out_of_order or view.is_partial:
        unseen = Reconciliation(poll, evaluated=False, alerts_before=state.alerts, alerts_after=state.alerts)
        return replace(state, view=view), unseen
    rules_before: RulesBefore = "unknown" if state.rules is None else "same" if state.rules is rules else "other"
    if history is not None:
        history.add(view)
    evaluation = evaluate(rules, view, state.alerts, history=history, before=rules_before)
    decided = Reconciliation(
        poll,
        evaluated=True,
        alerts_before=state.alerts,
        alerts_after=evaluation.alerts,
        transitions=evaluation.transitions,
        failures=evaluation.failures,
        recorded=evaluation.recorded,
    )
    return replace(state, view=view, alerts=evaluation.alerts, polled_at=poll.polled_at, rules=rules), decided


def removal(participant: Ispb, state: ParticipantState, now: datetime) -> Reconciliation:
    """Returns what resolves the alerts of a participant that is no longer configured."""
    # Another host's clock may have been ahead of ours.
    at = now if state.polled_at is None else max(now, state.polled_at + timedelta(microseconds=1))
    poll = Poll(
        stream_id=state.stream_id,
        sequence=0,
        participant=participant,
        polled_at=at,
        interval_seconds=0.0,
        staleness_seconds=0.0,
        result=Failure(PARTICIPANT_REMOVED, "the configuration no longer names this participant"),
        category=state.category,
    )
    return Reconciliation(
        poll,
        evaluated=True,
        alerts_before=state.alerts,
        alerts_after={},
        transitions=remove_participant(state.alerts, at),
    )


def not_ahead(poll: Poll, now: datetime, tolerated: timedelta, last: datetime | None) -> Poll:
    """Returns ``poll`` as if its clock were right where it is further than ``tolerated`` ahead of ``now``.

    Then it takes that time (or the next after ``last``, the participant's last poll), and so do its other times that
    lie as far ahead: else it would hide every poll that comes until then.
    """
    latest = now + tolerated
    if poll.polled_at <= latest:
        return poll
    at = now if last is None else max(now, last + timedelta(microseconds=1))
    result, category = poll.result, poll.category
    if isinstance(result, Observation) and result.observed_at > latest:
        result = replace(result, observed_at=at)
    return replace(
        poll,
        polled_at=at,
        result=result,
        last_success_at=poll.last_success_at and min(poll.last_success_at, at),
        category=category and replace(category, changed_at=category.changed_at and min(category.changed_at, at)),
        stream_began_at=poll.stream_began_at and min(poll.stream_began_at, at),
    )
