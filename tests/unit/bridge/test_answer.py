"""What a good answer is: each rule of the module's table."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from exporter.bridge import answer as module
from exporter.bridge.answer import Answer, read, read_one
from exporter.bridge.defect import REASONS, Defect
from exporter.bridge.stubs.rate_limit_pb2 import (
    GetRateLimitPoliciesResponse,
    GetRateLimitPolicyResponse,
    RateLimitPolicy,
    ResponseCounts,
)
from exporter.buckets import bucket as buckets
from exporter.errors import BadAnswer
from tests.support.builders import PARTICIPANT, POLICY, at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from exporter.bridge.defect import Reason

NOW = at(0)


def policy(name: str = "ENTRIES_WRITE", available: int = 35_000, **given: Any) -> RateLimitPolicy:
    values = {"capacity": 36_000, "refill_tokens": 1_200, "refill_period_sec": 60, **given}
    return RateLimitPolicy(name=name, available_tokens=available, **values)


def response(*policies: RateLimitPolicy, **given: Any) -> GetRateLimitPoliciesResponse:
    values = {"correlation_id": "c-1", "category": "E", "response_time": NOW, **given}
    return GetRateLimitPoliciesResponse(policies=policies, **values)


def judge(
    answered: GetRateLimitPoliciesResponse | None,
    *,
    last: datetime | None = None,
    received: datetime = NOW,
    seen: Sequence[datetime] = (),
    **limits: Any,
) -> Answer:
    return read(
        answered,
        participant=PARTICIPANT,
        received_at=received,
        last_observed_at=last,
        max_clock_skew_seconds=300,
        seen=[(int(time.timestamp()), 0) for time in seen],
        **limits,
    )


def reasons(answer: Answer) -> list[str]:
    return [defect.reason for defect in answer.defects]


def test_a_good_answer_is_a_snapshot_without_defects():
    counted = ResponseCounts(total=10, not_found=2, rate_limited=1, instance="a")

    answer = judge(response(policy("B", response_counts=counted), policy("A")), received=at(1))

    assert answer.defects == ()
    assert answer.snapshot == buckets.Snapshot(
        participant=PARTICIPANT,
        observed_at=NOW,
        category="E",
        correlation_id="c-1",
        buckets=(
            buckets.Bucket(buckets.PolicyName("A"), 35_000, 36_000, 1_200, 60),
            buckets.Bucket(buckets.PolicyName("B"), 35_000, 36_000, 1_200, 60, buckets.ResponseCounts(10, 2, 1, "a")),
        ),
    )


def test_the_clock_skew_is_dicts_clock_less_ours():
    assert judge(response(policy(), response_time=at(2)), received=at(5)).clock_skew_seconds == -3


@pytest.mark.parametrize(
    ("bad", "reason", "value"),
    [
        (policy("BAD", capacity=0), "bad_capacity", "0"),
        (policy("BAD", refill_tokens=0), "bad_refill", "0"),
        (policy("BAD", refill_tokens=-5), "bad_refill", "-5"),
        (policy("BAD", refill_period_sec=0), "bad_refill_period", "0"),
    ],
)
def test_a_policy_with_impossible_figures_is_refused_and_the_rest_is_used(
    bad: RateLimitPolicy, reason: Reason, value: str
):
    answer = judge(response(bad, policy("GOOD")))

    assert [b.policy for b in answer.snapshot.buckets] == ["GOOD"]
    assert answer.snapshot.refused == ("BAD",)
    assert answer.defects == (Defect(reason, "BAD", value),)


@pytest.mark.parametrize(
    ("name", "reason"), [("", "empty_name"), ("A\0B", "bad_name"), ("A\nB", "bad_name"), ("A" * 129, "bad_name")]
)
def test_a_policy_without_a_proper_name_is_refused_namelessly(name: str, reason: str):
    answer = judge(response(policy(name), policy("GOOD")))

    assert [b.policy for b in answer.snapshot.buckets] == ["GOOD"]
    assert answer.snapshot.refused == ()
    assert reasons(answer) == [reason]
    assert answer.defects[0].policy is None
    assert answer.defects[0].value.isprintable()
    assert len(answer.defects[0].value) <= 128


@pytest.mark.parametrize("name", ["", "A\0B"])
def test_a_known_policy_that_is_missing_may_be_the_one_without_a_name(name: str):
    answer = judge(response(policy(name), policy("GOOD")), known_policies=("GOOD", "KNOWN"))

    assert answer.snapshot.refused == ("KNOWN",)


def test_a_known_policy_that_is_missing_among_good_ones_is_gone():
    assert judge(response(policy("GOOD")), known_policies=("GOOD", "KNOWN")).snapshot.refused == ()


def test_a_policy_that_comes_twice_is_refused_because_nobody_knows_which_is_true():
    answer = judge(response(policy("TWICE", 1), policy("GOOD"), policy("TWICE", 2), policy("TWICE", 3)))

    assert [b.policy for b in answer.snapshot.buckets] == ["GOOD"]
    assert answer.snapshot.refused == ("TWICE",)
    assert reasons(answer) == ["duplicate_policy", "duplicate_policy"]


def test_a_policy_that_comes_good_after_it_was_refused_stays_refused():
    answer = judge(response(policy("TWICE", refill_tokens=0), policy("TWICE"), policy("GOOD")))

    assert answer.snapshot.refused == ("TWICE",)
    assert reasons(answer) == ["bad_refill", "duplicate_policy"]


@pytest.mark.parametrize("category", ["", "Z", "e", "AA"])
def test_an_unknown_category_is_none(category: str):
    answer = judge(response(policy(), category=category))

    assert answer.snapshot.category is None
    assert reasons(answer) == ["unknown_category"]


@pytest.mark.parametrize("correlation_id", ["a\0b", "x" * 129])
def test_a_bad_correlation_id_is_dropped(correlation_id: str):
    answer = judge(response(policy(), correlation_id=correlation_id))

    assert answer.snapshot.correlation_id == ""
    assert reasons(answer) == ["bad_correlation_id"]


@pytest.mark.parametrize(
    "counted",
    [
        ResponseCounts(total=1, not_found=2, instance="a"),
        ResponseCounts(total=3, not_found=2, rate_limited=2, instance="a"),
        ResponseCounts(total=2**63, instance="a"),
        ResponseCounts(total=1, instance="a\0"),
    ],
)
def test_counts_that_cannot_be_are_dropped_and_the_bucket_is_used(counted: ResponseCounts):
    answer = judge(response(policy("A", response_counts=counted)))

    assert answer.snapshot.buckets[0].response_counts is None
    assert answer.snapshot.refused == ()
    assert reasons(answer) == ["bad_response_counts"]


def test_thousands_of_policies_are_read_up_to_a_bound():
    answer = judge(response(*(policy(f"P{number:05d}") for number in range(5_000))))

    assert len(answer.snapshot.buckets) == 256
    assert answer.defects == (Defect("too_many_policies", None, "5000"),)


def test_thousands_of_bad_policies_make_a_bounded_number_of_defects():
    with pytest.raises(BadAnswer) as caught:
        judge(response(*(policy(f"P{number}", refill_tokens=0) for number in range(5_000))))

    assert len(caught.value.defects) == 256 + 1


def test_what_is_known_comes_before_what_is_new_and_counts_also_where_it_is_missing():
    answered = response(*(policy(name) for name in ("NEW1", "NEW2", "KNOWN1", "NEW3")))

    answer = judge(answered, known_policies=("KNOWN1", "KNOWN2"), max_policies=3)

    assert [b.policy for b in answer.snapshot.buckets] == ["KNOWN1", "NEW1"]
    assert answer.defects == (Defect("too_many_policies", None, "4"),)


def test_without_a_response_time_our_clock_is_used_and_the_skew_is_not_known():
    answered = response(policy())
    answered.ClearField("response_time")

    answer = judge(answered, received=at(7), last=at(0))

    assert answer.snapshot.observed_at == at(7)
    assert answer.clock_skew_seconds is None
    assert reasons(answer) == ["no_response_time"]


def test_a_response_time_that_no_calendar_has_is_as_none():
    answered = response(policy())
    answered.response_time.seconds = 2**60

    answer = judge(answered)

    assert answer.snapshot.observed_at == NOW
    assert reasons(answer) == ["no_response_time"]


@pytest.mark.parametrize("skew", [-301, 301, 86_400 * 365])
def test_a_response_time_too_far_off_is_stamped_with_our_clock(skew: int):
    answer = judge(response(policy(), response_time=NOW + timedelta(seconds=skew)))

    assert answer.snapshot.observed_at == NOW
    assert answer.clock_skew_seconds == skew
    assert reasons(answer) == ["clock_skew"]


@pytest.mark.parametrize("skew", [-300, 300])
def test_a_response_time_within_the_allowed_skew_is_the_truth(skew: int):
    answer = judge(response(policy(), response_time=at(skew)))

    assert answer.snapshot.observed_at == at(skew)
    assert answer.defects == ()


@pytest.mark.parametrize("available", [-1, -1_000_000, 36_001])
def test_a_bucket_in_debt_or_above_its_capacity_is_used_as_it_is(available: int):
    answer = judge(response(policy("ENTRIES_WRITE", available)))

    assert [b.available_tokens for b in answer.snapshot.buckets] == [available]
    assert (answer.defects, answer.snapshot.refused) == ((), ())


@pytest.mark.parametrize("seconds", [0, 15, 299, 301, 86_400])
def test_the_last_answer_again_is_no_news_and_no_defect_however_late(seconds: int):
    answer = judge(response(policy(), response_time=NOW), last=at(0), received=at(seconds), seen=[at(-15), NOW])

    assert (answer.is_news, answer.defects, answer.snapshot.observed_at) == (False, (), at(0))
    assert answer.clock_skew_seconds is None


def test_the_last_answer_again_keeps_the_time_that_it_was_stamped_with():
    skewed = response(policy(), response_time=at(-3600))

    assert judge(skewed, last=at(0), received=at(15), seen=[at(-3600)]).snapshot.observed_at == at(0)


@pytest.mark.parametrize("time", [at(-15), at(-3600)], ids=["right clock", "wrong clock"])
def test_an_answer_from_before_the_last_is_refused_also_where_its_clock_is_not_believed(time: datetime):
    with pytest.raises(BadAnswer, match="before that of the last one") as caught:
        judge(response(policy(), response_time=time), last=at(0), received=at(15), seen=[time, at(-1800)])

    assert caught.value.defects[-1].reason == "time_going_back"


def test_another_response_time_is_news():
    assert judge(response(policy(), response_time=at(1)), last=NOW, seen=[NOW]).is_news
    assert judge(response(policy(), response_time=None), last=NOW, received=at(1), seen=[NOW]).is_news


def test_an_answer_older_than_the_last_is_refused_whole():
    with pytest.raises(BadAnswer, match="before that of the last one") as caught:
        judge(response(policy(), response_time=at(-1)), last=NOW)

    assert [d.reason for d in caught.value.defects] == ["time_going_back"]
    assert caught.value.code == "BAD_ANSWER"


def test_our_clock_stands_in_only_while_it_does_not_go_back_either():
    answered = response(policy(), response_time=at(10_000))

    with pytest.raises(BadAnswer) as caught:
        judge(answered, received=at(0), last=at(5))

    assert [d.reason for d in caught.value.defects] == ["clock_skew", "time_going_back"]


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        (None, "undecodable"),
        (response(), "no_policies"),
        (response(policy("A", refill_tokens=0)), "bad_refill"),
        (response(policy("")), "empty_name"),
    ],
)
def test_an_answer_without_a_usable_policy_is_refused_with_its_defects(
    answered: GetRateLimitPoliciesResponse | None, reason: str
):
    with pytest.raises(BadAnswer) as caught:
        judge(answered)

    assert [d.reason for d in caught.value.defects] == [reason]
    assert PARTICIPANT in str(caught.value)


def test_every_reason_is_in_the_table_once():
    table = [line.split()[-1] for line in (module.__doc__ or "").splitlines() if line.strip()]

    assert sorted(reason for reason in table if reason in REASONS) == sorted(REASONS)


# Reads


def judge_one(of: RateLimitPolicy | None = None, *, last: datetime | None = None, **given: Any) -> Answer:
    values = {"correlation_id": "c-1", "category": "E", "response_time": NOW, **given}
    return read_one(
        GetRateLimitPolicyResponse(policy=of or policy(), **values),
        participant=PARTICIPANT,
        policy=POLICY,
        received_at=NOW,
        last_observed_at=last,
        max_clock_skew_seconds=300,
    )


def test_a_good_answer_about_one_bucket_is_a_snapshot_of_it_that_is_not_whole():
    answer = judge_one()

    assert answer.defects == ()
    assert answer.is_news
    snapshot = answer.snapshot
    assert (snapshot.is_whole, snapshot.observed_at, snapshot.category) == (False, NOW, "E")
    assert [(b.policy, b.available_tokens) for b in snapshot.buckets] == [(POLICY, 35_000)]


@pytest.mark.parametrize(
    ("reason", "given"),
    [
        ("time_going_back", {"last": at(1)}),
        ("wrong_policy", {"of": policy("CLAIMS_READ")}),
        ("bad_capacity", {"of": policy(capacity=0)}),
        ("bad_refill", {"of": policy(refill_tokens=0)}),
        ("bad_refill_period", {"of": policy(refill_period_sec=0)}),
    ],
)
def test_an_answer_about_one_bucket_that_cannot_be_is_refused_and_says_why(reason, given):
    with pytest.raises(BadAnswer, match=f"answer for {POLICY} of {PARTICIPANT} was refused") as caught:
        judge_one(**given)

    assert [(defect.reason, defect.policy) for defect in caught.value.defects] == [(reason, POLICY)]


@pytest.mark.parametrize(
    ("reason", "given"),
    [
        ("no_response_time", {"response_time": None}),
        ("clock_skew", {"response_time": at(-301)}),
        ("unknown_category", {"category": "Z"}),
        ("bad_correlation_id", {"correlation_id": "x" * 129}),
        ("bad_response_counts", {"of": policy(response_counts=ResponseCounts(total=1, not_found=2))}),
    ],
)
def test_an_answer_about_one_bucket_with_a_lesser_defect_is_used(reason, given):
    answer = judge_one(**given)

    assert reasons(answer) == [reason]
    assert answer.snapshot.observed_at == NOW


def test_the_answer_of_the_last_observation_about_one_bucket_is_no_news():
    assert not judge_one(last=NOW).is_news
