"""What a reconciler makes of what it hears, without a socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from exporter.alerts.alert import Severity, Transition
from exporter.buckets.observation import Failure
from exporter.config.settings import PollSettings, Settings
from exporter.durations import Duration
from exporter.feed.client import FeedClient
from exporter.feed.inbox import Inbox
from exporter.feed.ownership import Ownership
from exporter.feed.stubs import feed_pb2
from exporter.feed.wire import Report, poll_message
from exporter.metrics import Metrics
from tests.support.builders import PARTICIPANT, alert, at, bucket, poll
from tests.support.conditions import until
from tests.support.logs import logged

if TYPE_CHECKING:
    from datetime import datetime

    from exporter.buckets.observation import Poll

OTHER = "87654321"
FIRED = Transition(alert(), at(0), None, None, None)


class Call:
    """Keeps what is written to the exporter."""

    def __init__(self) -> None:
        self.opened: list[feed_pb2.Open] = []
        self.reports: list[feed_pb2.Report] = []

    async def write(self, message: feed_pb2.FromReconciler) -> None:
        if message.HasField("open"):
            self.opened.append(message.open)
        else:
            self.reports.append(message.report)


class Follower:
    """A client that no exporter has answered yet, and what it did."""

    def __init__(self, ownership: Ownership | None = None, target: str = "a", **given: Any) -> None:
        self.inbox = Inbox(100)
        self.ownership = ownership or Ownership()
        self.metrics = Metrics().feed
        self.asked: list[tuple[str, list[str]]] = []
        self.after_sequence = given.pop("resume_after", 0)
        self.seconds = given.get("now", 0)
        self.client = FeedClient(
            target,
            channels=None,
            inbox=self.inbox,
            ownership=self.ownership,
            follower=self,
            settings=Settings(
                participants=tuple(given.get("participants", ())),
                poll=PollSettings(interval=Duration(10), staleness=Duration(300)),
            ),
            metrics=self.metrics,
        )

    async def open(self, *participants: str, stream_id: str = "s") -> bool:
        """Hears that a feed opens; returns whether it is to be opened again at another poll."""
        opened = feed_pb2.Opened(stream_id=stream_id, participants=participants, poll_interval_seconds=15)
        again = await self.client._resumes(opened)
        if not again:
            self.client._receive(feed_pb2.FromExporter(opened=opened))
        return again

    def hear(self, *polls: Poll) -> None:
        for made in polls:
            self.client._receive(feed_pb2.FromExporter(poll=poll_message(made)))

    async def inbox_polls(self) -> list[Poll]:
        return await self.inbox.take(100) if len(self.inbox) else []

    async def sends(self, reports: int) -> Call:
        """Returns what the client says when it is connected, once it has made so many reports."""
        call = Call()
        sending = asyncio.create_task(self.client._send(call))
        await until(lambda: len(call.reports) == reports)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        return call

    @property
    def unreadable(self) -> float:
        return self.metrics.dropped.labels("unreadable")._value.get()

    def lost(self, participant: str) -> Poll:
        return self.client._silence.failed_poll(participant, self.client.stream_id, self.now())

    def now(self) -> datetime:
        return at(self.seconds)

    async def resume_after(self, stream_id: str, participants) -> int:
        self.asked.append((stream_id, list(participants)))
        return self.after_sequence


async def test_polls_are_heard_in_order_as_those_of_the_stream_that_was_opened() -> None:
    follower = Follower()
    await follower.open(PARTICIPANT)

    follower.hear(poll(seconds=0), poll(seconds=15))

    assert await follower.inbox_polls() == [poll(seconds=0, stream_id="s"), poll(seconds=15, stream_id="s")]


async def test_a_feed_that_breaks_off_is_opened_again_after_the_last_poll_or_gap() -> None:
    follower = Follower(participants=[PARTICIPANT])
    await follower.open(PARTICIPANT)
    follower.hear(poll(sequence=1))
    follower.client._receive(feed_pb2.FromExporter(gap=feed_pb2.Gap(**{"from": 2, "to": 7})))
    opening = feed_pb2.Open(participants=[PARTICIPANT], stream_id="s", after_sequence=7)

    assert (await follower.sends(1)).opened == [opening]

    follower.hear(poll(sequence=8))
    assert (await follower.sends(1)).opened[0].after_sequence == 8


async def test_a_gap_is_told_with_both_ends(caplog) -> None:
    follower = Follower()

    follower.client._receive(feed_pb2.FromExporter(gap=feed_pb2.Gap(**{"from": 2, "to": 7})))

    [(message, first, last)] = logged(caplog, "first_sequence", "last_sequence")
    assert "no longer in the exporter's backlog" in message
    assert (first, last) == (2, 7)


async def test_a_stream_that_the_database_knows_is_opened_again_from_there() -> None:
    follower = Follower(resume_after=41)

    assert await follower.open(PARTICIPANT)

    assert follower.asked == [("s", [PARTICIPANT])]
    assert (follower.client.stream_id, follower.client._after_sequence) == ("s", 41)
    assert not await follower.open(PARTICIPANT)
    assert len(follower.asked) == 1


async def test_the_database_is_asked_of_those_whom_no_other_exporter_owns() -> None:
    follower = Follower()
    follower.ownership.acquire(OTHER, "b")

    await follower.open(PARTICIPANT, OTHER)

    assert follower.asked == [("s", [PARTICIPANT])]


async def test_polls_of_a_participant_that_another_exporter_owns_are_passed_over_and_not_asked_for_again() -> None:
    follower = Follower()
    follower.ownership.acquire(OTHER, "b")
    await follower.open(PARTICIPANT, OTHER)

    follower.hear(poll(sequence=1), poll(sequence=2, participant=OTHER))

    assert [made.sequence for made in await follower.inbox_polls()] == [1]
    assert follower.client._after_sequence == 2
    assert not follower.client.owns(OTHER)
    assert follower.client.owns(PARTICIPANT)


async def test_a_poll_that_cannot_be_is_counted_passed_over_and_not_asked_for_again() -> None:
    follower = Follower()
    await follower.open(PARTICIPANT)
    impossible, beyond_time = poll_message(poll(bucket(1), sequence=1)), poll_message(poll(sequence=2))
    impossible.answered.buckets[0].capacity = 0
    beyond_time.polled_at.seconds = 10**15

    for message in (impossible, beyond_time):
        follower.client._receive(feed_pb2.FromExporter(poll=message))
    follower.hear(poll(sequence=3))

    assert [made.sequence for made in await follower.inbox_polls()] == [3]
    assert follower.unreadable == 2
    assert follower.client._after_sequence == 3


async def test_a_participant_that_a_feed_no_longer_carries_is_free_for_another() -> None:
    ownership = Ownership()
    one, two = Follower(ownership, "a"), Follower(ownership, "b")
    await one.open(PARTICIPANT, OTHER)

    await one.open(PARTICIPANT)
    await two.open(OTHER)

    assert one.client.participants == {PARTICIPANT}
    assert two.client.owns(OTHER)


async def test_what_was_committed_while_the_exporter_was_away_is_told_when_it_is_back() -> None:
    follower = Follower()
    follower.client.report(Report(series=[(Severity.WARNING, True)]))
    follower.client.report(Report(outbox_pending=9, outbox_oldest_age_seconds=12.5))
    follower.client.report(Report(outbox_pending=3))
    follower.client.report(Report(sequence=1, transitions=(FIRED,)))
    await follower.open(PARTICIPANT)

    latest, *others = (await follower.sends(2)).reports

    assert [(s.severity, s.per_policy) for s in latest.series] == [("warning", True)]
    assert (latest.outbox_pending, latest.HasField("outbox_oldest_age_seconds")) == (3, False)
    assert not latest.transitions
    assert [len(report.transitions) for report in others] == [1]


async def test_a_report_that_was_sent_is_not_sent_again() -> None:
    follower = Follower()
    await follower.open(PARTICIPANT)
    follower.client.report(Report(sequence=1, transitions=(FIRED,)))
    await follower.sends(2)

    follower.client.report(Report(sequence=2, transitions=(FIRED,)))

    assert [report.sequence for report in (await follower.sends(2)).reports] == [0, 2]


@pytest.mark.parametrize(("stream_id", "sequence"), [("s", 7), ("after a restart", 0)])
async def test_reports_that_wait_name_no_polls_of_a_stream_that_has_ended(stream_id: str, sequence: int) -> None:
    follower = Follower()
    await follower.open(PARTICIPANT)
    follower.client.report(Report(sequence=7, transitions=(FIRED,)))

    await follower.open(PARTICIPANT, stream_id=stream_id)

    assert (await follower.sends(2)).reports[1].sequence == sequence


async def test_when_another_reconciler_led_meanwhile_only_what_rules_can_produce_is_remembered() -> None:
    follower = Follower()
    await follower.open(PARTICIPANT)
    follower.hear(poll(sequence=5))
    follower.client.report(
        Report(sequence=5, transitions=(FIRED,), series=[(Severity.WARNING, True)], outbox_pending=3)
    )

    follower.client.reset()

    assert follower.lost(PARTICIPANT).last_success_at is None
    call = await follower.sends(1)
    assert (call.opened[0].stream_id, call.opened[0].after_sequence) == ("", 0)
    (latest,) = call.reports
    assert latest.series
    assert not latest.HasField("outbox_pending")


@pytest.mark.parametrize(("now", "seconds"), [(100, 100), (0, 90)], ids=["our clock", "the exporter's is ahead"])
async def test_a_lost_feed_is_a_failed_poll_after_the_last_one(now: float, seconds: float) -> None:
    follower = Follower(now=now)
    await follower.open(PARTICIPANT)
    follower.hear(poll(seconds=60, traceparent="00-a-b-01", duration_seconds=1.0))
    follower.client._silence._heard_at = asyncio.get_running_loop().time() - 30

    lost = follower.lost(PARTICIPANT)

    assert isinstance(lost.result, Failure)
    assert lost.result.code == "FEED_LOST"
    assert (lost.polled_at - at(seconds)).total_seconds() == pytest.approx(0, abs=5)
    assert (lost.stream_id, lost.sequence, lost.traceparent, lost.duration_seconds) == ("s", 0, None, 0)
    assert lost.last_success_at == at(60)


async def test_a_feed_that_never_answered_is_a_failed_poll_of_those_asked_for() -> None:
    follower = Follower(participants=[PARTICIPANT], now=7)

    lost = follower.lost(PARTICIPANT)

    assert follower.client.owns(PARTICIPANT)
    assert (lost.stream_id, lost.sequence, lost.polled_at) == ("", 0, at(7))
    assert (lost.interval_seconds, lost.staleness_seconds) == (10, 300)
