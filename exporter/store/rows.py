"""Rows of the tables: parameters of the writer's statements, and alerts read back.

Each function returns a statement's parameters, arrays of equal length, or None
where there is nothing to write. The arrays are PostgreSQL's literals, written here
rather than by the driver, which takes five times as long over the thousands of
values of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from exporter.alerts.alert import Alert, AlertState, Reason, Severity
from exporter.alerts.event import event_of
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.observation import Category, Failure, Observation
from exporter.store.reconciliation import Entered, Reconciliation, StatesToWrite, Written

Parameters: TypeAlias = dict[str, str]


def identities(batch: Sequence[Reconciliation]) -> Parameters:
    polls = [r.poll for r in batch]
    return {
        "participant": of_texts(p.participant for p in polls),
        "polled_at": of_times(p.polled_at for p in polls),
        "stream_id": of_texts(p.stream_id for p in polls),
        "sequence": of_numbers(p.sequence for p in polls),
    }


def states(decided: Sequence[tuple[Reconciliation, StatesToWrite]]) -> Parameters | None:
    polls = [r.poll for r, s in decided if s.buckets]
    answers = [p.result for p in polls if isinstance(p.result, Observation)]
    written = [(index, o) for index, s in enumerate((s for _, s in decided if s.buckets), 1) for o in s.buckets]
    if not written:
        return None
    buckets = [o.bucket for _, o in written]
    counts = [b.response_counts for b in buckets]
    observations = [o for _, o in written]
    return {
        "participants": of_texts(a.participant for a in answers),
        "observed_at": of_times(a.observed_at for a in answers),
        "polled_at": of_times(p.polled_at for p in polls),
        "category": of_texts(a.category for a in answers),
        "place": of_numbers(index for index, _ in written),
        "policy": of_texts(b.policy for b in buckets),
        "available_tokens": of_numbers(b.available_tokens for b in buckets),
        "capacity": of_numbers(b.capacity for b in buckets),
        "refill_tokens": of_numbers(b.refill_tokens for b in buckets),
        "refill_period_seconds": of_numbers(b.refill_period_seconds for b in buckets),
        "responses_total": of_numbers(None if c is None else c.total for c in counts),
        "responses_not_found": of_numbers(None if c is None else c.not_found for c in counts),
        "responses_rate_limited": of_numbers(None if c is None else c.rate_limited for c in counts),
        "responses_instance": of_texts(None if c is None else c.instance for c in counts),
        "consumption_rate_per_minute": of_numbers(o.consumption_rate_per_minute for o in observations),
        "exhaustion_projection_seconds": of_numbers(o.exhaustion_projection_seconds for o in observations),
        "error_404_rate": of_numbers(o.error_404_rate for o in observations),
    }


def policies(
    decided: Sequence[tuple[Reconciliation, StatesToWrite]], before: Mapping[Ispb, Written]
) -> Parameters | None:
    """``before`` is what the database held of each participant before the batch."""
    figures = {(participant, policy): f for participant, w in before.items() for policy, f in w.policies.items()}
    first: dict[tuple[Ispb, PolicyName], datetime] = {}
    last: dict[tuple[Ispb, PolicyName], tuple[datetime, datetime | None]] = {}
    for reconciliation, written in decided:
        participant, at = reconciliation.poll.participant, reconciliation.poll.polled_at
        for policy, changed in written.figures.items():
            figures[participant, policy] = changed
            first.setdefault((participant, policy), at)
            last[participant, policy] = (at, None)
        for policy in written.removed:
            first.setdefault((participant, policy), at)
            last[participant, policy] = (at, at)
    if not last:
        return None
    layouts = [figures[key] for key in last]
    return {
        "participant": of_texts(participant for participant, _ in last),
        "policy": of_texts(policy for _, policy in last),
        "capacity": of_numbers(f.capacity for f in layouts),
        "refill_tokens": of_numbers(f.refill_tokens for f in layouts),
        "refill_period_seconds": of_numbers(f.refill_period_seconds for f in layouts),
        "first_seen_at": of_times(first[key] for key in last),
        "changed_at": of_times(at for at, _ in last.values()),
        "gone_at": of_times(gone_at for _, gone_at in last.values()),
    }


def reconciliations(decided: Sequence[tuple[Reconciliation, StatesToWrite]]) -> Parameters | None:
    if not decided:
        return None
    batch, written = [r for r, _ in decided], [s for _, s in decided]
    polls = [r.poll for r in batch]
    answers = [p.result if isinstance(p.result, Observation) else None for p in polls]
    failures = [p.result if isinstance(p.result, Failure) else None for p in polls]
    return identities(batch) | {
        "interval_seconds": of_numbers(p.interval_seconds for p in polls),
        "staleness_seconds": of_numbers(p.staleness_seconds for p in polls),
        "duration_seconds": of_numbers(p.duration_seconds for p in polls),
        "clock_skew_seconds": of_numbers(p.clock_skew_seconds for p in polls),
        "last_success_at": of_times(p.last_success_at for p in polls),
        "known_category": of_texts(p.category.name if p.category else None for p in polls),
        "category_changed_at": of_times(p.category.changed_at if p.category else None for p in polls),
        "previous_category": of_texts(p.category.previous if p.category else None for p in polls),
        "stream_began_at": of_times(p.stream_began_at for p in polls),
        "traceparent": of_texts(p.traceparent for p in polls),
        "answered": of_booleans(p.answered for p in polls),
        "observed_at": of_times(None if a is None else a.observed_at for a in answers),
        "category": of_texts(None if a is None else a.category for a in answers),
        "correlation_id": of_texts(None if a is None else a.correlation_id for a in answers),
        "failure_code": of_texts(None if f is None else f.code for f in failures),
        "failure_message": of_texts(None if f is None else f.message for f in failures),
        "evaluated": of_booleans(r.evaluated for r in batch),
        "complete": of_booleans(s.complete for s in written),
        "states_written": of_numbers(len(s.buckets) for s in written),
        "transitions": of_numbers(len(r.transitions) for r in batch),
        "policies": of_texts(None if s.policies is None else of_texts(s.policies) for s in written),
        "policies_came": of_texts(of_texts(s.added) if s.added else None for s in written),
        "policies_gone": of_texts(of_texts(s.removed) if s.removed else None for s in written),
        "policies_refused": of_texts(of_texts(a.refused) if a and a.refused else None for a in answers),
        "rule_failures": of_texts(_json(r.failures) if r.failures else None for r in batch),
    }


def category(name: str | None, changed_at: datetime | None, previous: str | None) -> Category | None:
    return None if name is None else Category(name, changed_at, previous)


def instances(alerts: Sequence[Alert]) -> Parameters | None:
    if not alerts:
        return None
    return {
        "fingerprint": of_texts(a.fingerprint for a in alerts),
        "active_since": of_times(a.active_since for a in alerts),
    }


def alerts(alerts: Sequence[Alert]) -> Parameters | None:
    identity = instances(alerts)
    return identity and identity | {
        "rule_group": of_texts(a.group for a in alerts),
        "alertname": of_texts(a.name for a in alerts),
        "severity": of_texts(a.severity for a in alerts),
        "participant": of_texts(a.participant for a in alerts),
        "policy": of_texts(a.policy for a in alerts),
        "labels": of_texts(_json(dict(a.labels)) for a in alerts),
        "annotations": of_texts(_json(dict(a.annotations)) for a in alerts),
        "value": of_numbers(a.value for a in alerts),
        "state": of_texts(a.state for a in alerts),
        "firing_since": of_times(a.firing_since for a in alerts),
        "keep_firing_since": of_times(a.keep_firing_since for a in alerts),
        "resolved_at": of_times(a.resolved_at for a in alerts),
        "reason": of_texts(a.reason for a in alerts),
    }


def transitions(entered: Sequence[Entered]) -> Parameters | None:
    identity = instances([e.alert for e in entered])
    buckets = [e.transition.observation.bucket if e.transition and e.transition.observation else None for e in entered]
    return identity and identity | {
        "state": of_texts(e.alert.state for e in entered),
        "changed_at": of_times(e.at for e in entered),
        "reason": of_texts(e.alert.reason for e in entered),
        "value": of_numbers(e.alert.value for e in entered),
        "psp_category": of_texts(None if e.transition is None else e.transition.category for e in entered),
        "observed_at": of_times(None if e.transition is None else e.transition.observed_at for e in entered),
        "available_tokens": of_numbers(None if b is None else b.available_tokens for b in buckets),
        "capacity": of_numbers(None if b is None else b.capacity for b in buckets),
    }


def events(batch: Iterable[Reconciliation]) -> Parameters | None:
    published = [(event_of(t), r.poll.traceparent) for r in batch for t in r.transitions]
    if not published:
        return None
    return {
        "event_id": of_texts(str(e.event_id) for e, _ in published),
        "fingerprint": of_texts(e.fingerprint for e, _ in published),
        "type": of_texts(e.type for e, _ in published),
        "event_time": of_times(e.time for e, _ in published),
        "subject": of_texts(e.subject for e, _ in published),
        "traceparent": of_texts(traceparent for _, traceparent in published),
        "body": of_texts(_json(e.body) for e, _ in published),
    }


def alert(row: Sequence[Any]) -> Alert:
    """Returns the alert of a row with the columns of the query ``open_alerts``."""
    (fingerprint, group, name, severity, participant, policy, labels, annotations, value, state, *times, reason) = row
    active_since, firing_since, keep_firing_since, resolved_at = times
    return Alert(
        fingerprint=fingerprint,
        group=group,
        name=name,
        severity=Severity(severity),
        participant=participant,
        policy=policy,
        labels=labels,
        annotations=annotations,
        value=value,
        state=AlertState(state),
        active_since=active_since,
        firing_since=firing_since,
        keep_firing_since=keep_firing_since,
        resolved_at=resolved_at,
        reason=None if reason is None else Reason(reason),
    )


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
