"""Consumption, exhaustion, the shares of 404s and 429s, and the lowest level, from successive snapshots.

A window ends at the last observation and begins at the one nearest to W before
it. W is the configured window, at least three poll intervals, rounded up to whole
refill periods (where these are at most 15 minutes): over whole periods the refill
is the same however it comes. Consumption is summed over consecutive observations
as ``min(earlier + refilled, capacity) - later`` (nothing refills what holds more
than its capacity); what overflowed at capacity is invisible, so the sum is a lower
bound there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Final

from exporter.buckets.bucket import Bucket, PolicyName, ResponseCounts, Snapshot
from exporter.buckets.error_shares import error_shares
from exporter.buckets.lowest import LowestLevel
from exporter.buckets.observation import BucketObservation, Observation
from exporter.buckets.refill import CLOCK_TOLERANCE_SECONDS, Phase, RefillEvidence, RefillMode, proof

LONGEST_WHOLE_PERIOD_SECONDS: Final = 900
_NEARLY: Final = 1e-6
"""Tokens: what floating point may lose of a sum."""


def window_seconds(estimate_window_seconds: float, poll_interval_seconds: float, refill_period_seconds: int) -> float:
    """Returns W, in seconds, for a bucket with this refill period."""
    least = max(estimate_window_seconds, 3 * poll_interval_seconds)
    if refill_period_seconds > LONGEST_WHOLE_PERIOD_SECONDS:
        return least
    return math.ceil(least / refill_period_seconds - 1e-9) * refill_period_seconds


_Seen = tuple[float, int, "ResponseCounts | None"]
"""Seconds since the estimator began, tokens, counts."""


@dataclass(slots=True)
class _History:
    """One bucket's recent observations, the oldest first."""

    capacity: int
    refill_tokens: int
    refill_period_seconds: int
    evidence: RefillEvidence
    window_seconds: float
    lowest: LowestLevel
    at: float = -math.inf
    """When the bucket was last seen."""
    seen: list[_Seen] = field(default_factory=list)
    polled: list[_Seen] = field(default_factory=list)
    """Those of ``seen`` that are no reads."""
    counted_from: float = -math.inf
    """From this time on the counts continue one another, or the last observation has none."""

    def begin_again(self) -> None:
        """Forgets what estimates are made of. What the lowest level was, it was all the same."""
        self.evidence = RefillEvidence(Phase(float(self.refill_period_seconds)))
        self.seen, self.polled = [], []

    def see(self, now: _Seen, *, is_whole: bool) -> None:
        # The window may begin at the first observation before W, or the first poll: keep those.
        self.at = now[0]
        begin = self.at - self.window_seconds
        before = self.seen[-1][2] if self.seen else None
        if now[2] is None or before is None or not now[2].continues(before):
            self.counted_from = self.at
        self.seen.append(now)
        if is_whole:
            self.polled.append(now)
            while len(self.polled) > 2 and self.polled[1][0] < begin:
                del self.polled[0]
        kept_from = min(begin, self.polled[0][0]) if self.polled else begin
        while len(self.seen) > 2 and self.seen[1][0] <= kept_from:
            del self.seen[0]


class Estimator:
    """Follows one participant. Feed it every good snapshot, in order of ``observed_at`` for each bucket.

    A bucket's state that is older than its last one changes nothing, and gets the estimate of that.
    """

    def __init__(
        self, estimate_window_seconds: float, poll_interval_seconds: float, lowest_window_seconds: float = 60.0
    ) -> None:
        self.mode: RefillMode | None = None
        self._window_seconds = float(estimate_window_seconds)
        self._interval_seconds = float(poll_interval_seconds)
        self._lowest_window_seconds = float(lowest_window_seconds)
        self._began: datetime | None = None
        self._category: str | None = None
        self._histories: dict[PolicyName, _History] = {}

    def observe(self, snapshot: Snapshot) -> Observation:
        """Returns the snapshot with its derived figures.

        A change of category starts every estimate again, a change of capacity or refill that bucket's. Its lowest level
        begins again with another capacity only.
        """
        if self._began is None:
            self._began = snapshot.observed_at
        at = (snapshot.observed_at - self._began).total_seconds()
        if snapshot.category is not None and snapshot.category != self._category:
            if self._category is not None:
                for history in self._histories.values():
                    history.begin_again()
            self._category = snapshot.category
        followed = [self._follow(bucket, at, is_whole=snapshot.is_whole) for bucket in snapshot.buckets]
        if snapshot.is_whole and len(self._histories) > len(snapshot.buckets):
            self._histories = {
                policy: history
                for policy, history in self._histories.items()
                if at - history.at <= 10 * history.window_seconds
            }
        return Observation(
            participant=snapshot.participant,
            observed_at=snapshot.observed_at,
            category=snapshot.category,
            correlation_id=snapshot.correlation_id,
            buckets=tuple(map(self._figures, snapshot.buckets, followed)),
            refused=snapshot.refused,
            is_whole=snapshot.is_whole,
            refill_mode=self.mode,
        )

    def _follow(self, bucket: Bucket, at: float, *, is_whole: bool) -> _History:
        history = self._histories.get(bucket.policy)
        if (
            history is None
            or history.capacity != bucket.capacity
            or history.refill_tokens != bucket.refill_tokens
            or history.refill_period_seconds != bucket.refill_period_seconds
        ):
            period_seconds, before = bucket.refill_period_seconds, history
            history = self._histories[bucket.policy] = _History(
                capacity=bucket.capacity,
                refill_tokens=bucket.refill_tokens,
                refill_period_seconds=period_seconds,
                evidence=RefillEvidence(Phase(float(period_seconds))),
                window_seconds=window_seconds(self._window_seconds, self._interval_seconds, period_seconds),
                lowest=LowestLevel(self._lowest_window_seconds),
            )
            if before is not None:
                history.lowest, history.at = before.lowest, before.at
        if history.at >= at:
            return history  # the same state again, or one that a read has overtaken
        if history.seen:
            last, tokens, _ = history.seen[-1]
            now = (at, bucket.available_tokens)
            proven = proof(history.evidence, bucket, (last, tokens), now, is_read=not is_whole)
            if proven is not None:
                self.mode = proven
        history.lowest.see(bucket, at)
        history.see((at, bucket.available_tokens, bucket.response_counts), is_whole=is_whole)
        return history

    def _window_from_poll(self, history: _History) -> list[_Seen]:
        """Returns the window from the poll nearest to W before the last observation.

        Polls are about whole refill periods apart: until it is known how the bucket refills, it ends at one, too.
        """
        is_known = self.mode is not None and history.evidence.phase.is_narrow
        return _window(history.seen if is_known else history.polled, history.polled, history.window_seconds)

    def _figures(self, bucket: Bucket, history: _History) -> BucketObservation:
        seen = history.seen
        window = _window(seen, seen, history.window_seconds)
        # Of counts that continue one another the first and the last tell all.
        counted = [window[0], window[-1]] if window and window[0][0] >= history.counted_from else window
        shares = error_shares([counts for _, _, counts in counted])
        if self.mode is not RefillMode.CONTINUOUS:
            window = self._window_from_poll(history)
        # In whole microseconds, as the times are: so a rate can be computed again from these and what was consumed.
        span_seconds = round(window[-1][0] - window[0][0], 6) if window else 0.0
        spans_one = span_seconds > history.window_seconds - self._interval_seconds / 2
        if len(window) < 2 or not (spans_one or self.mode is not None):
            return BucketObservation(bucket, None, None, *shares, history.lowest.tokens)
        per_second = max(0.0, _consumed(history, window, self.mode) / span_seconds)
        drain_per_second = per_second - history.refill_tokens / history.refill_period_seconds
        if bucket.is_empty:
            exhaustion_seconds = 0.0
        elif drain_per_second > _NEARLY / 60:
            exhaustion_seconds = bucket.available_tokens / drain_per_second
        else:
            exhaustion_seconds = math.inf
        return BucketObservation(bucket, per_second * 60, exhaustion_seconds, *shares, history.lowest.tokens)


def _window(seen: list[_Seen], begins: list[_Seen], window_seconds: float) -> list[_Seen]:
    """Returns the observations from that of ``begins`` (which are among them) nearest to W before the last."""
    if not begins:
        return []
    begin = seen[-1][0] - window_seconds
    nearest = 0
    while nearest + 2 < len(begins) and abs(begins[nearest + 1][0] - begin) < abs(begins[nearest][0] - begin):
        nearest += 1
    first = begins[nearest][0]
    return seen if seen[0][0] == first else [one for one in seen if one[0] >= first]


def _consumed(history: _History, window: list[_Seen], mode: RefillMode | None) -> float:
    """Returns tokens consumed in the window, net of those given back; a lower bound where the mode is not known."""
    if mode is RefillMode.CONTINUOUS:
        return _consumed_continuous(history, window)
    if mode is RefillMode.STEPWISE and history.evidence.phase.is_narrow:
        return _consumed_stepwise(history, window)
    at_least = _consumed_at_least(history, window)
    if mode is RefillMode.STEPWISE:
        return at_least
    room = history.capacity - max(tokens for _, tokens, _ in window)
    if room >= history.refill_tokens:
        return _consumed_continuous(history, window)
    return min(at_least, _consumed_continuous(history, window))


def _consumed_continuous(history: _History, window: list[_Seen]) -> float:
    """Follows the bucket's level with its fraction, of which an answer shows the whole tokens."""
    per_second = history.refill_tokens / history.refill_period_seconds
    capacity = history.capacity
    last, tokens, _ = window[0]
    level, consumed = float(tokens), 0
    for at, tokens, _ in window[1:]:
        if level < capacity:
            level = min(level + per_second * (at - last), capacity)
        taken = math.floor(level - tokens + _NEARLY)
        consumed += taken
        level -= taken
        if level > capacity:
            level = min(level, max(tokens, capacity))
        last = at
    return consumed


def _consumed_stepwise(history: _History, window: list[_Seen]) -> float:
    phase, refill_tokens, capacity = history.evidence.phase, history.refill_tokens, history.capacity
    pairs = list(pairwise(window))
    # Whether a step that is due about now has come already, the next observations will tell.
    until = phase.steps_surely_before(window[-1][0])
    steps = [0] * len(pairs)
    for step in range(phase.steps_before(window[0][0]) + 1, until + 1):
        after, up_to = phase.between(step)
        # It came in one of these pairs: taken to be the fullest, it fills the least, so the sum is a lower bound.
        fullest = max(
            (index for index, (earlier, later) in enumerate(pairs) if earlier[0] < up_to and later[0] > after),
            key=lambda index: pairs[index][0][1],
        )
        steps[fullest] += 1
    return sum(
        max(before, min(before + count * refill_tokens, capacity)) - tokens
        for count, ((_, before, _), (_, tokens, _)) in zip(steps, pairs, strict=True)
    )


def _consumed_at_least(history: _History, window: list[_Seen]) -> float:
    """Whatever the phase: each step fills no more than there was room for at the fullest observation."""
    room = max(0, history.capacity - max(tokens for _, tokens, _ in window))
    # A window of nearly a period holds a step, as a rule. Near full, where one that has not come
    # yet would be taken for consumption, it must be as long as that.
    tolerance_seconds = 2 * CLOCK_TOLERANCE_SECONDS if room >= history.refill_tokens else 0.0
    span_seconds = window[-1][0] - window[0][0] + tolerance_seconds
    steps = math.floor(span_seconds / history.refill_period_seconds)
    if history.refill_period_seconds > LONGEST_WHOLE_PERIOD_SECONDS:
        steps = 0
    return window[0][1] - window[-1][1] + steps * min(history.refill_tokens, room)
