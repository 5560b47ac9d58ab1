"""Rows of the tables: parameters of the writer's statements, and alerts read back.

Each function returns a statement's parameters, arrays of equal length, or None where there is nothing to write. The
arrays are PostgreSQL's literals, written here rather than by the driver, which takes five times as long over the
thousands of values of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from exporter.alerts.alert import Alert, AlertState, Reason, RuleFailure, Severity
from exporter.alerts.event import event_of
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.observation import Category, Failure, Observation
from exporter.store.reconciliation import Entered, Reconciliation, StatesToWrite, Written

Parameters: TypeAlias = dict[str, str]
Array: TypeAlias = Callable[[Iterable[Any]], str]
Decided: TypeAlias = Sequence[tuple[Reconciliation, StatesToWrite]]


def identities(batch: Sequence[Reconciliation]) -> Parameters:
    polls = [r.poll for r in batch]
    return columns(polls, participant=of_texts, polled_at=of_times, stream_id=of_texts, sequence=of_numbers)


def states(decided: Decided) -> Parameters | None:
    polls = [r.poll for r, s in decided if s.buckets]
    answers = [p.result for p in polls if isinstance(p.result, Observation)]
    written = [(index, o) for index, s in enumerate((s for _, s in decided if s.buckets), 1) for o in s.buckets]
    if not written:
        return None
    observations = [o for _, o in written]
    buckets = [o.bucket for o in observations]
    counts = [b.response_counts for b in buckets]
    return {
        "participants": of_texts(a.participant for a in answers),
        "place": of_numbers(index for index, _ in written),
        **columns(polls, polled_at=of_times),
        **columns(answers, observed_at=of_times, category=of_texts),
        **columns(buckets, policy=of_texts, available_tokens=of_numbers, capacity=of_numbers),
        **columns(buckets, refill_tokens=of_numbers, refill_period_seconds=of_numbers),
        **_optional_columns(counts, "responses_", total=of_numbers, not_found=of_numbers, rate_limited=of_numbers),
        **_optional_columns(counts, "responses_", instance=of_texts),
        **columns(observations, consumption_rate_per_minute=of_numbers, exhaustion_projection_seconds=of_numbers),
        **columns(observations, error_404_rate=of_numbers, error_429_rate=of_numbers),
        **columns(observations, lowest_available_tokens=of_numbers),
    }


def policies(decided: Decided, before: Mapping[Ispb, Written]) -> Parameters | None:
    """``before`` is what the database held of each participant before the batch."""
    figures = {(participant, policy): f for participant, w in before.items() for policy, f in w.policies.items()}
    first: dict[tuple[Ispb, PolicyName], datetime] = {}
    last: dict[tuple[Ispb, PolicyName], tuple[datetime, datetime | None]] = {}
    for reconciliation, written in decided:
        participant, at = reconciliation.poll.participant, reconciliation.poll.polled_at
        figures |= {(participant, policy): changed for policy, changed in written.figures.items()}
        for policy in (*written.figures, *written.removed):
            first.setdefault((participant, policy), at)
            last[participant, policy] = (at, at if policy in written.removed else None)
    if not last:
        return None
    layouts = [figures[key] for key in last]
    return {
        "participant": of_texts(participant for participant, _ in last),
        "policy": of_texts(policy for _, policy in last),
        **columns(layouts, capacity=of_numbers, refill_tokens=of_numbers, refill_period_seconds=of_numbers),
        "first_seen_at": of_times(first[key] for key in last),
        "changed_at": of_times(at for at, _ in last.values()),
        "gone_at": of_times(gone_at for _, gone_at in last.values()),
    }


def reconciliations(decided: Decided) -> Parameters | None:
    if not decided:
        return None
    batch, written = [r for r, _ in decided], [s for _, s in decided]
    polls = [r.poll for r in batch]
    categories = [p.category for p in polls]
    answers = [p.result if isinstance(p.result, Observation) else None for p in polls]
    failures = [p.result if isinstance(p.result, Failure) else None for p in polls]
    return {
        **identities(batch),
        **columns(polls, interval_seconds=of_numbers, staleness_seconds=of_numbers, duration_seconds=of_numbers),
        **columns(polls, clock_skew_seconds=of_numbers, last_success_at=of_times, stream_began_at=of_times),
        **columns(polls, traceparent=of_texts, answered=of_booleans, is_read=of_booleans),
        "known_category": of_texts(None if c is None else c.name for c in categories),
        "category_changed_at": of_times(None if c is None else c.changed_at for c in categories),
        "previous_category": of_texts(None if c is None else c.previous for c in categories),
        **_optional_columns(answers, observed_at=of_times, category=of_texts, correlation_id=of_texts),
        **_optional_columns(failures, "failure_", code=of_texts, message=of_texts),
        "evaluated": of_booleans(r.evaluated for r in batch),
        "complete": of_booleans(s.complete for s in written),
        "states_written": of_numbers(len(s.buckets) for s in written),
        "transitions": of_numbers(len(r.transitions) for r in batch),
        "policies": of_texts(None if s.policies is None else of_texts(s.policies) for s in written),
        "policies_came": of_texts(of_texts(s.added) if s.added else None for s in written),
        "policies_gone": of_texts(of_texts(s.removed) if s.removed else None for s in written),
        "policies_refused": of_texts(of_texts(a.refused) if a and a.refused else None for a in answers),
        "rule_failures": of_texts(_json(list(map(_failure, r.failures))) if r.failures else None for r in batch),
    }


def category(name: str | None, changed_at: datetime | None, previous: str | None) -> Category | None:
    return None if name is None else Category(name, changed_at, previous)


def instances(alerts: Sequence[Alert]) -> Parameters | None:
    return columns(alerts, fingerprint=of_texts, active_since=of_times) if alerts else None


def alerts(alerts: Sequence[Alert]) -> Parameters | None:
    identity = instances(alerts)
    return identity and {
        **identity,
        "rule_group": of_texts(a.group for a in alerts),
        "alertname": of_texts(a.name for a in alerts),
        **columns(alerts, severity=of_texts, participant=of_texts, policy=of_texts, value=of_numbers),
        "labels": of_texts(_json(dict(a.labels)) for a in alerts),
        "annotations": of_texts(_json(dict(a.annotations)) for a in alerts),
        **columns(alerts, state=of_texts, firing_since=of_times, keep_firing_since=of_times),
        **columns(alerts, resolved_at=of_times, reason=of_texts),
    }


def transitions(entered: Sequence[Entered]) -> Parameters | None:
    alerts = [e.alert for e in entered]
    identity = instances(alerts)
    changes = [e.transition for e in entered]
    buckets = [t.observation.bucket if t and t.observation else None for t in changes]
    return identity and {
        **identity,
        **columns(alerts, state=of_texts, reason=of_texts, value=of_numbers),
        "changed_at": of_times(e.at for e in entered),
        **_optional_columns(changes, "psp_", category=of_texts),
        **_optional_columns(changes, observed_at=of_times),
        **_optional_columns(buckets, available_tokens=of_numbers, capacity=of_numbers),
    }


def events(batch: Iterable[Reconciliation]) -> Parameters | None:
    published = [(event_of(t), r.poll.traceparent) for r in batch for t in r.transitions]
    if not published:
        return None
    events = [event for event, _ in published]
    return {
        "event_id": of_texts(str(e.event_id) for e in events),
        **columns(events, fingerprint=of_texts, type=of_texts, subject=of_texts),
        "event_time": of_times(e.time for e in events),
        "traceparent": of_texts(traceparent for _, traceparent in published),
        "body": of_texts(_json(e.body) for e in events),
    }


def columns(items: Collection[object], **arrays: Array) -> Parameters:
    """Returns a parameter for each named attribute of the items."""
    return {name: array(map(attrgetter(name), items)) for name, array in arrays.items()}


def _optional_columns(items: Sequence[object | None], prefix: str = "", **arrays: Array) -> Parameters:
    """Returns a parameter for each named attribute of the items, which are NULL for an item that is None."""
    return {
        prefix + name: array([None if item is None else getattr(item, name) for item in items])
        for name, array in arrays.items()
    }


def alert(row: Sequence[Any]) -> Alert:
    """Returns the alert of a row with the columns of the query ``open_alerts``: an alert's attributes, in order."""
    stored = Alert(*row)
    return replace(
        stored,
        severity=Severity(stored.severity),
        state=AlertState(stored.state),
        reason=None if stored.reason is None else Reason(stored.reason),
    )


def _failure(failure: RuleFailure) -> dict[str, str]:
    return {"group": failure.group, "name": failure.name, "message": failure.message}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def of_numbers(values: Iterable[float | None]) -> str:
    """Floats keep every bit; ``inf`` and ``nan`` are read by PostgreSQL as such."""
    return "{" + ",".join(["NULL" if v is None else repr(v) for v in values]) + "}"


def of_texts(values: Iterable[str | None]) -> str:
    return "{" + ",".join(["NULL" if v is None else _quoted(v) for v in values]) + "}"


def of_times(values: Iterable[datetime | None]) -> str:
    return "{" + ",".join(["NULL" if v is None else v.isoformat() for v in values]) + "}"


def of_booleans(values: Iterable[bool]) -> str:
    return "{" + ",".join(["t" if v else "f" for v in values]) + "}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
