"""What the planner reads next."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise

import pytest

from exporter.buckets.bucket import PolicyName
from exporter.buckets.catalog import POLICIES_LIST, POLICIES_READ
from exporter.poller.read_budget import LONGEST_GAP_SECONDS, SHORTEST_GAP_SECONDS
from exporter.poller.reads import (
    AFTER_CROSSING_SECONDS,
    EXPECTED_GAP_SHARE,
    FALLING_GAP_SHARE,
    KEPT_FOR_CROSSINGS_TOKENS,
    NO_POLICIES_READ,
    PACE_SECONDS,
    RESERVE_TOO_LARGE,
    PlannedRead,
    ReadPlanner,
    Why,
)
from exporter.poller.watched import FASTER, HOT_SECONDS, SHORTEST_BURST_SECONDS
from exporter.simulator.world import World, ispbs
from tests.support.builders import bucket
from tests.support.sight import INTERVAL_SECONDS, RESERVE, START, Dip, seen, with_refill

WRITE = "ENTRIES_WRITE"


def reading(tokens: int = 200, **given):
    """POLICIES_READ with so many tokens."""
    return bucket(tokens, policy=POLICIES_READ, capacity=200, refill_tokens=60, **given)


def large(tokens: int, policy: str = WRITE):
    """A bucket of 1,000 tokens that takes 100 minutes to fill."""
    return bucket(tokens, policy=policy, capacity=1_000, refill_tokens=10)


def planner(*buckets, at: float = 0.0, share: float = 1.0, reserve: int = 0) -> ReadPlanner:
    """A planner of a participant that is polled every 15 s, with a budget that is full."""
    made = ReadPlanner(share, reserve, 15.0)
    made.poll_answered([reading(), *buckets], at)
    return made


def polled(made: ReadPlanner, *buckets, at: float) -> ReadPlanner:
    made.poll_answered([reading(), *buckets], at)
    return made


# What is read


def test_what_recovers_unseen_between_stretched_polls_is_read() -> None:
    recovers_in_24_s = bucket(50, policy="ENTRIES_READ_PARTICIPANT_ANTISCAN", capacity=50, refill_tokens=25)
    made = planner(recovers_in_24_s)

    assert made.next(0.0, 14.5) is None
    assert made.next(0.0, 29.5) == PlannedRead(recovers_in_24_s.policy, 14.75, Why.TURN)


@pytest.mark.parametrize(
    ("answer", "obstacle"),
    [
        ([large(150)], NO_POLICIES_READ),
        ([reading(), large(150)], None),
        ([bucket(100, policy=POLICIES_READ, capacity=100, refill_tokens=60), large(150)], RESERVE_TOO_LARGE),
    ],
)
def test_nothing_is_read_while_nothing_pays_for_it_and_that_is_said(answer, obstacle) -> None:
    made = planner(large(200), reserve=100)

    made.poll_answered(answer, 15.0)

    assert made.obstacle == obstacle
    assert (made.next(15.0, 60.0) is None) == (obstacle is not None)


def test_a_calm_bucket_that_recovers_slowly_is_not_read() -> None:
    made = polled(planner(large(1_000)), large(1_000), at=15.0)

    assert made.next(15.0, 30.0) is None


def test_a_level_that_is_crossed_before_the_next_poll_is_read_just_after() -> None:
    made = polled(polled(planner(large(520)), large(400), at=15.0), large(280), at=30.0)

    # 8 tokens a second: 200 after another 10.
    assert made.next(30.0, 45.0) == PlannedRead(WRITE, 40.0 + AFTER_CROSSING_SECONDS, Why.CROSSING)


@pytest.mark.parametrize(("tokens", "crossed_after"), [((150, 120), 10), ((60, 30), 15 - 1e-9)])
def test_every_level_counts_on_the_way_down(tokens, crossed_after) -> None:
    made = polled(planner(large(tokens[0])), large(tokens[1]), at=15.0)

    planned = made.next(15.0, 31.0)

    assert planned is not None
    assert planned.at == pytest.approx(15 + crossed_after + AFTER_CROSSING_SECONDS)


def test_a_level_that_is_crossed_after_the_next_poll_is_left_to_that() -> None:
    made = polled(planner(large(400)), large(330), at=15.0)

    assert made.next(15.0, 30.0) is None


def test_on_the_way_up_a_level_is_left_behind_by_the_first_token_above_it() -> None:
    made = polled(planner(large(100)), large(160), at=15.0)  # 4 tokens a second

    planned = made.next(15.0, 30.0)

    assert planned is not None
    assert planned.at == pytest.approx(15 + 41 / 4 + AFTER_CROSSING_SECONDS)


def test_a_bucket_that_does_not_move_is_looked_at_ever_more_rarely() -> None:
    made, at, looks = planner(large(0)), 0.0, []
    while (planned := made.next(at, 1_000.0)) is not None:
        at = planned.at
        made.read_answered(large(0), at)
        looks.append(at)

    assert 3 < len(looks) < 12
    assert looks == sorted(looks)


def test_two_looks_are_a_gap_apart_that_grows_as_the_credit_shrinks() -> None:
    made = polled(planner(large(100)), large(200), at=15.0)  # rises above 20 % within the gap

    gaps = [made.next(15.0, 30.0).at - 15.0]
    for spent in (100, 50, 25):
        for _ in range(spent):
            made.budget.spend(15.0)
        gaps.append(made.next(15.0, 30.0).at - 15.0)

    assert gaps == [SHORTEST_GAP_SECONDS, 2.0, LONGEST_GAP_SECONDS, LONGEST_GAP_SECONDS]


def test_a_bucket_that_falls_is_looked_at_sooner() -> None:
    made = polled(planner(large(220)), large(201), at=15.0)  # 200 within a second

    assert made.next(15.0, 30.0).at - 15.0 == pytest.approx(1 / (19 / 15) + AFTER_CROSSING_SECONDS)
    for _ in range(100):
        made.budget.spend(15.0)
    assert FALLING_GAP_SHARE * made.budget.gap_seconds(15.0) < 1
    for _ in range(80):
        made.budget.spend(15.0)
    assert made.next(15.0, 30.0).at - 15.0 == pytest.approx(FALLING_GAP_SHARE * LONGEST_GAP_SECONDS)


def burst(at: float = 30.0, *, calm: int = 1_000, fallen: int = 50, step: float = 15.0) -> ReadPlanner:
    """A planner that has seen a bucket, which did not move before, burst between two polls."""
    return polled(polled(planner(large(calm), at=at - 2 * step), large(calm), at=at - step), large(fallen), at=at)


def test_a_bucket_that_burst_is_read_as_soon_as_it_may_have_burst_again() -> None:
    made = polled(burst(), large(1_000), at=45.0)

    planned = made.next(45.0, 60.0)

    to_20_percent_seconds = 800 / (FASTER * 950 / SHORTEST_BURST_SECONDS)
    assert planned == PlannedRead(WRITE, pytest.approx(45 + to_20_percent_seconds + PACE_SECONDS), Why.HOT)


def test_the_fastest_burst_counts() -> None:
    made = polled(burst(), large(1_000), at=45.0)
    made.read_answered(large(1_000), 46.0)
    made.read_answered(large(200), 46.5)  # 1,600 tokens a second
    made.read_answered(large(1_000), 50.0)

    assert made.next(50.0, 60.0).at == pytest.approx(50 + 800 / (FASTER * 1_600) + PACE_SECONDS)


def test_while_a_bucket_may_be_bursting_it_is_looked_at_again_and_again() -> None:
    made, at, looks = burst(fallen=450), 30.0, []
    while (planned := made.next(at, 45.0)) is not None and planned.why is Why.CROSSING:
        at = planned.at
        looks.append(at)
        made.read_answered(large(450), at)

    assert looks[0] == pytest.approx(30 + 250 / (FASTER * 275))
    assert planned.why is Why.HOT


def test_regular_bursts_are_looked_for_when_they_are_expected() -> None:
    made, at = planner(large(1_000)), 0.0
    for began in (40, 80, 120, 160):
        for at, tokens in ((began - 1, 1_000), (began, 50), (began + 10, 1_000)):
            made.read_answered(large(tokens), at)

    made.read_answered(large(1_000), 196.0)
    early = made.next(196.0, 300.0)
    made.read_answered(large(1_000), 199.0)
    now = made.next(199.0, 300.0)

    assert early.why is Why.EXPECTED
    assert 196.2 < early.at < 199.5
    assert now.why is Why.EXPECTED
    assert now.at == pytest.approx(199 + EXPECTED_GAP_SHARE * SHORTEST_GAP_SECONDS)


def test_between_regular_bursts_what_the_credit_leaves_is_spent_on_looks() -> None:
    made = planner(large(1_000))
    for began in (40, 80, 120, 160):
        for at, tokens in ((began - 1, 1_000), (began, 50), (began + 10, 1_000)):
            made.read_answered(large(tokens), at)

    assert made.next(170.0, 180.0).why is Why.TURN


def test_an_empty_bucket_that_burst_is_looked_at_where_the_credit_allows() -> None:
    made = burst(fallen=0)

    planned = made.next(30.0, 45.0)

    assert planned == PlannedRead(WRITE, 30.0 + PACE_SECONDS + 2 * SHORTEST_GAP_SECONDS, Why.TURN)


def test_a_burst_is_forgotten_after_a_while() -> None:
    late = 30.0 + HOT_SECONDS
    made = polled(polled(burst(), large(1_000), at=45.0), large(1_000), at=late)

    assert made.next(late, late + 15) is None


def test_a_fall_that_the_trend_goes_on_with_is_no_burst() -> None:
    made = polled(planner(large(1_000)), large(600), at=15.0)
    made.poll_answered([reading(), large(190)], 30.0)
    made.poll_answered([reading(), large(1_000)], 45.0)

    assert made.next(45.0, 60.0) is None


def test_a_fast_fall_is_a_burst_though_no_trend_is_known_yet() -> None:
    made = polled(planner(large(1_000)), large(50), at=15.0)
    made.poll_answered([reading(), large(1_000)], 30.0)

    assert made.next(30.0, 45.0).why is Why.HOT


def test_a_small_fall_far_from_any_level_is_no_burst() -> None:
    made = polled(burst(fallen=960), large(1_000), at=45.0)

    assert made.next(45.0, 60.0) is None


def test_a_trend_is_of_an_interval_at_least_and_not_of_the_last_two_looks() -> None:
    keys = {"policy": "KEYS_CHECK", "capacity": 70, "refill_tokens": 70}
    made = planner()
    for at, tokens in ((0.0, 46), (7.5, 39), (15.0, 32), (22.5, 25), (30.0, 18), (30.5, 18)):
        made.read_answered(bucket(tokens, **keys), at)

    planned = made.next(30.5, 45.0)  # 14 tokens another 4 s later

    assert planned.why is Why.CROSSING
    assert planned.at == pytest.approx(30 + 4 / 0.93, abs=1.0)


def test_a_fall_that_ends_is_a_new_trend() -> None:
    made = planner()
    for at, tokens in ((0.0, 900), (7.5, 700), (15.0, 500), (22.5, 500)):
        made.read_answered(large(tokens), at)

    assert made.next(22.5, 300.0) is None


def test_buckets_that_recover_within_an_interval_are_read_in_between() -> None:
    keys = bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=70)  # from empty to 20 % in 12 s

    assert planner(keys).next(0.0, 15.0) == PlannedRead("KEYS_CHECK", 7.5, Why.TURN)


def test_a_bucket_that_was_read_waits_for_the_next_poll() -> None:
    keys = bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=70)
    made = planner(keys)

    made.read_answered(keys, 7.5)

    assert made.next(7.5, 15.0) is None


def test_what_recovers_ever_faster_is_read_the_more_often() -> None:
    made, at, looks = planner(bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=280)), 0.0, []
    while (planned := made.next(at, 15.0)) is not None:
        at = planned.at
        made.read_answered(bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=280), at)
        looks.append(at)

    assert looks == pytest.approx([3, 6, 9, 12])  # 20 % come back within 3 s


def test_what_may_cross_a_level_goes_first() -> None:
    keys = bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=70)
    made = polled(planner(large(400), keys), large(257), keys, at=15.0)  # 200 at 21 s

    assert made.next(15.0, 30.0).why is Why.CROSSING
    assert made.next(23.0, 30.0).why is Why.CROSSING  # both are due


def test_taking_turns_leaves_some_of_the_credit_for_what_may_cross_a_level() -> None:
    keys = bucket(70, policy="KEYS_CHECK", capacity=70, refill_tokens=70)
    made = planner(large(1_000), keys)

    for _ in range(200 - 1 - int(KEPT_FOR_CROSSINGS_TOKENS)):
        made.budget.spend(0.0)
    assert made.next(0.0, 15.0) == PlannedRead("KEYS_CHECK", 7.5, Why.TURN)
    for _ in range(10):
        made.budget.spend(7.0)
    assert made.next(7.0, 9.0) is None


def test_where_only_one_can_be_read_a_level_that_is_left_behind_waits() -> None:
    falling, rising = (203, 201), (198, 200)
    made = polled(
        planner(large(falling[0], "CLAIMS_WRITE"), large(rising[0]), share=0.1),
        large(falling[1], "CLAIMS_WRITE"),
        large(rising[1]),
        at=15.0,
    )
    for _ in range(20):
        made.budget.spend(15.0)

    assert made.next(15.0, 30.0).policy == "CLAIMS_WRITE"


@pytest.mark.parametrize("policy", [POLICIES_LIST, POLICIES_READ])
def test_what_pays_for_the_calls_is_not_read(policy) -> None:
    made = ReadPlanner(1.0, 0, 15.0)
    for at in (0.0, 15.0):
        made.poll_answered([reading(), bucket(4 - int(at / 5), policy=policy, capacity=20, refill_tokens=6)], at)

    assert made.next(15.0, 30.0) is None or made.next(15.0, 30.0).policy not in {POLICIES_LIST, POLICIES_READ}


def test_a_policy_that_the_last_answer_did_not_hold_is_not_read() -> None:
    made = burst()

    made.poll_answered([reading()], 45.0)

    assert made.next(45.0, 60.0) is None


def test_excluded_policies_are_not_read() -> None:
    assert burst().next(30.0, 45.0, {WRITE}) is None


def test_a_bucket_of_another_capacity_is_another_bucket() -> None:
    made = planner(large(1_000))

    made.poll_answered([reading(), bucket(10, capacity=500, refill_tokens=10)], 15.0)

    assert made._watched[WRITE].hot_until == -math.inf


# What is seen of the simulator's buckets

SEEDS = range(1, 4)


def dips(mode: str, *, index: int, share: float = 0.5) -> list[Dip]:
    return [
        dip for seed in SEEDS for dip in seen("spikes", mode, seed, index=index, share=share)[0] if dip.seconds >= 2
    ]


@pytest.mark.parametrize("mode", ["continuous", "stepwise"])
def test_dips_of_one_bursting_bucket_are_all_shown_soon(mode: str) -> None:
    delays = [dip.delay_seconds for dip in dips(mode, index=1)]

    assert len(delays) > 20
    assert None not in delays
    assert sum(delays) / len(delays) <= 1.5
    assert max(delays) <= 4


@pytest.mark.parametrize("mode", ["continuous", "stepwise"])
def test_dips_of_three_bursting_buckets_are_all_shown_soon(mode: str) -> None:
    delays = [dip.delay_seconds for dip in dips(mode, index=0)]

    assert len(delays) > 60
    assert None not in delays
    assert sum(delays) / len(delays) <= 3
    assert max(delays) <= 7


def test_polls_alone_miss_many_of_them() -> None:
    delays = [dip.delay_seconds for dip in dips("continuous", index=1, share=0.0)]

    assert delays.count(None) / len(delays) > 0.2


def test_a_calm_participant_costs_at_most_twelve_reads_a_minute() -> None:
    _, watch = seen("steady", "continuous", 1, index=0)

    assert watch.reads / 8 <= 12


@pytest.mark.parametrize("mode", ["continuous", "stepwise"])
@pytest.mark.parametrize("name", ["spikes", "shared-budget"])
def test_reads_leave_the_reserve_and_are_never_refused(name: str, mode: str) -> None:
    for seed in SEEDS:
        _, watch = seen(name, mode, seed, index=0)  # a refusal would raise

        assert len(watch.left) > 50
        assert min(watch.left) >= RESERVE


def test_while_another_client_takes_most_of_the_budget_nothing_is_read() -> None:
    _, watch = seen("shared-budget", "continuous", 1, index=0)

    looks = [at for at, _ in watch.shown[PolicyName("KEYS_CHECK")]]
    between = [(earlier, later - earlier) for earlier, later in pairwise(looks)]
    assert {seconds for at, seconds in between if 150 < at < 180} == {INTERVAL_SECONDS}
    assert max(seconds for at, seconds in between if 270 < at < 330) < 8


def test_what_is_shown_is_what_the_bucket_had() -> None:
    _, watch = seen("spikes", "continuous", 1, index=0)
    names = ispbs(2)
    truth = World(with_refill("spikes", "continuous"), names, 1, START)
    shown = [(at, policy, look) for policy, looks in watch.shown.items() for at, look in looks]

    for at, policy, seen_bucket in sorted(shown, key=lambda look: look[:2]):
        if policy not in (POLICIES_LIST, POLICIES_READ):
            account = truth.accounts(names[0], START + timedelta(seconds=at))[policy]
            assert account.bucket.available(at) == seen_bucket.available_tokens


def test_times_between_looks_at_a_bursting_bucket_are_seconds() -> None:
    _, watch = seen("spikes", "continuous", 1, index=1)

    looks = [at for at, _ in watch.shown[PolicyName("KEYS_CHECK")] if at > 120]
    assert max(later - earlier for earlier, later in pairwise(looks)) < 8
