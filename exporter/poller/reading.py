"""Reads of single buckets: made as `reads` plans them, counted, and given up for a while where the Bridge refuses."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from exporter import telemetry
from exporter.bridge.answer import read_one
from exporter.bridge.client import BridgeClient
from exporter.buckets.bucket import Bucket, Ispb, PolicyName, Snapshot
from exporter.clock import Clock
from exporter.config.settings import PollSettings
from exporter.errors import BadAnswer, BridgeBudgetExhausted, BridgeError, BridgeRefused
from exporter.metrics import Metrics
from exporter.poller.answer_log import DefectLog
from exporter.poller.reads import PlannedRead, ReadPlanner
from exporter.poller.reads_off import ReadsOff

log = logging.getLogger(__name__)

OFF_SECONDS: Final = 3600.0
"""How long nothing is read after the Bridge has refused it; or one bucket, where it knows no such policy."""


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """A bucket's state, and when it was received (UTC)."""

    snapshot: Snapshot
    received_at: datetime


class BucketReader:
    """Reads buckets of one participant. Times are in seconds since 1970.

    A call that fails changes nothing but the plan: where the Bridge does not answer there are no more before the next
    poll.
    """

    def __init__(
        self,
        participant: Ispb,
        *,
        client: BridgeClient,
        settings: PollSettings,
        metrics: Metrics,
        clock: Clock,
        off: ReadsOff,
    ) -> None:
        self._off = off
        self._refusal: str | None = None
        self._participant = participant
        self._client = client
        self._settings = settings
        self._metrics = metrics.polls
        self._clock = clock
        self._planner = ReadPlanner(settings.reads.share, settings.reads.reserve, settings.interval)
        self._defects = DefectLog(participant, metrics)
        self._stopped_until = -math.inf
        self._policy_stopped_until: dict[PolicyName, float] = {}
        self._metrics.reads.labels(participant)  # there at 0

    def poll_answered(self, buckets: Iterable[Bucket], received_at: datetime) -> None:
        """Takes in the answer to a whole poll."""
        now = received_at.timestamp()
        self._planner.poll_answered(buckets, now)
        self._off.set(self._participant, self._planner.obstacle or self._refusal)
        self._policy_stopped_until = {policy: end for policy, end in self._policy_stopped_until.items() if now < end}

    def next(self, now: float, until: float) -> PlannedRead | None:
        """Returns the read to make next, before ``until``, the next whole poll; None: there is none."""
        if now < self._stopped_until:
            return None
        return self._planner.next(now, until, self._policy_stopped_until)

    async def read(
        self, policy: PolicyName, last_observed_at: datetime | None, time_limit_seconds: float
    ) -> ReadAnswer | None:
        """Returns what the Bridge answers about a bucket, last observed then; None: nothing new."""
        self._planner.budget.spend(self._clock.now().timestamp())
        try:
            response = await self._client.read(self._participant, policy, time_limit_seconds=time_limit_seconds)
            received_at = self._clock.now()
            answer = read_one(
                response,
                participant=self._participant,
                policy=policy,
                received_at=received_at,
                last_observed_at=last_observed_at,
                max_clock_skew_seconds=self._settings.max_clock_skew,
            )
        except BridgeError as error:
            telemetry.span_failed(str(error))
            self._note_failure(policy, error)
            return None
        self._metrics.reads.labels(self._participant).inc()
        self._defects.note(answer.defects)
        self._refusal = None
        self._off.set(self._participant, None)
        if not answer.is_news:
            # A cache in between: before the next poll it would answer the same.
            self._policy_stopped_until[policy] = received_at.timestamp() + self._settings.interval
            return None
        self._planner.read_answered(answer.snapshot.buckets[0], received_at.timestamp())
        return ReadAnswer(answer.snapshot, received_at)

    def _note_failure(self, policy: PolicyName, error: BridgeError) -> None:
        self._metrics.errors.labels(self._participant, error.code).inc()
        now = self._clock.now().timestamp()
        fields = {"participant": self._participant, "policy": policy, "code": error.code, "error": str(error)}
        if isinstance(error, BridgeRefused) and error.code != "NOT_FOUND":
            self._stopped_until, self._refusal = now + OFF_SECONDS, error.code
            self._off.set(self._participant, error.code, str(error))
            return
        log.info("read failed", extra=fields)
        if isinstance(error, BadAnswer):
            self._defects.note(error.defects)
            self._policy_stopped_until[policy] = now + self._settings.interval
        elif isinstance(error, BridgeRefused):
            self._policy_stopped_until[policy] = now + OFF_SECONDS
        elif isinstance(error, BridgeBudgetExhausted):
            self._planner.budget.dry()
        else:
            self._stopped_until = now + self._settings.interval
