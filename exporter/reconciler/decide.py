"""What one poll comes to: what is known after it, and what to commit. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from exporter.alerts.lifecycle import evaluate
from exporter.buckets.observation import Category, Observation, Poll, View, view_after
from exporter.store.reconciliation import Reconciliation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from exporter.alerts.alert import Alert, Fingerprint, Rule
    from exporter.alerts.lifecycle import RulesBefore


@dataclass(frozen=True, slots=True)
class Followed:
    """What is known of one participant after its last reconciled poll.

    ``polled_at`` is that poll's; ``stream_id`` and ``sequence`` the last that an
    exporter made; ``category`` what is known of it, also from before the exporter started;
    ``rules`` those of the last evaluation.
    """

    view: View | None = None
    alerts: Mapping[Fingerprint, Alert] = field(default_factory=dict)
    polled_at: datetime | None = None
    stream_id: str = ""
    sequence: int = 0
    category: Category | None = None
    rules: Sequence[Rule] | None = None


def category_after(known: Category | None, poll: Poll) -> Category | None:
    """Returns what is known of a participant's category after ``poll``, given what was ``known`` before it.

    An exporter that has started since the category changed knows of no change.
    """
    told = poll.category
    if told is None and isinstance(poll.result, Observation) and poll.result.category is not None:
        told = Category(poll.result.category)  # an exporter of the release before does not tell
    if told is None or known is None:
        return told or known
    if told.changed_at is not None and (known.changed_at is None or told.changed_at >= known.changed_at):
        return told
    if told.name == known.name:
        return known
    changed_at = poll.result.observed_at if isinstance(poll.result, Observation) else poll.polled_at
    return Category(told.name, changed_at, known.name)


def decide(followed: Followed, poll: Poll, rules: Sequence[Rule]) -> tuple[Followed, Reconciliation | None]:
    """Returns what is known after ``poll``, and what to commit (None: it was reconciled before).

    A poll that comes late, behind one that was already evaluated (the feed was
    lost meanwhile), is kept as history and not evaluated: alerts never go back
    in time.
    """
    made_by_exporter = poll.sequence > 0
    behind = followed.polled_at is not None and poll.polled_at <= followed.polled_at
    repeated = made_by_exporter and poll.stream_id == followed.stream_id and poll.sequence <= followed.sequence
    if behind and not made_by_exporter:
        return followed, None
    if not behind:
        poll = replace(poll, category=category_after(followed.category, poll))
        followed = replace(followed, category=poll.category)
    view = view_after(followed.view, poll)
    if repeated:
        return replace(followed, view=view), None
    if made_by_exporter:
        followed = replace(followed, stream_id=poll.stream_id, sequence=poll.sequence)
    if behind:
        late = Reconciliation(poll, evaluated=False, alerts_before=followed.alerts, alerts_after=followed.alerts)
        return replace(followed, view=view), late
    before: RulesBefore = "unknown" if followed.rules is None else "same" if followed.rules is rules else "other"
    evaluation = evaluate(rules, view, followed.alerts, before=before)
    decided = Reconciliation(
        poll,
        evaluated=True,
        alerts_before=followed.alerts,
        alerts_after=evaluation.alerts,
        transitions=evaluation.transitions,
        failures=evaluation.failures,
    )
    known = replace(followed, view=view, alerts=evaluation.alerts, polled_at=poll.polled_at, rules=rules)
    return known, decided


def not_ahead(poll: Poll, now: datetime, tolerated: timedelta, last: datetime | None) -> Poll:
    """Returns ``poll`` as if its clock were right where it is further than ``tolerated`` ahead of ``now``.

    Then it takes that time (or the next after ``last``, the participant's last
    poll), and so does what else lies as far ahead: else it, and each poll after
    it, would stand against all that come until then.
    """
    latest = now + tolerated
    if poll.polled_at <= latest:
        return poll
    at = now if last is None else max(now, last + timedelta(microseconds=1))
    result = poll.result
    if isinstance(result, Observation) and result.observed_at > latest:
        result = replace(result, observed_at=at)
    return replace(
        poll,
        polled_at=at,
        result=result,
        last_success_at=poll.last_success_at and min(poll.last_success_at, at),
        category=poll.category and _not_after(poll.category, at),
        stream_began_at=poll.stream_began_at and min(poll.stream_began_at, at),
    )


def _not_after(category: Category, at: datetime) -> Category:
    return replace(category, changed_at=category.changed_at and min(category.changed_at, at))
