"""What one poll saw, and what `/metrics` shows after it.

Exporter, reconciler and history fold the same polls with the same function
(`view_after`), so they cannot disagree about what a rule sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from exporter.buckets.bucket import Bucket, Ispb, PolicyName
from exporter.buckets.refill import RefillMode


@dataclass(frozen=True, slots=True)
class BucketObservation:
    """A bucket's state with the figures derived from it and its recent past.

    ``consumption_rate_per_minute`` tokens per minute, gross of refill, never negative; None: not known yet.
    ``exhaustion_projection_seconds`` seconds to empty; 0 when empty, ``inf`` when not draining;
    None where the rate is None.
    ``error_404_rate`` and ``error_429_rate`` shares of 404s and of 429s, 0 to 1; None where nothing was counted.
    ``lowest_available_tokens`` the lowest level of late, that of a 429 included; None: of an exporter of the release
    before.
    """

    bucket: Bucket
    consumption_rate_per_minute: float | None = None
    exhaustion_projection_seconds: float | None = None
    error_404_rate: float | None = None
    error_429_rate: float | None = None
    lowest_available_tokens: int | None = None

    @property
    def lowest_tokens(self) -> int:
        """The lowest level of late; where none is told, the level."""
        if self.lowest_available_tokens is None:
            return self.bucket.available_tokens
        return self.lowest_available_tokens

    @property
    def lowest_left_percent(self) -> float:
        """`lowest_tokens`, of 100 at capacity: 0 to 100."""
        return self.bucket.percent_of(self.lowest_tokens)


@dataclass(frozen=True, slots=True)
class Observation:
    """A snapshot with its derived figures, sorted by policy.

    Not ``is_whole``: of a read, which asks for one bucket. It says nothing of the others, nor of the category.
    ``refill_mode`` is what the participant's answers have shown up to this one; None: not known. It is not stored.
    """

    participant: Ispb
    observed_at: datetime
    category: str | None
    correlation_id: str
    buckets: tuple[BucketObservation, ...]
    refused: tuple[PolicyName, ...] = ()
    is_whole: bool = True
    refill_mode: RefillMode | None = field(default=None, compare=False)


PARTICIPANT_REMOVED: Final = "PARTICIPANT_REMOVED"
"""The code of the failure that is written in place of a poll when the configuration no longer names a participant."""

MISSED_INTERVALS: Final = 2.5
"""This many intervals without a poll are a gap: one that comes late, or twice as late, is not."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A poll that gave no observation.

    ``code`` is a gRPC status name, ``BAD_ANSWER``, ``FEED_LOST`` or ``PARTICIPANT_REMOVED``.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Category:
    """What is known of a participant's category: the last one that was answered, and where it changed to that one.

    ``changed_at`` is DICT's time; None: it was never seen to change.
    """

    name: str
    changed_at: datetime | None = None
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """One attempt to observe a participant, answered or not; or an answered read of one of its buckets.

    ``stream_id`` is new at each start of the exporter, which starts blank;
    ``sequence`` counts that stream's polls from 1, over all participants. A poll
    that no exporter made (``FEED_LOST``) has sequence 0 and the last known stream. ``polled_at`` is our UTC
    time, which goes back only where a clock that was wrong was set right.
    ``interval_seconds`` is the cadence as stretched by the budget. ``clock_skew_seconds`` is DICT's clock less ours.
    ``category`` is None until one was answered. ``stream_began_at`` is when the exporter started, knowing nothing.
    """

    stream_id: str
    sequence: int
    participant: Ispb
    polled_at: datetime
    interval_seconds: float
    staleness_seconds: float
    result: Observation | Failure
    clock_skew_seconds: float | None = None
    last_success_at: datetime | None = None
    category: Category | None = None
    stream_began_at: datetime | None = None
    duration_seconds: float = 0.0
    traceparent: str | None = None

    @property
    def answered(self) -> bool:
        return isinstance(self.result, Observation)

    @property
    def is_removal(self) -> bool:
        """Whether it says that the participant is no longer configured."""
        return isinstance(self.result, Failure) and self.result.code == PARTICIPANT_REMOVED

    @property
    def is_read(self) -> bool:
        """Whether one bucket was asked for. Reads are made only while whole polls are answered."""
        return isinstance(self.result, Observation) and not self.result.is_whole


@dataclass(frozen=True, slots=True)
class VisibleBucket:
    """A bucket that `/metrics` shows, and the poll (its UTC time) that last confirmed it."""

    observation: BucketObservation
    observed_at: datetime
    confirmed_at: datetime


@dataclass(frozen=True, slots=True)
class View:
    """What `/metrics` shows of one participant after ``poll``.

    ``buckets`` by policy, sorted. ``category`` is None where none was confirmed
    within the staleness. ``refused`` are the policies that the last answer held
    with impossible figures. ``observed_at`` is the last whole observation's, and ``news_at`` the
    poll (its UTC time) that first held it; it ``is_stale`` where answers have repeated it for the staleness.
    ``whole_at`` is the last poll (its UTC time) that was no read; None: there was none yet.
    ``refill_mode`` is the last observation's, be it whole or a read.
    """

    poll: Poll
    buckets: Mapping[PolicyName, VisibleBucket] = field(default_factory=dict)
    category: str | None = None
    category_confirmed_at: datetime | None = None
    refused: tuple[PolicyName, ...] = ()
    observed_at: datetime | None = None
    news_at: datetime | None = None
    is_stale: bool = False
    whole_at: datetime | None = None
    refill_mode: RefillMode | None = field(default=None, compare=False)

    @property
    def participant(self) -> Ispb:
        return self.poll.participant

    @property
    def at(self) -> datetime:
        """UTC time of the poll: the instant at which rules are evaluated."""
        return self.poll.polled_at

    @property
    def up(self) -> bool:
        return self.poll.answered and not self.is_stale

    def is_current(self, visible: VisibleBucket) -> bool:
        """Returns whether a bucket's state is that of the last whole poll, or of a read since."""
        return visible.confirmed_at >= (self.whole_at or self.at)

    @property
    def is_partial(self) -> bool:
        """Whether only reads are known of the time within the staleness: what is not shown need not be gone."""
        if not self.poll.is_read:
            return False
        return self.whole_at is None or (self.at - self.whole_at).total_seconds() >= self.poll.staleness_seconds


def view_after(earlier: View | None, poll: Poll) -> View:
    """Returns what `/metrics` shows after ``poll``, given what it showed before.

    A bucket that no answer has confirmed for ``poll.staleness_seconds`` is not
    shown. An observation that is answered again confirms nothing. An exporter that
    has just started (another ``stream_id``) shows nothing of what its predecessor knew.
    A read changes its bucket alone, and an answer that was overtaken by a read does not take that bucket back.
    """
    if earlier is None or (poll.sequence and earlier.poll.stream_id != poll.stream_id):
        earlier = View(poll)
    kept = {p: b for p, b in earlier.buckets.items() if _is_fresh(b.confirmed_at, poll)}
    category, category_confirmed_at = earlier.category, earlier.category_confirmed_at
    if category_confirmed_at is None or not _is_fresh(category_confirmed_at, poll):
        category = category_confirmed_at = None
    known = (category, category_confirmed_at, earlier.refused, earlier.observed_at, earlier.news_at)
    if isinstance(poll.result, Failure):
        return View(poll, kept, *known, whole_at=poll.polled_at, refill_mode=earlier.refill_mode)
    mode = poll.result.refill_mode
    if poll.result.is_whole:
        before = View(poll, kept, *known, whole_at=poll.polled_at, refill_mode=mode)
        return _after_whole_answer(before, poll.result)
    buckets = _after_read(kept, poll.result, poll.polled_at)
    return View(poll, buckets, *known, whole_at=earlier.whole_at, refill_mode=mode)


def _is_fresh(confirmed_at: datetime, poll: Poll) -> bool:
    # What lies further ahead was confirmed by a clock that was wrong.
    return abs((poll.polled_at - confirmed_at).total_seconds()) < poll.staleness_seconds


def _after_whole_answer(before: View, answer: Observation) -> View:
    """Returns the view after an answer about all buckets, where ``before`` holds what is left of those known before."""
    poll, kept, news_at = before.poll, before.buckets, before.news_at
    if news_at is None or before.observed_at != answer.observed_at:
        news_at = poll.polled_at
    if not _is_fresh(news_at, poll):
        return replace(before, refused=answer.refused, is_stale=True)
    category, category_confirmed_at = before.category, before.category_confirmed_at
    if answer.category is not None:
        category, category_confirmed_at = answer.category, news_at
    confirmed = {b.bucket.policy: VisibleBucket(b, answer.observed_at, news_at) for b in answer.buckets}
    if before.observed_at is not None and before.observed_at <= answer.observed_at:
        # Where answers go back in time instead, a clock was set, and what it had stamped is not newer.
        confirmed |= {p: b for p, b in kept.items() if p in confirmed and b.observed_at > answer.observed_at}
    if kept.keys() - confirmed.keys():
        confirmed = dict(sorted({**kept, **confirmed}.items()))
    of_answer = (category, category_confirmed_at, answer.refused, answer.observed_at, news_at)
    return View(poll, confirmed, *of_answer, whole_at=before.whole_at, refill_mode=before.refill_mode)


def _after_read(
    kept: dict[PolicyName, VisibleBucket], answer: Observation, read_at: datetime
) -> dict[PolicyName, VisibleBucket]:
    """Returns the buckets after a read: those that it holds, where they are not known to be older than what is kept.

    What is known already is not confirmed: of such a read there is no row in the database, from which history must
    come to the same.
    """
    newer: dict[PolicyName, VisibleBucket] = {}
    for observation in answer.buckets:
        policy = observation.bucket.policy
        known = kept.get(policy)
        confirmed_at = read_at if known is None or known.observation != observation else known.confirmed_at
        if known is None or known.observed_at < answer.observed_at:
            newer[policy] = VisibleBucket(observation, answer.observed_at, confirmed_at)
    return kept | newer if newer.keys() <= kept.keys() else dict(sorted((kept | newer).items()))
