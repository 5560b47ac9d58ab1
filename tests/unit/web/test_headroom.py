"""The answer of /api/v1/headroom, and why a request is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from exporter.buckets.refill import RefillMode
from exporter.web.headroom import HeadroomQuery, HeadroomRefusal, headroom_json
from tests.support.builders import PARTICIPANT, POLICY, at, bucket, failed, observation, observed, poll, read, view

if TYPE_CHECKING:
    from exporter.buckets.observation import View

CHECK = observed(bucket(52, policy="KEYS_CHECK", capacity=70, refill_tokens=70), rate=12.0)
WRITE = bucket(9_000)


def answered(**given: Any) -> View:
    """What is known after an answer at 0 s about two buckets that refill continuously."""
    result = observation(CHECK, WRITE, refill_mode=RefillMode.CONTINUOUS, **given)
    return view(poll(result=result))


def asked(
    shown: View | None = None,
    *policies: str,
    participant: str = PARTICIPANT,
    tokens: str | None = None,
    seconds: float = 6.0,
) -> Any:
    query = HeadroomQuery.parse([participant], policies, [] if tokens is None else [tokens])
    body = headroom_json(query, {PARTICIPANT: shown or answered()}, at(seconds))
    assert json.loads(body)["status"] == "success"
    return json.loads(body)["data"]


def refused(*parameters: list[str], views: dict[str, View] | None = None, seconds: float = 6.0) -> HeadroomRefusal:
    with pytest.raises(HeadroomRefusal) as refusal:
        headroom_json(
            HeadroomQuery.parse(*parameters), {PARTICIPANT: answered()} if views is None else views, at(seconds)
        )
    return refusal.value


def test_a_bucket_is_told_in_the_terms_of_ratelimit_fields() -> None:
    data = asked(None, "KEYS_CHECK")

    assert data == {
        "participant": PARTICIPANT,
        "up": True,
        "last_success_at": "2026-03-10T12:00:00Z",
        "poll_interval_seconds": 15.0,
        "buckets": [
            {
                "policy": "KEYS_CHECK",
                "quota": 70,
                "window_seconds": 60.0,
                "remaining": 56,
                "reserve": 15,
                "reset_seconds": pytest.approx((70 - 56.6) * 60 / 70),
                "sustainable_rate_per_minute": 70.0,
                "consumption_rate_per_minute": 12.0,
                "refill_mode": "continuous",
                "age_seconds": 6.0,
            }
        ],
    }


def test_every_bucket_is_told_unless_some_are_named() -> None:
    def policies(*named: str) -> list[str]:
        return [told["policy"] for told in asked(None, *named)["buckets"]]

    assert policies() == policies(POLICY, "KEYS_CHECK") == [POLICY, "KEYS_CHECK"]
    assert policies("KEYS_CHECK") == ["KEYS_CHECK"]


@pytest.mark.parametrize(("tokens", "seconds"), [("50", 0.0), ("71", None)])
def test_with_tokens_each_bucket_says_when_they_are_there(tokens: str, seconds: float | None) -> None:
    (told,) = asked(None, "KEYS_CHECK", tokens=tokens)["buckets"]

    assert told["retry_after_seconds"] == seconds


def test_what_is_not_known_is_null() -> None:
    (told,) = asked(view(poll(WRITE)))["buckets"]

    assert (told["consumption_rate_per_minute"], told["refill_mode"]) == (None, None)


def test_while_nothing_is_answered_the_age_grows() -> None:
    data = asked(view(poll(WRITE), failed(15, last_success_at=at(0))), seconds=20)

    assert (data["up"], data["last_success_at"]) == (False, "2026-03-10T12:00:00Z")
    assert data["buckets"][0]["age_seconds"] == 20


def test_a_read_is_the_answer_for_its_bucket() -> None:
    lower = read(replace(CHECK, bucket=replace(CHECK.bucket, available_tokens=51)), seconds=5, sequence=2)

    assert [told["age_seconds"] for told in asked(view(poll(CHECK, WRITE), lower))["buckets"]] == [6, 1]


@pytest.mark.parametrize("participants", [[], [""], [PARTICIPANT, PARTICIPANT]])
def test_one_participant_must_be_named(participants: list[str]) -> None:
    refusal = refused(participants, [], [])

    assert (refusal.status, refusal.kind) == (400, "bad_data")
    assert "participant=12345678" in str(refusal)


@pytest.mark.parametrize("tokens", [["0"], ["-1"], ["1.5"], ["ten"], [""], ["\u0663"], ["9" * 19], ["1", "2"]])
def test_tokens_must_be_one_positive_whole_number(tokens: list[str]) -> None:
    refusal = refused([PARTICIPANT], [], tokens)

    assert (refusal.status, refusal.kind) == (400, "bad_data")
    assert tokens[0] in str(refusal)
    assert "tokens=10" in str(refusal)


def test_a_participant_that_is_not_known_comes_with_the_nearest_one() -> None:
    refusal = refused(["12345687"], [], [])

    assert (refusal.status, str(refusal)) == (404, "there is no participant 12345687; did you mean 12345678?")


def test_a_process_that_knows_of_no_participant_says_so() -> None:
    refusal = refused([PARTICIPANT], [], [], views={})

    assert refusal.status == 404
    assert "this process knows of none" in str(refusal)


def test_a_policy_that_is_not_known_comes_with_the_nearest_one() -> None:
    refusal = refused([PARTICIPANT], [POLICY, "KEYS_CHEKC"], [])

    assert (refusal.status, str(refusal)) == (404, "12345678 has no bucket KEYS_CHEKC; did you mean KEYS_CHECK?")


def test_a_policy_like_none_comes_with_where_they_are_listed() -> None:
    assert "/api/v1/buckets?participant=12345678" in str(refused([PARTICIPANT], ["X"], []))


def test_a_bucket_that_is_stale_is_not_told() -> None:
    without_check = replace(observation(WRITE, seconds=290), refill_mode=None)
    shown = view(poll(CHECK, WRITE), poll(seconds=290, result=without_check))

    assert [told["policy"] for told in asked(shown, seconds=310)["buckets"]] == [POLICY]
    assert refused([PARTICIPANT], ["KEYS_CHECK"], [], views={PARTICIPANT: shown}, seconds=310).status == 404


def test_a_process_that_has_stopped_polling_knows_nothing_after_the_staleness() -> None:
    refusal = refused([PARTICIPANT], [], [], seconds=300)

    assert (refusal.status, refusal.kind) == (503, "unavailable")
    assert "younger than 5m" in str(refusal)
