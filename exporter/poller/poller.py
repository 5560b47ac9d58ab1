"""The timer: one task per participant, exact cadence, within POLICIES_LIST's own budget (`budget`).

Between two whole polls single buckets are read, as planned by `reads`. A participant has one call at a time: a read
ends before the next poll is due.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from zlib import crc32

from exporter import telemetry
from exporter.bridge.answer import Answer, ResponseTime, read
from exporter.bridge.client import BridgeClient
from exporter.bridge.defect import Defect
from exporter.buckets.bucket import Ispb, PolicyName, Snapshot
from exporter.buckets.catalog import POLICIES_LIST
from exporter.buckets.estimate import Estimator
from exporter.buckets.observation import Category, Failure, Observation, Poll, View, view_after
from exporter.clock import Clock
from exporter.config.settings import PollSettings, Settings
from exporter.errors import BadAnswer, BridgeBudgetExhausted, BridgeError
from exporter.feed.backlog import Stream
from exporter.metrics import Metrics
from exporter.poller.answer_log import DefectLog, DifferenceLog
from exporter.poller.budget import LONGEST_WAIT_SECONDS, Budget
from exporter.poller.reading import BucketReader
from exporter.poller.reads import PlannedRead
from exporter.poller.reads_off import ReadsOff

log = logging.getLogger(__name__)

REMEMBERED_ANSWERS: Final = 16
"""How many response times are remembered: caches in between may answer in turn, each with its own."""

LONGEST_FIRST_WAIT_SECONDS: Final = 15.0
"""However long the interval, a process that starts polls within this time."""

LONGEST_POLL_SHARE: Final = 0.95
"""Of the interval: a poll that runs out of time ends before the next is due, and does not cost it its place."""


SHORTEST_READ_SECONDS: Final = 0.5
"""A read that would have less time until the next poll is not made."""


class Poller:
    """Polls one participant. ``run`` ends only by cancellation. ``reader`` is None where the settings want no reads."""

    def __init__(
        self,
        participant: Ispb,
        *,
        client: BridgeClient,
        settings: Settings,
        sink: Stream,
        metrics: Metrics,
        clock: Clock,
        reads_off: ReadsOff,
    ) -> None:
        self.participant = participant
        self.view: View | None = None
        self.reader: BucketReader | None = None
        if settings.poll.reads.share:
            self.reader = BucketReader(
                participant, client=client, settings=settings.poll, metrics=metrics, clock=clock, off=reads_off
            )
        self._client = client
        self._settings = settings.poll
        self._retries = settings.bridge.retries
        self._max_policies = settings.limits.policies
        self._sink = sink
        self._metrics = metrics
        self._clock = clock
        self._estimator = _estimator(settings.poll)
        self._budget = Budget()
        self._budget_known_at = time.monotonic()
        self._observed_at: datetime | None = None
        self._news_at: datetime | None = None
        self._response_times: deque[ResponseTime] = deque(maxlen=REMEMBERED_ANSWERS)
        self._category: Category | None = None
        self._began_at = clock.now()
        self._last_success_at: datetime | None = None
        self._clock_skew_seconds: float | None = None
        self._differences = DifferenceLog(participant)
        self._defects = DefectLog(participant, metrics)
        self._is_down = False

    async def run(self) -> None:
        """Polls at a phase of the participant's own and then at exact intervals: no jitter, no overlap, no drift."""
        loop = asyncio.get_running_loop()
        interval_seconds = float(self._settings.interval)
        due = loop.time() + self._first_wait_seconds()
        while True:
            await asyncio.sleep(due - loop.time())
            wait_seconds = await self.poll(LONGEST_POLL_SHARE * interval_seconds)
            # A late or long poll skips the instants it missed; those after stay on the grid.
            steps = max(1, math.ceil((max(loop.time(), due + wait_seconds) - due) / interval_seconds - 1e-9))
            due += steps * interval_seconds
            await self._read_until(due)

    def learn_category(self, category: Category) -> None:
        """Takes over what is known of the time before this process began."""
        own = self._category
        if own is None or (
            own.name == category.name
            and category.changed_at is not None
            and (own.changed_at is None or own.changed_at < category.changed_at)
        ):
            self._category = category

    def _first_wait_seconds(self) -> float:
        """Returns a phase by the clock, which spreads participants and is the same in every process.

        So one that takes over polls when the other would have.
        """
        cycle_seconds = min(float(self._settings.interval), LONGEST_FIRST_WAIT_SECONDS)
        phase_seconds = crc32(self.participant.encode()) / 2**32 * cycle_seconds
        return (phase_seconds - self._clock.now().timestamp()) % cycle_seconds

    async def poll(self, time_limit_seconds: float) -> float:
        """Makes one poll and publishes it; returns the seconds to wait until the next."""
        with telemetry.span("poll", participant=self.participant):
            started = time.monotonic()
            result, answered_at, retry_after_seconds = await self._observe(time_limit_seconds)
            if isinstance(result, Failure):
                telemetry.span_failed(result.message)
            duration_seconds = round(time.monotonic() - started, 6)  # microseconds, as other times
            poll = self._publish(result, answered_at, duration_seconds)
            self._metrics.polls.duration.observe(duration_seconds)
        return max(poll.interval_seconds, retry_after_seconds)

    def _publish(self, result: Observation | Failure, answered_at: datetime, duration_seconds: float) -> Poll:
        poll = Poll(
            stream_id=self._sink.stream_id,
            sequence=self._sink.next_sequence(),
            participant=self.participant,
            polled_at=answered_at,
            interval_seconds=self._budget.interval_seconds(float(self._settings.interval)),
            staleness_seconds=float(self._settings.staleness),
            result=result,
            clock_skew_seconds=self._clock_skew_seconds,
            last_success_at=self._last_success_at,
            category=self._category,
            stream_began_at=self._began_at,
            duration_seconds=duration_seconds,
            traceparent=telemetry.traceparent(),
        )
        self.view = view_after(self.view, poll)
        self._metrics.publish(self.view)
        self._sink.publish(poll)
        return poll

    async def _read_until(self, due: float) -> None:
        """Reads single buckets, as planned, until the next poll is ``due``, by the loop's clock."""
        loop = asyncio.get_running_loop()
        ahead = self._clock.now().timestamp() - loop.time()
        while (planned := self.next_read(loop.time() + ahead, due + ahead - SHORTEST_READ_SECONDS)) is not None:
            await asyncio.sleep(planned.at - ahead - loop.time())
            await self.read(planned.policy, due - loop.time())

    def next_read(self, now: float, until: float) -> PlannedRead | None:
        """Returns the read to make next, before ``until``; None: there is none. In seconds since 1970.

        Buckets are read only while whole polls are answered.
        """
        if self.reader is None or self.view is None or not self.view.up:
            return None
        return self.reader.next(now, until)

    async def read(self, policy: PolicyName, time_limit_seconds: float) -> None:
        """Reads one bucket, and publishes it as a poll of that alone where it is news."""
        if self.reader is None or self.view is None:
            return
        with telemetry.span("read", participant=self.participant, policy=policy):
            started = time.monotonic()
            known = self.view.buckets.get(policy)
            read = await self.reader.read(policy, known.observed_at if known else None, time_limit_seconds)
            if read is None:
                return
            # The category is what the last whole answer said.
            snapshot = replace(read.snapshot, category=self._category.name if self._category else None)
            observation = self._estimator.observe(snapshot)
            self._publish(observation, read.received_at, round(time.monotonic() - started, 6))

    async def _observe(self, time_limit_seconds: float) -> tuple[Observation | Failure, datetime, float]:
        attempts = 1
        try:
            retries = self._budget.retries(self._retries)
            fetched = await self._client.fetch(self.participant, retries=retries, time_limit_seconds=time_limit_seconds)
            attempts = fetched.attempts
            received_at = self._clock.now()
            self._drop_future(received_at)
            answer = read(
                fetched.response,
                participant=self.participant,
                received_at=received_at,
                last_observed_at=self._observed_at,
                max_clock_skew_seconds=self._settings.max_clock_skew,
                seen=tuple(self._response_times),
                known_policies=self.view.buckets.keys() | set(self.view.refused) if self.view is not None else (),
                max_policies=self._max_policies,
            )
            self._refuse_stale_repeat(answer, received_at)
        except BridgeError as error:
            error.attempts = max(error.attempts, attempts)
            return self._failed(error)
        return self._answered(answer, received_at, attempts), received_at, 0.0

    def _refuse_stale_repeat(self, answer: Answer, received_at: datetime) -> None:
        """Raises BadAnswer where answers repeat one for the staleness: a cache in between that never asks again."""
        if answer.is_news or self._news_at is None:
            return
        age_seconds = (received_at - self._news_at).total_seconds()
        if age_seconds >= self._settings.staleness:
            observed_at = answer.snapshot.observed_at.isoformat()
            raise BadAnswer(
                f"the Bridge's answer for {self.participant} was refused: it repeats that of {observed_at} "
                f"for {age_seconds:.0f} s; is there a cache in between?",
                defects=(Defect("repeated", None, observed_at),),
            )

    def _failed(self, error: BridgeError) -> tuple[Failure, datetime, float]:
        self._metrics.polls.errors.labels(self.participant, error.code).inc()
        if isinstance(error, BadAnswer):
            self._defects.note(error.defects)
        level, event = (logging.INFO, "poll failed again") if self._is_down else (logging.WARNING, "poll failed")
        log.log(level, event, extra={"participant": self.participant, "code": error.code, "error": str(error)})
        self._is_down = True
        retry_after_seconds = 0.0
        if isinstance(error, BridgeBudgetExhausted):
            now = time.monotonic()
            self._budget = self._budget.dry(now - self._budget_known_at)
            self._budget_known_at = now
            retry_after_seconds = min(self._budget.seconds_per_token, LONGEST_WAIT_SECONDS)
        else:
            self._budget = self._budget.less(error.attempts)
        return Failure(error.code, str(error)), self._clock.now(), retry_after_seconds

    def _answered(self, answer: Answer, received_at: datetime, attempts: int) -> Observation:
        snapshot = answer.snapshot
        self._defects.note(answer.defects)
        if self._is_down:
            log.info("poll answered again", extra={"participant": self.participant})
        self._is_down = False
        self._last_success_at = received_at
        if not answer.is_news:
            # It may have cost a token, and does not say how many are left.
            self._budget = self._budget.less(attempts)
            return self._estimator.observe(snapshot)
        self._observed_at = snapshot.observed_at
        self._news_at = received_at
        if answer.response_time is not None:
            self._response_times.append(answer.response_time)
        self._clock_skew_seconds = answer.clock_skew_seconds
        self._note_category(snapshot)
        self._differences.note(snapshot)
        for bucket in snapshot.buckets:
            if bucket.policy == POLICIES_LIST:
                self._budget = Budget.of(bucket)
                self._budget_known_at = time.monotonic()
        if self.reader is not None:
            self.reader.poll_answered(snapshot.buckets, received_at)
        return self._estimator.observe(snapshot)

    def _drop_future(self, now: datetime) -> None:
        """Drops what a wrong clock stamped: it must not hide what comes now that the clock is right."""
        latest = now + timedelta(seconds=float(self._settings.max_clock_skew))
        if self._observed_at is not None and self._observed_at > latest:
            log.warning(
                "last observation is ahead of the clock, which was set back: estimates begin again",
                extra={"participant": self.participant, "observed_at": self._observed_at.isoformat()},
            )
            self._observed_at = self._news_at = None
            self._response_times.clear()
            self._estimator = _estimator(self._settings)
            if self._category is not None and self._category.changed_at is not None:
                self._category = replace(self._category, changed_at=min(now, self._category.changed_at))
            self._began_at = min(now, self._began_at)

    def _note_category(self, snapshot: Snapshot) -> None:
        if snapshot.category is None:
            return
        if self._category is None:
            self._category = Category(snapshot.category)
        elif snapshot.category != self._category.name:
            fields = {"participant": self.participant, "previous": self._category.name, "category": snapshot.category}
            log.warning("category changed", extra=fields)
            self._category = Category(snapshot.category, snapshot.observed_at, self._category.name)


def _estimator(settings: PollSettings) -> Estimator:
    return Estimator(settings.estimate_window, settings.interval, settings.lowest_window)
