"""Estimates against an exact bucket, in both refill modes."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.buckets.bucket import Bucket, PolicyName
from exporter.buckets.catalog import POLICIES, Limit
from exporter.buckets.estimate import Estimator, window_seconds
from exporter.buckets.refill import RefillMode
from exporter.simulator.scenario import Refill
from exporter.simulator.traffic import TokenBucket
from tests.support.builders import bucket, counts, snapshot

if TYPE_CHECKING:
    from collections.abc import Collection

LIST = PolicyName("POLICIES_LIST")
MINUTE_POLICIES = sorted(
    {limit for limit in POLICIES.values() if limit is not None and limit.refill_period_seconds == 60},
    key=lambda limit: limit.capacity,
)


@dataclass
class World:
    """An exact bucket under known use, and POLICIES_LIST, which every poll takes a token of (and can afford)."""

    limit: Limit
    mode: Refill
    phase_seconds: float = 0.0
    tokens: int | None = None
    interval: float = 15.0

    def __post_init__(self) -> None:
        limit = self.limit
        self.bucket = TokenBucket(
            limit.capacity,
            limit.refill_tokens,
            limit.refill_period_seconds,
            mode=self.mode,
            phase_seconds=self.phase_seconds,
            tokens=self.tokens,
        )
        self.own = Limit(6, 60, 20) if self.interval >= 10 else Limit(60, 60, 200)
        own = (self.own.capacity, self.own.refill_tokens, 60)
        self.list = TokenBucket(*own, mode=self.mode, phase_seconds=self.phase_seconds / 2)
        self.used_at: list[float] = []
        self.used: list[int] = [0]

    def use(self, tokens: int, at: float) -> None:
        self.used_at.append(at)
        self.used.append(self.used[-1] + self.bucket.drain(tokens, at))

    def between(self, begin: float, end: float) -> int:
        return self.used[bisect_right(self.used_at, end)] - self.used[bisect_right(self.used_at, begin)]

    def watched(self, at: float) -> Bucket:
        limit = self.limit
        return Bucket(PolicyName("WATCHED"), self.bucket.available(at), limit.capacity, limit.refill_tokens, 60)

    def read(self, at: float):
        return replace(snapshot(self.watched(at), seconds=at), is_whole=False)

    def snapshot(self, at: float):
        assert self.list.take(1, at), "a poll that POLICIES_LIST cannot pay for is not answered"
        watched = self.watched(at)
        own = Bucket(LIST, self.list.available(at), self.own.capacity, self.own.refill_tokens, 60)
        return snapshot(own, watched, seconds=at)


def watched(observation):
    return next(o for o in observation.buckets if o.bucket.policy == "WATCHED")


def simulate(
    world: World, uses: list[tuple[float, int]], polls: list[float], interval: float, reads: Collection[float] = ()
):
    """Yields ``(poll, observed bucket, tokens truly used in the window, window seconds)`` where a rate is given.

    The watched bucket alone is seen at ``reads``, too.
    """
    estimator = Estimator(60, interval)
    width = window_seconds(60, interval, 60)
    pending = iter(sorted(uses))
    use = next(pending, None)
    seen: list[float] = []
    polled: list[float] = []
    for at in sorted({*polls, *reads}):
        while use is not None and use[0] <= at:
            world.use(use[1], use[0])
            use = next(pending, None)
        observed = watched(estimator.observe(world.read(at) if at in reads else world.snapshot(at)))
        seen.append(at)
        if at not in reads:
            polled.append(at)
        # Where it refills in steps, the window begins at a poll; until it is known how, it ends at one, too.
        mode = estimator.mode
        if mode is None or not estimator._histories[PolicyName("WATCHED")].evidence.phase.is_narrow:
            at = polled[-1] if mode is not RefillMode.CONTINUOUS else at  # noqa: PLW2901
        begins = seen if mode is RefillMode.CONTINUOUS else polled
        begin = min([begin for begin in begins[-400:] if begin < at], key=lambda t: abs(at - width - t), default=None)
        if observed.consumption_rate_per_minute is not None and begin is not None:
            yield at, observed, world.between(begin, at), at - begin


def polls_every(interval: float, until: float, seed: int) -> list[float]:
    """Exact cadence, each delayed by up to a second."""
    chance = random.Random(seed)
    first = chance.uniform(0, interval)
    return [first + n * interval + chance.uniform(0, 1) for n in range(int(until / interval))]


def reads_between(polls: list[float], reads: str, seed: int) -> set[float]:
    """Reads as the planner makes them: none, one in most gaps between polls, or every two seconds for a while."""
    chance = random.Random(seed + 1)
    made: set[float] = set()
    for begin, end in pairwise(polls):
        if reads == "one" and chance.random() < 0.7:
            made.add(chance.uniform(begin, end))
        elif reads == "many" and chance.random() < 0.5:
            made.update(begin + 2 * n + chance.uniform(0, 1) for n in range(1, int((end - begin) / 2)))
    return made - set(polls)


scenarios = {
    "reads": st.sampled_from(["none", "one", "many"]),
    "limit": st.sampled_from(MINUTE_POLICIES),
    "mode": st.sampled_from(list(Refill)),
    "phase": st.floats(0, 60),
    "interval": st.sampled_from([2.0, 15.0, 60.0]),
    "seed": st.integers(0, 2**20),
}
thorough = settings(max_examples=50)


@pytest.mark.no_cover
@thorough
@given(share=st.floats(0.05, 0.95), **scenarios)
def test_steady_use_is_estimated_within_one_percent_or_one_token(
    limit, mode, phase, interval, seed, reads, share
) -> None:
    world = World(limit, mode, phase, tokens=limit.capacity // 4, interval=interval)
    per_second = share * limit.refill_tokens / 60
    end = 12 * 60 if interval < 60 else 24 * 60
    every = max(0.25, 1 / per_second)
    tokens = per_second * every
    uses, whole = [], 0.0
    for n in range(int(end / every)):
        whole += tokens
        uses.append((n * every + 0.1, int(whole)))
        whole -= int(whole)
    full_soon = limit.capacity - limit.refill_tokens * 3 - 3
    polls = polls_every(interval, end, seed)

    errors = [
        (at, observed.consumption_rate_per_minute * span / 60, truth)
        for at, observed, truth, span in simulate(world, uses, polls, interval, reads_between(polls, reads, seed))
        if at > 10 * interval + 120 and observed.bucket.available_tokens < full_soon
    ]

    for at, estimated, truth in errors:
        assert abs(estimated - truth) <= max(1.001, 0.01 * truth), (at, estimated, truth)


@pytest.mark.no_cover
@thorough
@given(bursts=st.lists(st.tuples(st.floats(130, 1100), st.floats(0.05, 0.6)), max_size=12), **scenarios)
def test_bursts_are_estimated_within_ten_percent(limit, mode, phase, interval, seed, reads, bursts) -> None:
    world = World(limit, mode, phase, tokens=limit.capacity // 2, interval=interval)
    uses = [(at, max(1, int(share * limit.refill_tokens))) for at, share in bursts]
    full_soon = limit.capacity - limit.refill_tokens * 3 - 3

    polls = polls_every(interval, 1200, seed)

    before, tokens_before = 0.0, 0
    for at, observed, truth, span in simulate(world, uses, polls, interval, reads_between(polls, reads, seed)):
        tokens = observed.bucket.available_tokens
        steps = math.floor((at - phase) / 60) - math.floor((before - phase) / 60) if mode is Refill.STEPWISE else 0
        # Where all that a step brought is gone already, only the next poll tells that it has come.
        unseen = limit.refill_tokens if steps and tokens <= tokens_before else 0
        before, tokens_before = at, tokens
        if at < 10 * interval + 120 or tokens >= full_soon:
            continue
        estimated = observed.consumption_rate_per_minute * span / 60
        tolerance = max(1.001, 0.1 * truth, 0.02 * limit.refill_tokens)
        assert truth - unseen - tolerance <= estimated <= truth + tolerance, (at, estimated, truth)


def test_a_step_whose_tokens_are_gone_already_is_counted_at_the_next_poll() -> None:
    limit = Limit(600, 60, 18_000)
    world = World(limit, Refill.STEPWISE, tokens=9_000)
    uses, polls = [(414.0, 300), (414.0, 300)], polls_every(15, 480, 489_018)

    estimated = {
        round(at): round(observed.consumption_rate_per_minute * span / 60)
        for at, observed, _, span in simulate(world, uses, polls, 15)
        if 400 < at < 460
    }

    assert list(estimated.values()) == [0, 0, 600, 600]


@pytest.mark.no_cover
@thorough
@example(  # a step is due, and comes when the window has ended
    limit=Limit(10, 60, 50), mode=Refill.STEPWISE, phase=4.0, interval=2.0, seed=0, reads="none", uses=[(4.0, 0.25)]
)
@given(uses=st.lists(st.tuples(st.floats(0, 1200), st.floats(0.001, 0.3)), max_size=60), **scenarios)
def test_near_full_the_estimate_never_exceeds_the_truth(limit, mode, phase, interval, seed, reads, uses) -> None:
    world = World(limit, mode, phase, interval=interval)
    made = [(at, max(1, int(share * limit.refill_tokens))) for at, share in uses]

    polls = polls_every(interval, 1200, seed)

    for at, observed, truth, span in simulate(world, made, polls, interval, reads_between(polls, reads, seed)):
        estimated = observed.consumption_rate_per_minute * span / 60
        assert estimated <= truth + 1.001, (at, estimated, truth)


@pytest.mark.parametrize("mode", list(Refill))
def test_polling_alone_shows_how_buckets_refill(mode) -> None:
    world = World(Limit(1200, 60, 36_000), mode, 20.0)
    estimator = Estimator(60, 15)

    for n in range(8):
        estimator.observe(world.snapshot(5 + n * 15))

    assert estimator.mode == RefillMode(mode)


@pytest.mark.parametrize("mode", list(Refill))
def test_each_observation_says_how_buckets_refill_as_far_as_it_is_known(mode) -> None:
    world = World(Limit(1200, 60, 36_000), mode, 20.0)
    estimator = Estimator(60, 15)

    first = estimator.observe(world.snapshot(5))
    for n in range(1, 8):
        estimator.observe(world.snapshot(5 + n * 15))
    read = estimator.observe(world.read(115))

    assert (first.refill_mode, read.refill_mode) == (None, RefillMode(mode))


def test_nothing_is_said_of_consumption_after_one_observation() -> None:
    observed = Estimator(60, 15).observe(snapshot(bucket(30_000))).buckets[0]

    assert observed.consumption_rate_per_minute is None
    assert observed.exhaustion_projection_seconds is None


def test_consumption_appears_once_observations_span_the_window() -> None:
    estimator = Estimator(60, 15)

    rates = [
        estimator.observe(snapshot(bucket(20_000 - 100 * n), seconds=15 * n)).buckets[0].consumption_rate_per_minute
        for n in range(5)
    ]

    assert rates == [None, None, None, None, 1200 + 400]


def rates(*observations: tuple[float, int], **given) -> list[float | None]:
    """Returns tokens consumed per minute after each of these observations ``(seconds, tokens)``."""
    estimator = Estimator(60, 15)
    return [
        estimator.observe(snapshot(bucket(tokens, **given), seconds=seconds)).buckets[0].consumption_rate_per_minute
        for seconds, tokens in observations
    ]


def test_a_rate_is_what_was_consumed_by_the_microseconds_between_two_observations() -> None:
    """However long ago the estimator began: so history can compute it again from times and whole tokens, to the bit."""
    began, second = 0.000001, 1_000_003.300007
    seconds = (second + 60.123457) - second
    assert seconds != 60.123457

    *_, rate = rates((began, 600), (second, 600), (second + 60.123457, 500))

    assert rate is not None
    consumed = round(rate / 60 * 60.123457)
    assert rate == consumed / 60.123457 * 60


def test_the_window_begins_at_the_observation_nearest_to_its_length_before_the_last() -> None:
    assert rates((0, 20_000), (14, 20_000), (72, 19_000))[-1] == pytest.approx(1_200 + 60_000 / 58)
    assert rates((0, 20_000), (20, 20_000), (68, 19_000))[-1] == pytest.approx(1_200 + 60_000 / 68)


def test_what_was_consumed_before_the_window_does_not_count() -> None:
    spent = (20_000, 19_000, 18_000, 18_000, 18_000, 18_000, 18_000, 18_000)

    after = rates(*((15 * n, tokens) for n, tokens in enumerate(spent)))

    assert after[4:] == pytest.approx([1_200 + 2_000, 1_200 + 1_000, 1_200, 1_200])


def test_where_buckets_refill_in_steps_each_step_is_added_back_when_it_has_surely_come() -> None:
    first_minute = ((0, 10_000), (15, 9_900), (30, 11_000), (45, 10_900), (60, 10_800), (75, 10_700))
    # The next step comes between 75 and 90.
    second_minute = ((80, 10_660), (84, 10_640), (90, 11_780))

    assert rates(*first_minute, *second_minute)[4:] == pytest.approx([400, 400, 440 * 60 / 65, 360 * 60 / 54, 420])


def test_where_buckets_refill_continuously_fractions_of_tokens_are_kept() -> None:
    own = {"policy": "POLICIES_LIST", "capacity": 20, "refill_tokens": 6}
    polls = ((0, 10), (15, 10), (30, 11), (45, 11), (60, 12), (75, 12), (90, 13))

    assert rates(*polls, **own)[4:] == [4, 4, 4]


def test_near_full_a_step_adds_back_no_more_than_there_was_room_for() -> None:
    nearly_full = tuple((15 * n, 35_900 - 50 * n) for n in range(5))

    assert rates(*nearly_full)[-1] == 200 + 100


def test_of_a_refill_once_a_day_nothing_is_added_back_near_full() -> None:
    daily = {"capacity": 200, "refill_tokens": 40, "refill_period_seconds": 86_400}

    assert rates(*((15 * n, 200 - 2 * n) for n in range(5)), **daily)[-1] == 8


def test_an_empty_bucket_is_exhausted_now() -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        observed = estimator.observe(snapshot(bucket(4_000 - 1_000 * n), seconds=15 * n)).buckets[0]

    assert observed.exhaustion_projection_seconds == 0


def test_a_bucket_that_is_kept_empty_is_exhausted_though_it_does_not_drain() -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        empty, nearly = estimator.observe(snapshot(bucket(0), bucket(1, policy="REFUNDS_READ"), seconds=15 * n)).buckets

    assert (empty.exhaustion_projection_seconds, nearly.exhaustion_projection_seconds) == (0, math.inf)


def test_an_observation_with_a_rate_is_of_its_bucket_and_has_the_share_of_404s_too() -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        seen = bucket(20_000, response_counts=counts(100 + 10 * n, 5 + n))
        observed = estimator.observe(snapshot(seen, seconds=15 * n)).buckets[0]

    assert (observed.bucket, observed.error_404_rate) == (seen, 0.1)
    assert observed.consumption_rate_per_minute == 1_200


def test_a_bucket_that_does_not_drain_is_never_exhausted() -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        observed = estimator.observe(snapshot(bucket(10_000), seconds=15 * n)).buckets[0]

    assert observed.consumption_rate_per_minute == 1200
    assert observed.exhaustion_projection_seconds == math.inf


def test_exhaustion_goes_by_the_net_drain() -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        observed = estimator.observe(snapshot(bucket(10_000 - 600 * n), seconds=15 * n)).buckets[0]

    assert observed.consumption_rate_per_minute == 1200 + 2400
    assert observed.exhaustion_projection_seconds == pytest.approx(7_600 / (2400 / 60))


@pytest.mark.parametrize("change", [{"capacity": 40_000}, {"refill_tokens": 1_000}, {"refill_period_seconds": 30}])
def test_a_change_of_the_bucket_starts_the_estimate_afresh(change) -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        estimator.observe(snapshot(bucket(20_000), seconds=15 * n))

    observed = estimator.observe(snapshot(bucket(20_000, **change), seconds=75)).buckets[0]

    assert observed.consumption_rate_per_minute is None


def test_a_change_of_category_starts_every_estimate_afresh() -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        estimator.observe(snapshot(bucket(20_000), seconds=15 * n))

    observed = estimator.observe(snapshot(bucket(20_000), seconds=75, category="B")).buckets[0]

    assert observed.consumption_rate_per_minute is None


@pytest.mark.parametrize("categories", [(None, None, None, None, "A"), ("A", "A", None, None, "A")])
def test_a_category_that_is_not_known_for_a_while_is_no_change(categories) -> None:
    estimator = Estimator(60, 15)
    for n, category in enumerate(categories):
        observed = estimator.observe(snapshot(bucket(20_000), seconds=15 * n, category=category)).buckets[0]

    assert observed.consumption_rate_per_minute is not None


def test_a_change_of_one_bucket_leaves_the_others() -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        estimator.observe(snapshot(bucket(20_000), bucket(20_000, policy="REFUNDS_READ"), seconds=15 * n))

    changed = snapshot(bucket(20_000, capacity=40_000), bucket(20_000, policy="REFUNDS_READ"), seconds=75)

    assert [o.consumption_rate_per_minute for o in estimator.observe(changed).buckets] == [None, 1200]


def test_an_observation_is_of_its_snapshot() -> None:
    seen = replace(snapshot(bucket(5), seconds=15), refused=(PolicyName("REFUNDS_READ"),))

    observation = Estimator(60, 15).observe(seen)

    assert (observation.participant, observation.observed_at) == (seen.participant, seen.observed_at)
    assert (observation.category, observation.correlation_id) == ("A", "c-1")
    assert observation.refused == ("REFUNDS_READ",)
    assert [o.bucket for o in observation.buckets] == [bucket(5)]


@pytest.mark.parametrize(("away_until", "known"), [(660, True), (661, False)])
def test_a_policy_is_forgotten_that_is_missing_for_ten_windows(away_until, known) -> None:
    estimator = Estimator(60, 15)
    other = bucket(20, policy="KEYS_CHECK", capacity=70, refill_tokens=70)
    for n in range(5):
        estimator.observe(snapshot(bucket(20_000), other, seconds=15 * n))
    estimator.observe(snapshot(other, seconds=away_until))

    observed = estimator.observe(snapshot(bucket(20_000), other, seconds=away_until + 15)).buckets[0]

    assert (observed.consumption_rate_per_minute is not None) is known


@pytest.mark.parametrize(("last", "known"), [(52.5, False), (52.6, True)])
def test_observations_span_the_window_from_half_a_poll_less_on(last, known) -> None:
    estimator = Estimator(60, 15)
    for seconds in (0, 15, 30, 45, last):
        observed = estimator.observe(snapshot(bucket(20_000), seconds=seconds)).buckets[0]

    assert (observed.consumption_rate_per_minute is not None) is known


def test_the_same_response_time_is_the_same_observation() -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        before = estimator.observe(snapshot(bucket(20_000 - 100 * n), seconds=15 * n)).buckets[0]

    again = estimator.observe(snapshot(bucket(20_000 - 400), seconds=60)).buckets[0]

    assert again == before


def test_tokens_given_back_never_make_consumption_negative() -> None:
    estimator = Estimator(60, 15)
    for n in range(5):
        observed = estimator.observe(snapshot(bucket(20_000 + 900 * n), seconds=15 * n)).buckets[0]

    assert observed.consumption_rate_per_minute == 0


def test_payment_orders_are_no_proof_of_steps() -> None:
    estimator = Estimator(60, 15)
    antiscan = "ENTRIES_READ_PARTICIPANT_ANTISCAN"
    for n, tokens in enumerate((100, 105, 220, 221)):
        estimator.observe(snapshot(bucket(tokens, policy=antiscan, capacity=500, refill_tokens=250), seconds=15 * n))

    assert estimator.mode is None


def test_a_dry_bucket_is_no_proof_of_how_it_refills() -> None:
    estimator = Estimator(60, 60)
    for seconds in (0, 60.4, 120.1, 180.7, 240.2, 300.9, 360.3):
        estimator.observe(snapshot(bucket(0), seconds=seconds))

    assert estimator.mode is None


@pytest.mark.parametrize(
    ("first", "last", "share"),
    [
        (counts(100, 5), counts(200, 30), 0.25),
        (counts(100, 5), counts(100, 5), None),
        (counts(100, 5, instance="a"), counts(200, 30, instance="b"), None),
        (counts(100, 5), counts(50, 5), None),
        (None, counts(50, 5), None),
        (counts(50, 5), None, None),
    ],
)
def test_the_share_of_404s_comes_from_counts_of_one_instance(first, last, share) -> None:
    estimator = Estimator(60, 15)
    estimator.observe(snapshot(bucket(20_000, response_counts=first)))

    observed = estimator.observe(snapshot(bucket(20_000, response_counts=last), seconds=15)).buckets[0]

    assert observed.error_404_rate == share


@pytest.mark.parametrize(
    ("seen", "share"),
    [
        ([counts(100, 5), counts(200, 5)], 0),
        ([counts(100, 5), counts(200, 30), counts(200, 30)], 0.25),
        ([counts(100, 5), counts(20, 0), counts(60, 10)], 0.25),
        ([counts(100, 50), counts(120, 0), counts(160, 10)], 0.25),
        ([counts(100, 5), counts(150, 5, instance="b"), counts(200, 30)], 0.25),
        ([counts(100, 5), counts(150, 5, instance="b"), counts(150, 5), counts(200, 30, instance="b")], 0.25),
        ([counts(100, 5), None, counts(200, 30), counts(240, 40)], 0.25),
    ],
    ids=[
        "none",
        "no answers since",
        "restarted",
        "404s fell",
        "another instance between",
        "two instances in turn",
        "none counted between",
    ],
)
def test_the_share_of_404s_goes_back_as_far_as_the_counts_follow_each_other(seen, share) -> None:
    estimator = Estimator(60, 15)
    for n, counted in enumerate(seen):
        observed = estimator.observe(snapshot(bucket(20_000, response_counts=counted), seconds=15 * n)).buckets[0]

    assert observed.error_404_rate == share


@pytest.mark.parametrize(
    ("seen", "share"),
    [
        ([counts(100, 5, 0), counts(200, 5, 30)], 0.3),
        ([counts(100, 5, 7), counts(200, 5, 7)], 0),
        ([counts(100, 5, 7), counts(100, 5, 7)], None),
        ([counts(100, 5, 50), counts(120, 5, 0), counts(160, 5, 10)], 0.25),
        ([counts(100, 5, 7), counts(200, 5, 30, instance="b")], None),
        ([counts(100, 5, 7), counts(9, 0, 5, instance="b"), counts(150, 5, 7), counts(59, 0, 25, instance="b")], 0.2),
        ([counts(100, 5, 7), None], None),
    ],
    ids=["some", "none", "no answers since", "429s fell", "another instance", "in turn", "none counted"],
)
def test_the_share_of_429s_is_over_the_same_answers(seen, share) -> None:
    estimator = Estimator(60, 15)
    for n, counted in enumerate(seen):
        observed = estimator.observe(snapshot(bucket(20_000, response_counts=counted), seconds=15 * n)).buckets[0]

    assert observed.error_429_rate == share


def test_the_lowest_level_is_over_its_own_window() -> None:
    estimator = Estimator(60, 15, 30)
    seen = [20_000, 300, 25_000, 26_000]
    lowest = [
        estimator.observe(snapshot(bucket(tokens), seconds=15 * n)).buckets[0].lowest_available_tokens
        for n, tokens in enumerate(seen)
    ]

    assert lowest == [20_000, 300, 300, 25_000]


def test_a_read_shows_the_lowest_level_of_its_bucket() -> None:
    estimator = Estimator(60, 15)
    estimator.observe(snapshot(bucket(20_000), seconds=0))

    estimator.observe(replace(snapshot(bucket(5), seconds=4), is_whole=False))

    assert estimator.observe(snapshot(bucket(30_000), seconds=15)).buckets[0].lowest_available_tokens == 5


def test_what_a_read_has_overtaken_is_not_the_lowest_level() -> None:
    estimator = Estimator(60, 15)
    estimator.observe(replace(snapshot(bucket(20_000), seconds=4), is_whole=False))

    late = estimator.observe(snapshot(bucket(5), seconds=3)).buckets[0]

    assert late.lowest_available_tokens == 20_000


@pytest.mark.parametrize(("tokens", "refused", "lowest"), [(5, 0, 5), (20_000, 50, 0)])
def test_a_change_of_category_hides_neither_a_low_level_nor_a_429(tokens, refused, lowest) -> None:
    estimator = Estimator(60, 15)
    estimator.observe(snapshot(bucket(tokens, response_counts=counts(100, 0, 0)), category="A"))

    changed = snapshot(bucket(30_000, response_counts=counts(200, 0, refused)), seconds=15, category="B")

    assert estimator.observe(changed).buckets[0].lowest_available_tokens == lowest


def test_a_change_of_category_does_not_hide_the_low_level_of_a_bucket_that_is_missing_from_that_answer() -> None:
    estimator = Estimator(60, 15)
    estimator.observe(snapshot(bucket(1), category="A"))
    estimator.observe(snapshot(bucket(20, policy="CLAIMS_READ"), seconds=15, category="B"))

    back = estimator.observe(snapshot(bucket(60), seconds=30, category="B"))

    assert back.buckets[0].lowest_available_tokens == 1


def test_an_answer_of_another_category_that_a_read_has_overtaken_counts_no_429_twice() -> None:
    estimator = Estimator(60, 15)
    for seconds, refused, category, is_whole in (
        (0, 1, "A", True),
        (12, 9, "A", False),
        (5, 5, "B", True),
        (100, 9, "B", True),
    ):
        answer = snapshot(bucket(60, response_counts=counts(100, 0, refused)), seconds=seconds, category=category)
        observed = estimator.observe(replace(answer, is_whole=is_whole)).buckets[0]

    assert observed.lowest_available_tokens == 60


def test_a_bucket_of_another_capacity_has_a_lowest_level_of_its_own() -> None:
    estimator = Estimator(60, 15)
    estimator.observe(snapshot(bucket(5, capacity=100), seconds=0))

    assert estimator.observe(snapshot(bucket(150, capacity=200), seconds=15)).buckets[0].lowest_available_tokens == 150


@pytest.mark.parametrize(
    ("wanted", "interval", "period", "window"),
    [
        (60, 15, 60, 60),
        (60, 60, 60, 180),
        (60, 15, 86_400, 60),
        (90, 15, 60, 120),
        (60, 2, 60, 60),
        (60, 30, 60, 120),
        (60, 15, 900, 900),
        (60, 15, 901, 60),
    ],
)
def test_the_window_is_whole_periods_and_at_least_three_polls(wanted, interval, period, window) -> None:
    assert window_seconds(wanted, interval, period) == window
