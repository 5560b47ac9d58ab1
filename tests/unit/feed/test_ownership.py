"""One exporter per participant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.feed.ownership import Ownership
from tests.support.metrics import Increments

ONE, TWO = "12345678", "87654321"


@pytest.fixture
def refused() -> Increments:
    return Increments()


@pytest.fixture
def ownership(refused: Increments) -> Ownership:
    return Ownership(refused)


def test_the_first_exporter_of_a_participant_owns_it_however_often_it_claims(ownership, refused) -> None:
    assert ownership.acquire(ONE, "a")
    assert ownership.acquire(ONE, "a")

    assert ownership.may_own(ONE, "a")
    assert refused == []


def test_a_second_exporter_of_a_participant_is_refused_and_counted_each_time(ownership, refused) -> None:
    ownership.acquire(ONE, "a")

    assert not ownership.acquire(ONE, "b")
    assert not ownership.acquire(ONE, "b")

    assert not ownership.may_own(ONE, "b")
    assert refused == ["b", "b"]


def test_a_refusal_is_logged_once_per_participant_and_exporter(ownership, caplog) -> None:
    for participant in (ONE, TWO):
        ownership.acquire(participant, "a")

    for participant, target in [(ONE, "b"), (ONE, "b"), (TWO, "b"), (ONE, "c"), (ONE, "b")]:
        ownership.acquire(participant, target)

    logged = [(r.participant, r.kept, r.refused) for r in caplog.records]
    assert logged == [(ONE, "a", "b"), (TWO, "a", "b"), (ONE, "a", "c")]


def test_a_participant_that_no_exporter_claimed_is_free(ownership) -> None:
    assert ownership.may_own(ONE, "a")
    assert ownership.acquire(ONE, "b")


def test_two_exporters_may_own_two_participants(ownership, refused) -> None:
    assert ownership.acquire(ONE, "a")
    assert ownership.acquire(TWO, "b")

    assert not ownership.may_own(ONE, "b")
    assert not ownership.may_own(TWO, "a")
    assert refused == []


def test_asking_whether_a_participant_is_owned_does_not_claim_it(ownership) -> None:
    ownership.may_own(ONE, "a")

    assert ownership.acquire(ONE, "b")


def test_what_an_exporter_released_another_may_own_and_the_first_is_then_the_second(ownership, refused) -> None:
    ownership.acquire(ONE, "a")
    ownership.release("a")

    assert ownership.acquire(ONE, "b")
    assert not ownership.acquire(ONE, "a")
    assert refused == ["a"]


def test_an_exporter_releases_all_but_what_it_keeps(ownership) -> None:
    for participant in (ONE, TWO):
        ownership.acquire(participant, "a")

    ownership.release("a", keep=[TWO])

    assert ownership.acquire(ONE, "b")
    assert not ownership.acquire(TWO, "b")


def test_an_exporter_does_not_release_what_another_owns(ownership) -> None:
    ownership.acquire(ONE, "a")

    ownership.release("b")

    assert not ownership.may_own(ONE, "b")


def test_releasing_twice_and_releasing_what_was_never_owned_change_nothing(ownership) -> None:
    ownership.acquire(ONE, "a")

    ownership.release("b")
    ownership.release("a")
    ownership.release("a")

    assert ownership.may_own(ONE, "b")


targets = st.sampled_from("abc")
participants = st.sampled_from([ONE, TWO])
steps = st.lists(
    st.tuples(st.just("claim"), participants, targets) | st.tuples(st.just("release"), st.sets(participants), targets),
    max_size=30,
)


@given(steps)
def test_at_no_time_has_a_participant_two_owners(taken_steps) -> None:
    refusals = Increments()
    ownership, owners, refused = Ownership(refusals), {}, []
    for step, what, target in taken_steps:
        if step == "claim":
            acquired = ownership.acquire(what, target)
            assert acquired == (owners.setdefault(what, target) == target)
            refused += [] if acquired else [target]
        else:
            ownership.release(target, keep=what)
            owners = {p: owner for p, owner in owners.items() if owner != target or p in what}

        for participant in (ONE, TWO):
            free = [target for target in "abc" if ownership.may_own(participant, target)]
            assert free == ([owners[participant]] if participant in owners else list("abc"))
    assert refusals == refused


def test_participants_beyond_the_limit_are_refused_counted_and_told_once(refused, caplog) -> None:
    ownership = Ownership(refused, most=1)

    assert [ownership.acquire(participant, "a") for participant in (ONE, TWO, TWO, ONE)] == [True, False, False, True]

    assert refused == ["a", "a"]
    assert [record.message for record in caplog.records] == [
        "feeds carry more participants than limits.participants allows: those beyond are refused"
    ]


def test_there_is_room_again_when_a_feed_is_gone(refused) -> None:
    ownership = Ownership(refused, most=1)
    ownership.acquire(ONE, "a")
    ownership.release("a")

    assert ownership.acquire(TWO, "b")
