"""Polls and reports as protobuf messages, and back, without loss."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from exporter.alerts.alert import Severity, Transition
from exporter.buckets.bucket import Bucket, Ispb, PolicyName, ResponseCounts
from exporter.buckets.observation import BucketObservation, Category, Failure, Observation, Poll
from exporter.buckets.refill import RefillMode
from exporter.feed.stubs import feed_pb2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_REFILL_MODES: Final = {
    RefillMode.CONTINUOUS: feed_pb2.REFILL_MODE_CONTINUOUS,
    RefillMode.STEPWISE: feed_pb2.REFILL_MODE_STEPWISE,
}
_MODES_BY_NUMBER: Final = {number: mode for mode, number in _REFILL_MODES.items()}
"""Without those that a later release may add: such a mode is not known here."""

_ESTIMATES: Final = (
    "consumption_rate_per_minute",
    "exhaustion_projection_seconds",
    "error_404_rate",
    "error_429_rate",
    "lowest_available_tokens",
)
"""The figures of a bucket that may be None, and are missing from the message then."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a reconciler reports to the exporters that it follows: what was committed, for the exporter's counters.

    ``sequence`` is the last poll's (0: none of this stream). ``series`` are the (severity, per policy) that loaded
    rules can produce; None: as reported before. ``outbox_oldest_age_seconds`` is None where no event waits.
    ``categories`` are those of which the database knows more than the exporter, which has started since.
    """

    sequence: int = 0
    transitions: tuple[Transition, ...] = ()
    series: Collection[tuple[Severity, bool]] | None = None
    outbox_pending: int | None = None
    outbox_oldest_age_seconds: float | None = None
    categories: Mapping[Ispb, Category] = field(default_factory=dict)


def feed_message(poll: Poll) -> feed_pb2.FromExporter:
    """Returns the message that carries a poll, or a read."""
    message = feed_pb2.FromExporter()
    _fill(message.read if poll.is_read else message.poll, poll)
    return message


def carried_poll(message: feed_pb2.FromExporter) -> feed_pb2.Poll:
    """Returns the poll, or the read, that a message carries."""
    return message.read if message.HasField("read") else message.poll


def poll_message(poll: Poll) -> feed_pb2.Poll:
    """Returns the message of a poll; its stream is sent once, when a feed opens."""
    message = feed_pb2.Poll()
    _fill(message, poll)
    return message


def _fill(message: feed_pb2.Poll, poll: Poll) -> None:
    # Where they are carried, and field by field: in half the time of messages that are made and then copied.
    message.sequence = poll.sequence
    message.participant = poll.participant
    _fill_timestamp(message.polled_at, poll.polled_at)
    message.interval_seconds = poll.interval_seconds
    message.staleness_seconds = poll.staleness_seconds
    if poll.clock_skew_seconds is not None:
        message.clock_skew_seconds = poll.clock_skew_seconds
    message.traceparent = poll.traceparent or ""
    message.duration_seconds = poll.duration_seconds
    if poll.last_success_at is not None:
        _fill_timestamp(message.last_success_at, poll.last_success_at)
    if poll.category is not None:
        _fill_category(message.known_category, poll.category)
        if poll.category.changed_at is not None:
            _fill_timestamp(message.category_changed_at, poll.category.changed_at)  # for the release before
    if poll.stream_began_at is not None:
        _fill_timestamp(message.stream_began_at, poll.stream_began_at)
    if isinstance(poll.result, Failure):
        message.failed.code = poll.result.code
        message.failed.message = poll.result.message
    else:
        _fill_observation(message.answered, poll.result)


def poll_of(message: feed_pb2.Poll, stream_id: str) -> Poll:
    """Returns the poll of a message. Raises ValueError where no poll can be like that."""
    participant = Ispb(message.participant)
    if message.WhichOneof("result") == "answered":
        result: Observation | Failure = _observation(message.answered, participant)
    else:
        result = Failure(message.failed.code, message.failed.message)
    return Poll(
        stream_id=stream_id,
        sequence=message.sequence,
        participant=participant,
        polled_at=_datetime(message.polled_at),
        interval_seconds=message.interval_seconds,
        staleness_seconds=message.staleness_seconds,
        result=result,
        clock_skew_seconds=message.clock_skew_seconds if message.HasField("clock_skew_seconds") else None,
        last_success_at=_datetime(message.last_success_at) if message.HasField("last_success_at") else None,
        category=_category(message.known_category) if message.HasField("known_category") else None,
        stream_began_at=_datetime(message.stream_began_at) if message.HasField("stream_began_at") else None,
        duration_seconds=message.duration_seconds,
        traceparent=message.traceparent or None,
    )


def report_message(report: Report) -> feed_pb2.Report:
    message = feed_pb2.Report(
        sequence=report.sequence,
        transitions=[
            feed_pb2.Transition(
                participant=t.alert.participant,
                policy=t.alert.policy or "",
                severity=t.alert.severity,
                state=t.alert.state,
            )
            for t in report.transitions
        ],
        outbox_pending=report.outbox_pending,
        outbox_oldest_age_seconds=report.outbox_oldest_age_seconds,
        series=[feed_pb2.AlertSeries(severity=severity, per_policy=each) for severity, each in report.series or ()],
    )
    for participant, category in report.categories.items():
        _fill_category(message.categories[participant], category)
    return message


def categories_of(message: feed_pb2.Report) -> dict[Ispb, Category]:
    """Returns the participants' categories of a report. Raises ValueError where one is not valid."""
    return {Ispb(participant): _category(category) for participant, category in message.categories.items()}


def _fill_category(message: feed_pb2.Category, category: Category) -> None:
    message.name = category.name
    if category.changed_at is not None:
        _fill_timestamp(message.changed_at, category.changed_at)
    message.previous = category.previous or ""


def _category(message: feed_pb2.Category) -> Category:
    changed_at = _datetime(message.changed_at) if message.HasField("changed_at") else None
    return Category(message.name, changed_at, message.previous or None)


def _fill_observation(message: feed_pb2.Observation, observation: Observation) -> None:
    _fill_timestamp(message.observed_at, observation.observed_at)
    message.category = observation.category or ""
    message.correlation_id = observation.correlation_id
    message.refused.extend(observation.refused)
    message.is_read = not observation.is_whole
    if observation.refill_mode is not None:
        message.refill_mode = _REFILL_MODES[observation.refill_mode]
    for observed in observation.buckets:
        _fill_bucket(message.buckets.add(), observed)


def _fill_bucket(message: feed_pb2.BucketObservation, observed: BucketObservation) -> None:
    bucket, counts = observed.bucket, observed.bucket.response_counts
    message.policy = bucket.policy
    message.available_tokens = bucket.available_tokens
    message.capacity = bucket.capacity
    message.refill_tokens = bucket.refill_tokens
    message.refill_period_seconds = bucket.refill_period_seconds
    message.recovery_eta_seconds = bucket.recovery_eta_seconds
    if counts is not None:
        counted = message.response_counts
        counted.total = counts.total
        counted.not_found = counts.not_found
        counted.rate_limited = counts.rate_limited
        counted.instance = counts.instance
    for name in _ESTIMATES:
        value = getattr(observed, name)
        if value is not None:
            setattr(message, name, value)


def _observation(message: feed_pb2.Observation, participant: Ispb) -> Observation:
    return Observation(
        participant=participant,
        observed_at=_datetime(message.observed_at),
        category=message.category or None,
        correlation_id=message.correlation_id,
        buckets=tuple(_bucket(b) for b in message.buckets),
        refused=tuple(PolicyName(name) for name in message.refused),
        is_whole=not message.is_read,
        refill_mode=_MODES_BY_NUMBER.get(message.refill_mode),
    )


def _bucket(message: feed_pb2.BucketObservation) -> BucketObservation:
    counts = None
    if message.HasField("response_counts"):
        answers = message.response_counts
        counts = ResponseCounts(answers.total, answers.not_found, answers.rate_limited, answers.instance)
    return BucketObservation(
        bucket=Bucket(
            policy=PolicyName(message.policy),
            available_tokens=message.available_tokens,
            capacity=message.capacity,
            refill_tokens=message.refill_tokens,
            refill_period_seconds=message.refill_period_seconds,
            response_counts=counts,
        ),
        **{name: getattr(message, name) for name in _ESTIMATES if message.HasField(name)},
    )


def _fill_timestamp(message: Timestamp, at: datetime) -> None:
    # In integers: a float of seconds since 1970 does not hold microseconds exactly.
    since = at - _EPOCH
    message.seconds = since.days * 86400 + since.seconds
    message.nanos = since.microseconds * 1000


def _datetime(message: Timestamp) -> datetime:
    return _EPOCH + timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)
