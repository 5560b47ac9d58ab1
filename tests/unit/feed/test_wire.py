"""What is sent is what is received."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given

from exporter.alerts.alert import AlertState, Severity, Transition
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import Category, Failure
from exporter.buckets.refill import RefillMode
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import Report, categories_of, feed_message, poll_message, poll_of, report_message
from tests.support.builders import (
    PARTICIPANT,
    POLICY,
    alert,
    at,
    bucket,
    counts,
    failed,
    observation,
    observed,
    poll,
    read,
)
from tests.support.stored import resolved
from tests.support.strategies import polls


def sent(made) -> feed_pb2.Poll:
    """The poll's message as it arrives."""
    return feed_pb2.Poll.FromString(poll_message(made).SerializeToString())


def reported(report: Report) -> feed_pb2.Report:
    return feed_pb2.Report.FromString(report_message(report).SerializeToString())


def transition(of) -> Transition:
    return Transition(of, at(0), None, None, None)


@given(polls("the stream"))
def test_every_poll_arrives_as_it_was_sent(made) -> None:
    assert poll_of(sent(made), "the stream") == made


def test_a_poll_belongs_to_the_stream_that_its_feed_opened() -> None:
    assert poll_of(sent(poll(stream_id="one")), "another").stream_id == "another"


@pytest.mark.parametrize(
    "name", ["clock_skew_seconds", "last_success_at", "category", "stream_began_at", "traceparent"]
)
def test_what_is_not_known_of_a_poll_arrives_as_not_known(name: str) -> None:
    assert getattr(poll_of(sent(replace(poll(), **{name: None})), "stream"), name) is None


def test_a_skew_of_zero_is_not_an_unknown_skew() -> None:
    assert poll_of(sent(poll(clock_skew_seconds=0.0)), "stream").clock_skew_seconds == 0


def test_figures_of_zero_are_not_unknown_figures() -> None:
    zeros = observed(bucket(0, response_counts=counts(0, 0)), rate=0.0, empty=0.0, share=0.0)

    (arrived,) = poll_of(sent(poll(zeros)), "stream").result.buckets

    assert arrived == zeros


def test_counts_that_the_bridge_does_not_give_arrive_as_not_given() -> None:
    (arrived,) = poll_of(sent(poll(bucket())), "stream").result.buckets

    assert arrived.bucket.response_counts is None


@pytest.mark.parametrize(
    "when",
    [
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 10, 12, 0, 0, 1, tzinfo=UTC),
        datetime(2262, 4, 11, 23, 47, 16, 854_775, tzinfo=UTC),
        datetime(2026, 3, 10, 9, 0, tzinfo=timezone(timedelta(hours=-3))),
    ],
)
def test_a_time_arrives_to_the_microsecond_and_in_utc(when: datetime) -> None:
    arrived = poll_of(sent(replace(poll(), polled_at=when)), "stream").polled_at

    assert arrived == when
    assert arrived.utcoffset() == timedelta(0)


def test_a_time_is_what_other_readers_of_the_message_take_it_for() -> None:
    assert sent(poll(seconds=0.25)).polled_at.ToDatetime(UTC) == at(0.25)


def test_a_read_comes_in_a_field_that_a_reconciler_of_the_release_before_passes_over() -> None:
    assert [
        feed_message(made).WhichOneof("message") for made in (poll(), failed(), read(bucket(), seconds=5, sequence=2))
    ] == [
        "poll",
        "poll",
        "read",
    ]


@pytest.mark.parametrize("mode", [None, *RefillMode])
def test_how_buckets_refill_arrives_with_polls_and_reads(mode: RefillMode | None) -> None:
    whole = observation(refill_mode=mode)

    for answered in (whole, replace(whole, is_whole=False)):
        assert poll_of(sent(poll(result=answered)), "stream").result.refill_mode is mode


def test_a_way_to_refill_that_only_a_later_release_knows_is_not_known_here() -> None:
    message = sent(poll())
    message.answered.refill_mode = 77

    assert poll_of(message, "stream").result.refill_mode is None


@pytest.mark.parametrize("category", [Category("H"), Category("A", datetime(1970, 1, 1, tzinfo=UTC), "H")])
def test_what_is_known_of_categories_arrives_with_a_report(category: Category) -> None:
    known = {Ispb("12345678"): category, Ispb("87654321"): Category("B", at(7))}
    message = feed_pb2.Report.FromString(report_message(Report(categories=known)).SerializeToString())

    assert categories_of(message) == known


def test_a_failure_arrives_with_its_code_and_message() -> None:
    lost = replace(poll(), result=Failure("UNAVAILABLE", "não respondeu"))

    assert poll_of(sent(lost), "stream").result == Failure("UNAVAILABLE", "não respondeu")


def test_other_readers_are_sent_the_seconds_to_full() -> None:
    made = bucket(9_000)

    (message,) = sent(poll(made)).answered.buckets

    assert message.recovery_eta_seconds == made.recovery_eta_seconds == 1350


@pytest.mark.parametrize("available", [-3, 36_001])
def test_a_bucket_in_debt_or_above_its_capacity_arrives_as_it_was(available: int) -> None:
    made = poll(bucket(available))

    assert poll_of(sent(made), "stream").result == made.result


@pytest.mark.parametrize(
    "impossible",
    [{"capacity": 0}, {"refill_tokens": 0}, {"policy": ""}],
)
def test_a_poll_that_cannot_be_is_refused(impossible: dict[str, int]) -> None:
    message = sent(poll(bucket()))
    for name, value in impossible.items():
        setattr(message.answered.buckets[0], name, value)

    with pytest.raises(ValueError, match=POLICY if "policy" not in impossible else "policy name"):
        poll_of(message, "stream")


def test_a_report_names_each_transition_in_order() -> None:
    fired = alert(severity=Severity.CRITICAL)
    ended = resolved(alert("Silent", policy=None, severity=Severity.INFO), 15)

    message = reported(Report(sequence=7, transitions=(transition(fired), transition(ended))))

    assert message.sequence == 7
    assert [(t.participant, t.policy, t.severity, t.state) for t in message.transitions] == [
        (PARTICIPANT, POLICY, Severity.CRITICAL, AlertState.FIRING),
        (PARTICIPANT, "", Severity.INFO, AlertState.RESOLVED),
    ]


def test_a_report_names_the_series_that_rules_can_produce() -> None:
    message = reported(Report(series=[(Severity.WARNING, True), (Severity.INFO, False)]))

    assert [(s.severity, s.per_policy) for s in message.series] == [("warning", True), ("info", False)]


@pytest.mark.parametrize(("pending", "age_seconds"), [(None, None), (0, None), (3, 0.0), (3, 12.5)])
def test_a_report_tells_an_empty_outbox_from_one_of_which_nothing_is_said(pending, age_seconds) -> None:
    message = reported(Report(outbox_pending=pending, outbox_oldest_age_seconds=age_seconds))

    for name, value in {"outbox_pending": pending, "outbox_oldest_age_seconds": age_seconds}.items():
        assert (getattr(message, name) if message.HasField(name) else None) == value


def test_a_report_of_nothing_is_an_empty_message() -> None:
    assert reported(Report()) == feed_pb2.Report()
