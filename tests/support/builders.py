"""Values for tests: every argument has a plain default."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from exporter.alerts.alert import Alert, AlertState, Severity, fingerprint
from exporter.buckets.bucket import Bucket, Ispb, PolicyName, ResponseCounts, Snapshot
from exporter.buckets.observation import BucketObservation, Failure, Observation, Poll, View, view_after
from exporter.store.outbox import OutboxRow

PARTICIPANT = Ispb("12345678")
POLICY = PolicyName("ENTRIES_WRITE")
START = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds after the start of every test."""
    return START + timedelta(seconds=seconds)


def counts(total: int = 100, not_found: int = 5, rate_limited: int = 0, instance: str = "a") -> ResponseCounts:
    return ResponseCounts(total, not_found, rate_limited, instance)


def bucket(available: int = 36_000, *, policy: str = POLICY, capacity: int = 36_000, **given: Any) -> Bucket:
    return Bucket(
        policy=PolicyName(policy),
        available_tokens=available,
        capacity=capacity,
        refill_tokens=given.pop("refill_tokens", 1_200),
        refill_period_seconds=given.pop("refill_period_seconds", 60),
        **given,
    )


def snapshot(
    *buckets: Bucket, seconds: float = 0, participant: str = PARTICIPANT, category: str | None = "A"
) -> Snapshot:
    return Snapshot(Ispb(participant), at(seconds), category, "c-1", tuple(buckets) or (bucket(),))


def observed(
    made: Bucket | None = None, *, rate: float | None = None, empty: float | None = None, share: float | None = None
) -> BucketObservation:
    return BucketObservation(made or bucket(), rate, empty, share)


def observation(*buckets: Bucket | BucketObservation, seconds: float = 0, **given: Any) -> Observation:
    made = tuple(b if isinstance(b, BucketObservation) else BucketObservation(b) for b in buckets) or (observed(),)
    return Observation(
        participant=Ispb(given.pop("participant", PARTICIPANT)),
        observed_at=at(seconds),
        category=given.pop("category", "A"),
        correlation_id="c-1",
        buckets=tuple(sorted(made, key=lambda b: b.bucket.policy)),
        **given,
    )


def poll(*buckets: Bucket | BucketObservation, seconds: float = 0, sequence: int | None = None, **given: Any) -> Poll:
    """An answered poll; one every 15 seconds has the sequences 1, 2, 3 ...

    ``category`` is what it answered, ``known`` the poll's own.
    """
    participant = given.get("participant", PARTICIPANT)
    of_answer = {name: given.pop(name) for name in ("category", "refused") if name in given}
    result = given.pop("result", None) or observation(*buckets, seconds=seconds, participant=participant, **of_answer)
    given.setdefault("last_success_at", at(seconds))
    return Poll(
        stream_id=given.pop("stream_id", "stream"),
        sequence=int(seconds // 15) + 1 if sequence is None else sequence,
        participant=Ispb(given.pop("participant", PARTICIPANT)),
        polled_at=at(seconds),
        interval_seconds=given.pop("interval_seconds", 15.0),
        staleness_seconds=given.pop("staleness_seconds", 300.0),
        result=result,
        category=given.pop("known", None),
        **given,
    )


def read(made: Bucket | BucketObservation, *, seconds: float, sequence: int, **given: Any) -> Poll:
    """A read of one bucket."""
    observed_at = given.pop("observed_seconds", seconds)
    result = replace(observation(made, seconds=observed_at), is_whole=False)
    return poll(seconds=seconds, sequence=sequence, result=result, **given)


def failed(seconds: float = 0, code: str = "UNAVAILABLE", **given: Any) -> Poll:
    given.setdefault("last_success_at", None)
    return poll(seconds=seconds, result=Failure(code, "the Bridge did not answer"), **given)


def view(*polls: Poll) -> View:
    """What is shown after these polls (none: one answered poll)."""
    seen: View | None = None
    for made in polls or (poll(),):
        seen = view_after(seen, made)
    assert seen is not None
    return seen


def alert(name: str = "TokensLow", *, seconds: float = 0, state: AlertState = AlertState.FIRING, **given: Any) -> Alert:
    severity = given.pop("severity", Severity.WARNING)
    participant = Ispb(given.pop("participant", PARTICIPANT))
    policy = given.pop("policy", POLICY)
    labels = {"alertname": name, "severity": str(severity), "participant": participant}
    if policy is not None:
        labels["policy"] = policy
    return Alert(
        fingerprint=fingerprint(labels),
        group=given.pop("group", "dict"),
        name=name,
        severity=severity,
        participant=participant,
        policy=policy,
        labels=labels,
        annotations=given.pop("annotations", {"summary": "tokens are low"}),
        value=given.pop("value", 85.0),
        state=state,
        active_since=given.pop("active_since", at(seconds)),
        firing_since=given.pop("firing_since", None if state is AlertState.PENDING else at(seconds)),
        **given,
    )


def outbox_row(number: int = 1, **given: Any) -> OutboxRow:
    """An event on its way, of an alert of its own, that was never sent."""
    return OutboxRow(
        id=number,
        event_id=given.pop("event_id", UUID(int=number)),
        fingerprint=given.pop("fingerprint", f"f{number}"),
        type=given.pop("type", "dict.rate_limit.alert.firing"),
        event_time=given.pop("event_time", START),
        subject=given.pop("subject", f"{PARTICIPANT}/{POLICY}/TokensLow"),
        traceparent=given.pop("traceparent", None),
        body=given.pop("body", "{}"),
        sequence_id=given.pop("sequence_id", number),
        sent_before=given.pop("sent_before", False),
        attempts=given.pop("attempts", 0),
    )
