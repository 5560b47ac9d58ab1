"""What a bucket offers: never more than it has, in both refill modes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from exporter.buckets.bucket import PolicyName, Snapshot
from exporter.buckets.estimate import Estimator
from exporter.buckets.headroom import BURST_SECONDS, Headroom, headroom
from exporter.buckets.observation import VisibleBucket
from exporter.buckets.refill import RefillMode
from exporter.simulator import scenario
from exporter.simulator.scenario import Refill
from exporter.simulator.world import World, ispbs
from tests.support.builders import at, bucket, observed
from tests.support.sight import bucket_of

if TYPE_CHECKING:
    from exporter.simulator.traffic import TokenBucket

CONTINUOUS, STEPWISE = RefillMode.CONTINUOUS, RefillMode.STEPWISE
no_steps_shown = pytest.mark.parametrize("mode", [STEPWISE, None])


def offered(
    available: int = 50,
    *,
    mode: RefillMode | None = CONTINUOUS,
    rate: float | None = 0.0,
    age: float = 0.0,
    received: float | None = None,
    **given: Any,
) -> Headroom:
    """Of a bucket of 100 tokens, which refills 60 a minute. ``received``: when its answer came, in seconds ago."""
    shape: dict[str, Any] = {"capacity": 100, "refill_tokens": 60, **given}
    answer = observed(bucket(available, **shape), rate=rate)
    return headroom(VisibleBucket(answer, at(-age), at(-age if received is None else -received)), mode, at(0))


def test_an_idle_bucket_has_what_was_just_answered() -> None:
    assert offered(50).remaining == 50


def test_continuous_refill_counts_since_the_answer() -> None:
    assert offered(50, age=10).remaining == 60


@no_steps_shown
def test_no_step_counts_before_an_answer_shows_it(mode) -> None:
    assert offered(30, age=70, mode=mode).remaining == 30


def test_consumption_counts_since_the_answer_and_a_burst_of_a_second_and_a_token() -> None:
    assert offered(50, age=10, rate=120).tokens == 50 + 10 - 20 - (2 + 1)
    assert offered(30, age=10, rate=120, mode=STEPWISE).tokens == 30 - 20 - (2 + 1)


def test_a_bucket_that_fills_up_is_full_but_for_a_burst() -> None:
    assert offered(95, age=20, rate=30).tokens == 100 - (0.5 + 1)


def test_there_are_no_more_tokens_than_the_capacity() -> None:
    assert offered(130).remaining == 100


def test_a_debt_is_no_tokens_and_is_paid_first() -> None:
    indebted = offered(-10)

    assert indebted.remaining == 0
    assert indebted.retry_after_seconds(1) == 11


@no_steps_shown
def test_as_much_as_is_refilled_may_be_consumed_unseen_where_the_next_step_does_not_fit(mode) -> None:
    assert offered(40, age=10, rate=30, mode=mode).tokens == 40 - 10 - (1 + 1)
    assert offered(39, age=10, rate=30, mode=mode).tokens == 39 - 5 - (0.5 + 1)
    assert offered(40, age=10, rate=120, mode=mode).tokens == 40 - 20 - (2 + 1)


@pytest.mark.parametrize("mode", [*RefillMode, None])
def test_consumption_that_is_not_known_is_taken_for_the_refill_and_nothing_is_refilled(mode) -> None:
    unknown = offered(50, age=10, rate=None, mode=mode)

    assert unknown.tokens == 50 - 10 - (1 + 1)
    assert unknown.consumption_rate_per_minute is None


def test_refill_counts_from_when_the_answer_came_where_dicts_clock_is_behind() -> None:
    assert offered(50, age=30, received=2).remaining == 52


def test_refill_counts_from_dicts_time_where_a_cache_repeats_an_answer_from_its_future() -> None:
    assert offered(50, age=-20, received=2).remaining == 50


def test_consumption_counts_from_whichever_is_longer_ago() -> None:
    assert offered(50, age=30, received=2, rate=60, mode=STEPWISE).tokens == 50 - 30 - 2
    assert offered(50, age=2, received=30, rate=60, mode=STEPWISE).tokens == 50 - 30 - 2


def test_the_age_is_that_of_what_is_longer_ago() -> None:
    assert (offered(age=30, received=2).age_seconds, offered(age=-3, received=5).age_seconds) == (30, 5)


def test_the_quota_is_the_capacity_and_the_window_what_fills_it() -> None:
    assert (offered().quota, offered().window_seconds) == (100, 100)


def test_continuous_the_refill_can_go_on_at_the_reserve() -> None:
    assert offered(21).sustainable_rate_per_minute == 60


def test_continuous_what_lacks_of_the_reserve_comes_back_within_a_period() -> None:
    assert offered(11).sustainable_rate_per_minute == 50
    assert offered(-50).sustainable_rate_per_minute == 0


@no_steps_shown
def test_what_lies_above_the_reserve_lasts_until_the_next_step(mode) -> None:
    def rate(available: int) -> float:
        return offered(available, mode=mode, capacity=1000).sustainable_rate_per_minute

    assert [rate(available) for available in (900, 231, 201, 5)] == [60, 30, 0, 0]


def test_the_reserve_is_the_fewest_tokens_that_do_not_warn() -> None:
    for capacity in (1, 5, 99, 36_000):
        reserve = offered(capacity=capacity).reserve

        assert bucket(reserve - 1, capacity=capacity).utilization_percent >= 80
        assert bucket(reserve, capacity=capacity).utilization_percent < 80


def test_tokens_that_are_there_need_no_wait() -> None:
    assert (offered(50).retry_after_seconds(50), offered(50).retry_after_seconds(20)) == (0, 0)


def test_more_tokens_than_the_capacity_never_come() -> None:
    assert offered(50).retry_after_seconds(101) is None


def test_continuous_tokens_come_one_by_one() -> None:
    assert offered(50).retry_after_seconds(53) == 3


@no_steps_shown
def test_tokens_come_after_whole_periods(mode) -> None:
    assert offered(10, mode=mode).retry_after_seconds(70) == 60
    assert offered(10, mode=mode).retry_after_seconds(71) == 120


def test_it_is_reset_when_it_is_full() -> None:
    assert (offered(70).reset_seconds, offered(100).reset_seconds) == (30, 0)


INTERVAL_SECONDS = 15.0
BEGAN = datetime(2026, 3, 10, tzinfo=UTC)
POLLS = 12
POLICY = PolicyName("KEYS_CHECK")
(PARTICIPANT,) = ispbs(1)


@dataclass(frozen=True)
class Watched:
    """A bucket of the simulator after random traffic, which may end at its last poll, and what that showed."""

    world: World
    visible: VisibleBucket
    mode: RefillMode | None
    ended: float

    @property
    def truth(self) -> TokenBucket:
        return self.at(0)

    def at(self, seconds: float) -> TokenBucket:
        """Returns it after the traffic until then."""
        return self.world.accounts(PARTICIPANT, BEGAN + timedelta(seconds=seconds))[POLICY].bucket

    @property
    def rate(self) -> float:
        """Tokens per second, as measured."""
        return (self.visible.observation.consumption_rate_per_minute or 0.0) / 60

    def offers(self, at: float) -> Headroom:
        return headroom(self.visible, self.mode, BEGAN + timedelta(seconds=at))

    def consume(self, per_second: float, begins: float, until: float, *, step: float = 0.05, carried: float = 0.0):
        """Takes whole tokens at ``per_second``, those of a step at once; yields what is there after each."""
        taken = 0
        for index in range(math.ceil((until - begins) / step - 1e-9)):
            now = begins + index * step
            due = math.floor(per_second * step * (index + 1) + carried) - taken
            taken += self.truth.drain(due, now)
            yield now, self.truth.available(now)
        yield until, self.truth.available(until)


def watched(
    mode: Refill,
    limit: tuple[int, int],
    share: float,
    variation: float,
    level: float,
    seed: int,
    *,
    goes_on: bool = False,
) -> Watched:
    """Polls a scenario; the first poll is at a time that the seed decides."""
    refill_tokens, capacity = limit
    first = seed % 150 / 10
    ended = first + (POLLS - 1) * INTERVAL_SECONDS
    until = math.floor(2 * ended) / 2 + (60 if goes_on else 0)
    text = f"""
description: a test's
refill: {mode}
step: 500ms
sizes: {{KEYS_CHECK: {{capacity: {capacity}, refill_tokens: {refill_tokens}}}}}
tokens_at_start: {{KEYS_CHECK: {level}}}
traffic:
  - {{policies: [KEYS_CHECK], share_of_refill: {share}, variation: {variation}, until: {round(until * 1000)}ms}}
  - {{policies: [ENTRIES_WRITE], share_of_refill: 0.5, variation: 0.2}}
"""
    world = World(scenario.parse(text, "a test's"), [PARTICIPANT], seed, BEGAN)
    estimator = Estimator(60, INTERVAL_SECONDS)
    for number in range(POLLS):
        instant = BEGAN + timedelta(seconds=first + number * INTERVAL_SECONDS)
        buckets = tuple(sorted(map(bucket_of, world.answer(PARTICIPANT, instant).policies), key=lambda b: b.policy))
        observation = estimator.observe(Snapshot(PARTICIPANT, instant, "A", "c", buckets))
    (shown,) = [o for o in observation.buckets if o.bucket.policy == POLICY]
    return Watched(world, VisibleBucket(shown, instant, instant), observation.refill_mode, ended)


def percents(most: int) -> st.SearchStrategy[float]:
    return st.integers(0, most).map(lambda percent: percent / 100)


limits = st.sampled_from([(70, 70), (600, 600), (40, 200), (1_200, 3_000), (2_500, 5_000)])
seeds = st.integers(0, 10_000)
buckets_after_traffic = st.builds(
    watched,
    mode=st.sampled_from(Refill),
    limit=limits,
    share=percents(200),
    variation=percents(100),
    level=percents(100),
    seed=seeds,
)
ages = st.floats(0, 2 * INTERVAL_SECONDS)
steps = st.floats(0.05, BURST_SECONDS)
fractions = st.floats(0, 0.99)


@given(buckets_after_traffic, ages, steps, fractions)
def test_what_remains_is_there_while_traffic_goes_on_as_measured(watched, age, step, carried) -> None:
    for now, available in watched.consume(watched.rate, watched.ended, watched.ended + age, step=step, carried=carried):
        assert watched.offers(now).remaining <= max(0, available)


@given(
    st.builds(
        watched,
        mode=st.just(Refill.STEPWISE),
        limit=limits,
        share=percents(100),
        variation=st.just(0.0),
        level=percents(100),
        seed=seeds,
        goes_on=st.just(value=True),
    ),
    ages,
)
def test_stepwise_what_remains_is_there_though_overflow_hides_what_is_consumed(watched, age) -> None:
    assume(watched.mode is STEPWISE)
    now = watched.ended + age

    assert watched.offers(now).remaining <= watched.at(now).available(now)


@given(buckets_after_traffic, ages)
def test_continuous_what_remains_is_less_than_a_burst_and_three_tokens_from_the_truth(watched, age) -> None:
    assume(watched.mode is CONTINUOUS)
    burst = watched.rate * BURST_SECONDS + 1

    for now, available in watched.consume(watched.rate, watched.ended, watched.ended + age):
        assert available - watched.offers(now).remaining < burst + 3


@given(buckets_after_traffic, ages)
def test_at_the_sustainable_rate_the_reserve_stays(watched, age) -> None:
    now = watched.ended + age
    list(watched.consume(watched.rate, watched.ended, now))
    offered = watched.offers(now)
    assume(offered.remaining >= offered.reserve)

    for _, available in watched.consume(offered.sustainable_rate_per_minute / 60, now, now + 300):
        assert available >= offered.reserve


@given(buckets_after_traffic, ages, st.floats(0, 1))
def test_after_the_wait_in_silence_the_tokens_are_there(watched, age, share) -> None:
    now = watched.ended + age
    list(watched.consume(watched.rate, watched.ended, now))
    offered = watched.offers(now)
    tokens = max(1, round(share * offered.quota))

    wait_seconds = offered.retry_after_seconds(tokens)

    assert wait_seconds is not None
    assert watched.truth.available(now + wait_seconds) >= tokens
