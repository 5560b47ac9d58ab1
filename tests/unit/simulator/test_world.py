"""The simulated DICT: exact, repeatable, and as its scenario says."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bridge.answer import Answer, read
from exporter.bridge.defect import REASONS
from exporter.bridge.stubs.rate_limit_pb2 import GetRateLimitPoliciesResponse
from exporter.buckets.bucket import PolicyName
from exporter.buckets.catalog import ANTISCAN, CATEGORIES, POLICIES, USER_POLICIES
from exporter.errors import BadAnswer
from exporter.simulator.scenario import KINDS, Scenario, corrupt, load, parse
from exporter.simulator.world import Refusal, World, ispbs
from tests.support.builders import START, at

FIRST, SECOND = ispbs(2)


def scenario(text: str = "") -> Scenario:
    return parse(f"description: a test's\n{text}", "test")


def world(made: Scenario | None = None, *, participants: int = 2, seed: int = 1) -> World:
    return World(made or scenario(), ispbs(participants), seed, START)


def left(made: World, policy: str, when: datetime) -> int:
    seconds = (when - made.start).total_seconds()
    return made.accounts(FIRST, when)[PolicyName(policy)].bucket.available(seconds)


def taken(made: World, policy: str, when: datetime) -> int:
    return made.accounts(FIRST, when)[PolicyName(policy)].taken


def tokens(response: GetRateLimitPoliciesResponse) -> dict[str, int]:
    return {policy.name: policy.available_tokens for policy in response.policies}


def judged(
    response: GetRateLimitPoliciesResponse | bytes, *, last_seconds: float | None = None, **given: Any
) -> Answer:
    if isinstance(response, bytes):
        response = GetRateLimitPoliciesResponse.FromString(response)
    return read(
        response,
        participant=FIRST,
        received_at=given.pop("received_at", at(0)),
        last_observed_at=None if last_seconds is None else at(last_seconds),
        max_clock_skew_seconds=300,
    )


def test_participants_are_always_the_same_for_a_count():
    assert ispbs(3) == ("12345678", "12345679", "12345680")
    assert len(set(ispbs(1_000))) == 1_000
    assert all(len(ispb) == 8 for ispb in ispbs(1_000))


def test_an_answer_holds_every_policy_full_at_the_start():
    answer = judged(world().answer(FIRST, at(0)))

    assert {bucket.policy for bucket in answer.snapshot.buckets} == set(POLICIES)
    assert {b.policy: b.utilization_percent for b in answer.snapshot.buckets if b.utilization_percent} == {
        "POLICIES_LIST": 5.0
    }
    assert answer.defects == ()
    assert answer.snapshot.observed_at == at(0)


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_sizes_the_antiscan_bucket(category: str):
    answer = judged(world(scenario(f"category: {category}")).answer(FIRST, at(0)))

    antiscan = next(bucket for bucket in answer.snapshot.buckets if bucket.policy == ANTISCAN)
    limit = CATEGORIES[category]
    assert answer.snapshot.category == category
    assert (antiscan.capacity, antiscan.refill_tokens) == (limit.capacity, limit.refill_tokens)


def test_published_sizes_are_those_of_the_catalog():
    for bucket in judged(world().answer(FIRST, at(0))).snapshot.buckets:
        limit = POLICIES[bucket.policy]
        if limit is not None:
            assert (bucket.capacity, bucket.refill_tokens, bucket.refill_period_seconds) == (
                limit.capacity,
                limit.refill_tokens,
                limit.refill_period_seconds,
            )


def test_a_scenario_may_size_a_bucket_otherwise_and_leave_user_buckets_out():
    made = scenario("sizes: {EVENT_LIST: {capacity: 7, refill_tokens: 3, refill_period: 2m}}\nuser_policies: false")

    answer = judged(world(made).answer(FIRST, at(0)))

    event_list = next(bucket for bucket in answer.snapshot.buckets if bucket.policy == "EVENT_LIST")
    assert (event_list.capacity, event_list.refill_tokens, event_list.refill_period_seconds) == (7, 3, 120)
    assert not {bucket.policy for bucket in answer.snapshot.buckets} & set(USER_POLICIES)


def test_buckets_may_begin_with_fewer_tokens():
    made = world(scenario("tokens_at_start: {ENTRIES_WRITE: 0.5, KEYS_CHECK: 0}"))

    assert (left(made, "ENTRIES_WRITE", at(0)), left(made, "KEYS_CHECK", at(0))) == (18_000, 0)


def test_each_look_at_all_buckets_takes_a_token_until_there_is_none():
    made = world()

    left = [tokens(made.answer(FIRST, at(0)))["POLICIES_LIST"] for _ in range(20)]
    with pytest.raises(Refusal, match="429") as caught:
        made.answer(FIRST, at(0))

    assert left == list(range(19, -1, -1))
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert tokens(made.answer(SECOND, at(0)))["POLICIES_LIST"] == 19
    assert tokens(made.answer(FIRST, at(10)))["POLICIES_LIST"] == 0


def test_each_look_at_one_bucket_takes_a_token_of_its_own():
    made = world()

    answer = made.answer_one(FIRST, "ENTRIES_WRITE", at(0))

    assert answer.policy.available_tokens == 36_000
    assert left(made, "POLICIES_READ", at(0)) == 199
    assert left(made, "POLICIES_LIST", at(0)) == 20
    for _ in range(199):
        made.answer_one(FIRST, "ENTRIES_WRITE", at(0))
    with pytest.raises(Refusal) as caught:
        made.answer_one(FIRST, "ENTRIES_WRITE", at(0))
    assert caught.value.code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("participant", "code"), [("99999999", "NOT_FOUND"), ("", "INVALID_ARGUMENT"), ("1234567x", "INVALID_ARGUMENT")]
)
def test_who_is_not_a_participant_is_refused(participant: str, code: str):
    with pytest.raises(Refusal) as caught:
        world().answer(participant, at(0))

    assert caught.value.code == code


def test_an_unknown_policy_is_not_found():
    with pytest.raises(Refusal) as caught:
        world().answer_one(FIRST, "NOPE", at(0))

    assert caught.value.code == "NOT_FOUND"


def test_every_answer_has_a_correlation_id_of_its_own():
    made = world()

    ids = {made.answer(participant, at(0)).correlation_id for participant in (FIRST, SECOND) for _ in range(5)}

    assert len(ids) == 10
    assert {len(id_) for id_ in ids} == {32}


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    def run(seed: int) -> list[dict[str, int]]:
        made = world(load("steady"), seed=seed)
        return [tokens(made.answer(FIRST, at(seconds))) for seconds in range(0, 300, 15)]

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.no_cover
@given(
    seconds=st.lists(st.floats(0, 240), max_size=12).map(sorted),
    name=st.sampled_from(["steady", "demo", "scan", "category-change"]),
)
def test_buckets_do_not_depend_on_when_they_were_looked_at_before(seconds: list[float], name: str):
    often, once = world(load(name)), world(load(name))
    watched = {"POLICIES_LIST"}

    for second in seconds:
        often.answer(FIRST, at(second))

    asked, fresh = tokens(often.answer(FIRST, at(241))), tokens(once.answer(FIRST, at(241)))
    assert {p: n for p, n in asked.items() if p not in watched} == {p: n for p, n in fresh.items() if p not in watched}


def test_an_answer_tells_the_tokens_of_its_own_instant():
    made = world(scenario("tokens_at_start: {ENTRIES_WRITE: 0}"))

    assert [tokens(made.answer(FIRST, at(second)))["ENTRIES_WRITE"] for second in (0, 0.049, 0.05, 0.5)] == [
        0,
        0,
        1,
        10,
    ]


def test_what_was_taken_is_what_is_missing_and_has_not_come_back():
    made = world(load("steady"))

    at_5, at_10 = (taken(made, "ENTRIES_WRITE", at(seconds)) for seconds in (5, 10))

    # A step's requests come at its end; 100 tokens come back within one.
    assert 0 < at_5 < at_10
    assert left(made, "ENTRIES_WRITE", at(10)) == min(36_000, 36_000 - at_5 + 100) - (at_10 - at_5)


def test_stepwise_tokens_come_once_a_period_for_all_buckets_of_a_participant_at_once():
    made = world(scenario("refill: stepwise\ntokens_at_start: {ENTRIES_WRITE: 0, KEYS_CHECK: 0, CLAIMS_READ: 0}"))
    policies = ("ENTRIES_WRITE", "KEYS_CHECK", "CLAIMS_READ")

    seen = [[left(made, policy, at(second)) for policy in policies] for second in range(121)]

    steps = [second for second in range(1, 121) if seen[second] != seen[second - 1]]
    assert len(steps) == 2
    assert steps[1] - steps[0] == 60
    assert seen[120] == [2_400, 70, 1_200]


def test_a_change_of_category_comes_at_its_time_and_again():
    made = world(
        scenario(
            """
category: E
category_changes:
  - {at: 1m, category: F, every: 3m, participants: first}
  - {at: 2m, category: E, every: 3m, participants: first}
"""
        )
    )

    seen = [
        (answer.category, next(p.capacity for p in answer.policies if p.name == ANTISCAN))
        for answer in (made.answer(FIRST, at(second)) for second in (59, 60, 119, 120, 239, 240, 300))
    ]

    e, f = ("E", 5_000), ("F", 500)
    assert seen == [e, f, f, e, e, f, e]
    assert made.answer(SECOND, at(60)).category == "E"


def test_an_outage_is_a_refusal_in_its_time_for_those_concerned():
    made = world(scenario("faults: [{kind: outage, from: 10s, until: 20s, participants: first, status: INTERNAL}]"))

    made.answer(FIRST, at(9.9))
    with pytest.raises(Refusal) as caught:
        made.answer(FIRST, at(10))
    made.answer(SECOND, at(10))
    made.answer(FIRST, at(20))

    assert caught.value.code == "INTERNAL"
    assert left(made, "POLICIES_LIST", at(20)) == 19


def test_counts_begin_anew_from_another_instance_after_a_restart():
    made = world(
        scenario(
            """
traffic: [{policies: [ENTRIES_WRITE], requests_per_minute: 60}]
faults: [{kind: outage, from: 1m, until: 2m, every: 5m, restarts: true}]
"""
        )
    )

    def counts(second: float) -> tuple[int, str]:
        answer = made.answer(FIRST, at(second))
        told = next(p.response_counts for p in answer.policies if p.name == "ENTRIES_WRITE")
        return told.total, told.instance

    assert counts(55) == (55, "simulator-1-1")
    assert counts(150) == (30, "simulator-1-2")
    assert counts(430) == (10, "simulator-1-3")


def test_response_counts_may_be_left_out():
    answer = judged(world(scenario("response_counts: false")).answer(FIRST, at(0)))

    assert {bucket.response_counts for bucket in answer.snapshot.buckets} == {None}


def test_response_counts_tell_404s_and_429s():
    made = world(
        scenario(
            """
category: H
traffic: [{policies: [ENTRIES_READ_PARTICIPANT_ANTISCAN], requests_per_minute: 60, not_found: 0.5}]
"""
        )
    )

    answer = judged(made.answer(FIRST, at(300)))

    told = next(bucket.response_counts for bucket in answer.snapshot.buckets if bucket.policy == ANTISCAN)
    assert told is not None
    assert told.total == 300
    assert told.rate_limited > 200
    assert 10 < told.not_found < 30


def test_a_slow_answer_is_late_by_something_between_the_two_and_the_same_each_time():
    text = "faults: [{kind: slow, at_least: 1s, at_most: 8s, from: 10s}]"
    made = world(scenario(text))

    delays = [made.reply(FIRST, at(second)).delay_seconds for second in (0, 10, 20, 30)]

    assert delays[0] == 0
    assert all(1 <= delay <= 8 for delay in delays[1:])
    assert len(set(delays)) == 4
    assert world(scenario(text)).delay_seconds(FIRST, at(10)) == delays[1]


def test_a_reply_without_a_fault_is_the_answer():
    reply = world().reply(FIRST, at(0))

    assert reply.delay_seconds == 0
    assert reply.payload == world().answer(FIRST, at(0)).SerializeToString()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"undecodable", "too_long"}])
def test_each_kind_of_garbage_is_counted_by_its_own_name(kind: str):
    payload = corrupt(kind, world().answer(FIRST, at(60)))

    try:
        defects = judged(payload, last_seconds=45, received_at=at(60)).defects
    except BadAnswer as error:
        defects = error.defects

    assert {defect.reason for defect in defects} == {kind}


def test_there_is_garbage_of_every_kind_that_is_counted():
    # The one takes minutes, the other is of reads.
    assert set(KINDS) == set(REASONS) - {"repeated", "wrong_policy"}


def test_garbage_comes_in_turn_in_its_time():
    made = world(
        scenario("faults: [{kind: garbage, from: 10s, until: 1m, kinds: [no_policies, unknown_category]}]"),
    )

    seen = [GetRateLimitPoliciesResponse.FromString(made.reply(FIRST, at(s)).payload) for s in (0, 10, 20, 30, 60)]

    assert [len(answer.policies) for answer in seen] == [31, 0, 31, 0, 31]
    assert [answer.category for answer in seen] == ["E", "E", "Z", "E", "E"]


def test_in_the_demo_a_bucket_runs_low_and_recovers_within_half_a_minute():
    made = world(load("demo"))

    share = [left(made, "KEYS_CHECK", at(second)) / 70 for second in range(61)]

    low = [second for second, left in enumerate(share) if left <= 0.1]
    assert low[0] <= 8
    assert set(range(8, 15)) <= set(low)
    assert min(share) > 0
    assert all(left > 0.25 for left in share[27:])


def test_in_the_demo_polls_find_a_bucket_well_after_one_of_two_dips_whenever_they_begin():
    made = world(load("demo"))

    low = [second for second in range(90) if left(made, "ENTRIES_UPDATE", at(second)) <= 120]

    assert low == [*range(7, 12), *range(32, 37), *range(57, 62), *range(82, 87)]
    assert min(left(made, "ENTRIES_UPDATE", at(second)) for second in range(600)) > 60
    of_two = [{second % 10 for second in dip} for dip in (low[5:10], low[10:15])]
    assert not of_two[0] & of_two[1]


def test_in_the_demo_keys_are_scanned():
    made = world(load("demo"))

    answer = judged(made.answer(FIRST, at(60)), received_at=at(60))

    told = next(bucket.response_counts for bucket in answer.snapshot.buckets if bucket.policy == ANTISCAN)
    assert told is not None
    assert told.not_found > 0.3 * told.total


@pytest.mark.parametrize(
    ("name", "policy", "second"),
    [
        ("burst", "KEYS_CHECK", 90),
        ("scan", ANTISCAN, 600),
        ("exhaustion", ANTISCAN, 120),
        ("exhaustion", "ENTRIES_WRITE", 600),
        ("recovery", "ENTRIES_WRITE", 0),
        ("category-change", ANTISCAN, 300),
    ],
)
def test_a_scenario_empties_the_bucket_it_is_about(name: str, policy: str, second: int):
    assert left(world(load(name)), policy, at(second)) == 0


def test_steady_traffic_leaves_every_bucket_nearly_full():
    answer = judged(world(load("steady")).answer(FIRST, at(3_600)), received_at=at(3_600))

    assert max(bucket.utilization_percent for bucket in answer.snapshot.buckets) < 20


def test_recovery_takes_the_time_that_its_refill_and_traffic_leave():
    made = world(load("recovery"))

    assert left(made, "ENTRIES_WRITE", at(1_800)) < 36_000 * 0.85
    assert left(made, "ENTRIES_WRITE", at(2_400)) > 36_000 * 0.98


@pytest.mark.no_cover
def test_three_months_are_played_in_one_go():
    made = world(
        scenario("step: 1m\ntraffic: [{policies: [CIDS_FILES_WRITE, ENTRIES_WRITE], share_of_refill: 0.5}]"),
        participants=1,
    )

    end = START + timedelta(days=92)

    assert taken(made, "CIDS_FILES_WRITE", end) == pytest.approx(92 * 20, abs=1)
    assert taken(made, "ENTRIES_WRITE", end) == pytest.approx(92 * 86_400 * 10, abs=1)
