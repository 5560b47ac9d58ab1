"""One exporter per participant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.feed.ownership import Claims

ONE, TWO = "12345678", "87654321"


@pytest.fixture
def refused() -> list[str]:
    return []


@pytest.fixture
def claims(refused: list[str]) -> Claims:
    return Claims(refused.append)


def test_the_first_exporter_of_a_participant_owns_it_however_often_it_claims(claims, refused) -> None:
    assert claims.claim(ONE, "a")
    assert claims.claim(ONE, "a")

    assert not claims.taken(ONE, "a")
    assert refused == []


def test_a_second_exporter_of_a_participant_is_refused_and_counted_each_time(claims, refused) -> None:
    claims.claim(ONE, "a")

    assert not claims.claim(ONE, "b")
    assert not claims.claim(ONE, "b")

    assert claims.taken(ONE, "b")
    assert refused == ["b", "b"]


def test_a_refusal_is_logged_once_per_participant_and_exporter(claims, caplog) -> None:
    for participant in (ONE, TWO):
        claims.claim(participant, "a")

    for participant, target in [(ONE, "b"), (ONE, "b"), (TWO, "b"), (ONE, "c"), (ONE, "b")]:
        claims.claim(participant, target)

    logged = [(r.participant, r.kept, r.refused) for r in caplog.records]
    assert logged == [(ONE, "a", "b"), (TWO, "a", "b"), (ONE, "a", "c")]


def test_a_participant_that_no_exporter_claimed_is_free(claims) -> None:
    assert not claims.taken(ONE, "a")
    assert claims.claim(ONE, "b")


def test_two_exporters_may_own_two_participants(claims, refused) -> None:
    assert claims.claim(ONE, "a")
    assert claims.claim(TWO, "b")

    assert claims.taken(ONE, "b")
    assert claims.taken(TWO, "a")
    assert refused == []


def test_asking_whether_a_participant_is_owned_does_not_claim_it(claims) -> None:
    claims.taken(ONE, "a")

    assert claims.claim(ONE, "b")


def test_what_an_exporter_released_another_may_own_and_the_first_is_then_the_second(claims, refused) -> None:
    claims.claim(ONE, "a")
    claims.release("a")

    assert claims.claim(ONE, "b")
    assert not claims.claim(ONE, "a")
    assert refused == ["a"]


def test_an_exporter_releases_all_but_what_it_keeps(claims) -> None:
    for participant in (ONE, TWO):
        claims.claim(participant, "a")

    claims.release("a", keep=[TWO])

    assert claims.claim(ONE, "b")
    assert not claims.claim(TWO, "b")


def test_an_exporter_does_not_release_what_another_owns(claims) -> None:
    claims.claim(ONE, "a")

    claims.release("b")

    assert claims.taken(ONE, "b")


def test_releasing_twice_and_releasing_what_was_never_owned_change_nothing(claims) -> None:
    claims.claim(ONE, "a")

    claims.release("b")
    claims.release("a")
    claims.release("a")

    assert not claims.taken(ONE, "b")


targets = st.sampled_from("abc")
participants = st.sampled_from([ONE, TWO])
steps = st.lists(
    st.tuples(st.just("claim"), participants, targets) | st.tuples(st.just("release"), st.sets(participants), targets),
    max_size=30,
)


@given(steps)
def test_at_no_time_has_a_participant_two_owners(taken_steps) -> None:
    refusals: list[str] = []
    claims, owners, refused = Claims(refusals.append), {}, []
    for step, what, target in taken_steps:
        if step == "claim":
            admitted = claims.claim(what, target)
            assert admitted == (owners.setdefault(what, target) == target)
            refused += [] if admitted else [target]
        else:
            claims.release(target, keep=what)
            owners = {p: owner for p, owner in owners.items() if owner != target or p in what}

        for participant in (ONE, TWO):
            free = [target for target in "abc" if not claims.taken(participant, target)]
            assert free == ([owners[participant]] if participant in owners else list("abc"))
    assert refusals == refused


def test_participants_beyond_the_limit_are_refused_counted_and_told_once(refused, caplog) -> None:
    claims = Claims(refused.append, most=1)

    assert [claims.claim(participant, "a") for participant in (ONE, TWO, TWO, ONE)] == [True, False, False, True]

    assert refused == ["a", "a"]
    assert [record.message for record in caplog.records] == [
        "feeds carry more participants than limits.participants allows: those beyond are refused"
    ]


def test_there_is_room_again_when_a_feed_is_gone(refused) -> None:
    claims = Claims(refused.append, most=1)
    claims.claim(ONE, "a")
    claims.release("a")

    assert claims.claim(TWO, "b")
