"""What a poll comes to, given what is known."""

from __future__ import annotations

import gc
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.alerts.alert import AlertState
from exporter.buckets.observation import Category
from exporter.reconciler.decide import ParticipantState, decide, not_ahead
from exporter.rules.files import loading
from tests.support.builders import POLICY, at, bucket, failed, poll, read
from tests.support.garbage import uncollected
from tests.support.program import RULES

RULE_SET = loading.load([str(RULES)])


def after(*polls, followed: ParticipantState | None = None):
    """What is known after these polls, and the decisions that they led to."""
    known, decisions = followed or ParticipantState(), []
    for made in polls:
        known, decided = decide(known, made, RULE_SET.rules)
        decisions.append(decided)
    return known, decisions


def low(seconds: float, **given):
    return poll(bucket(3_000), seconds=seconds, **given)


def test_a_poll_is_decided_once() -> None:
    _, (first, second) = after(low(0), low(0))

    assert first.evaluated
    assert second is None


def test_a_repeated_poll_still_shows_what_it_saw() -> None:
    restored = ParticipantState(polled_at=at(0), stream_id="stream", sequence=1)

    known, (decided,) = after(low(0), followed=restored)

    assert decided is None
    assert known.view is not None
    assert known.view.buckets


def test_a_new_stream_begins_its_sequences_anew() -> None:
    _, decisions = after(low(0), low(15), low(30, stream_id="other", sequence=1))

    assert all(decisions)


def test_a_poll_behind_one_already_evaluated_is_kept_and_not_evaluated() -> None:
    lost = failed(60, "FEED_LOST", sequence=0)

    known, (_, _, late) = after(low(0), lost, low(15))

    assert not late.evaluated
    assert not late.transitions
    assert known.polled_at == at(60)
    assert known.sequence == 2


def test_a_lost_feed_is_evaluated_and_does_not_count_as_the_exporters_poll() -> None:
    known, (_, lost) = after(low(0), failed(15, "FEED_LOST", sequence=0))

    assert lost.evaluated
    assert (known.sequence, known.polled_at) == (1, at(15))


def test_a_lost_feed_of_the_past_is_passed_over() -> None:
    _, (_, lost) = after(low(30), failed(15, "FEED_LOST", sequence=0))

    assert lost is None


def test_a_read_is_evaluated_as_any_poll_at_its_instant() -> None:
    known, (_, _, decided) = after(poll(), poll(seconds=15), read(bucket(3_000), seconds=20, sequence=3))

    assert decided.evaluated
    assert {(alert.policy, alert.active_since) for alert in decided.alerts_after.values()} == {(POLICY, at(20))}
    assert known.polled_at == at(20)


def test_a_read_resolves_no_alert_about_another_bucket() -> None:
    other = bucket(20, policy="KEYS_CHECK", capacity=70)

    _, (*_, first, decided) = after(
        poll(bucket(3_000), other), poll(bucket(3_000), other, seconds=15), read(other, seconds=20, sequence=3)
    )

    assert first.alerts_after
    assert decided.alerts_after.keys() == first.alerts_after.keys()
    assert not decided.transitions


def test_a_read_behind_which_polls_are_missing_is_kept_and_not_evaluated() -> None:
    known, (*_, before, decided) = after(low(0), low(15), low(30), read(bucket(3_000), seconds=400, sequence=30))

    assert before.alerts_after
    assert not decided.evaluated
    assert decided.alerts_after == before.alerts_after
    assert known.polled_at == at(30)


def test_what_is_decided_names_alerts_before_and_after() -> None:
    known, (_, second) = after(low(0), poll(bucket(36_000), seconds=15))

    assert {a.name for a in second.alerts_before.values()} == {"DictRateLimitTokensLow", "DictRateLimitTokensCritical"}
    assert not second.alerts_after
    assert not known.alerts
    assert {t.alert.state for t in second.transitions} == {AlertState.RESOLVED}


@given(
    tokens=st.lists(st.integers(0, 36_000), min_size=1, max_size=30),
    again=st.lists(st.integers(0, 29), max_size=10),
)
def test_polls_sent_again_change_nothing(tokens, again) -> None:
    polls = [poll(bucket(n), seconds=15 * i) for i, n in enumerate(tokens)]
    repeated = list(polls)
    for place in sorted(again, reverse=True):
        if place < len(polls):
            repeated.insert(place + 1, polls[place])

    once, _ = after(*polls)
    twice, decisions = after(*repeated)

    assert replace(once, view=None) == replace(twice, view=None)
    assert sum(d is not None for d in decisions) == len(polls)


MINUTES_5 = timedelta(minutes=5)


def test_polls_leave_nothing_to_the_garbage_collector() -> None:
    """It would look through all that is known of all participants, and hold everything up meanwhile."""
    with uncollected():
        after(low(0), low(15), poll(bucket(30_000), seconds=30), failed(45))
        left = gc.collect()

    assert left == 0


def test_a_poll_that_is_ahead_no_further_than_tolerated_stays_as_it_is() -> None:
    made = low(300)

    assert not_ahead(made, at(0), MINUTES_5, None) is made


def test_a_poll_of_a_clock_that_is_ahead_takes_the_databases_time() -> None:
    made = low(301, last_success_at=at(301), known=Category("A", at(290), "B"), stream_began_at=at(200))

    repaired = not_ahead(made, at(0), MINUTES_5, None)

    assert repaired.polled_at == repaired.last_success_at == repaired.stream_began_at == at(0)
    assert repaired.category == Category("A", at(0), "B")
    assert repaired.result.observed_at == at(0)
    assert repaired.result.buckets == made.result.buckets


def test_what_dict_itself_said_of_its_time_stays() -> None:
    made = replace(low(500), result=low(20).result)

    assert not_ahead(made, at(0), MINUTES_5, None).result == made.result


def test_a_failed_poll_of_a_clock_that_is_ahead_takes_the_databases_time() -> None:
    assert not_ahead(failed(301), at(0), MINUTES_5, None).polled_at == at(0)


def test_each_poll_of_a_clock_that_is_ahead_comes_after_the_one_before() -> None:
    known, times = ParticipantState(), []
    for made in (low(10_000), low(10_015), low(10_030)):
        known, decided = decide(known, not_ahead(made, at(0), MINUTES_5, known.polled_at), RULE_SET.rules)
        times.append(decided.poll.polled_at)
        assert decided.evaluated

    assert times == sorted(set(times))
    assert times[-1] - at(0) < timedelta(seconds=1)


A, B = Category("A"), Category("B")


@pytest.mark.parametrize(
    ("known", "told", "answered", "then"),
    [
        (None, None, None, None),
        (None, A, "A", A),
        (A, None, None, A),
        (A, A, "A", A),
        (A, None, "A", A),
        (A, B, "B", Category("B", at(15), "A")),
        (A, None, "B", Category("B", at(15), "A")),
        (Category("B", at(5), "A"), B, "B", Category("B", at(5), "A")),
        (Category("B", at(5), "A"), A, "A", Category("A", at(15), "B")),
        (A, Category("B", at(9), "A"), "B", Category("B", at(9), "A")),
        (Category("B", at(5), "A"), Category("C", at(9), "B"), "C", Category("C", at(9), "B")),
        (Category("C", at(9), "B"), Category("B", at(5), "A"), "B", Category("B", at(15), "C")),
    ],
)
def test_what_is_known_of_a_category_outlives_the_exporter(known, told, answered, then) -> None:
    made = poll(seconds=15, category=answered, known=told)

    after_it, decided = decide(ParticipantState(category=known), made, RULE_SET.rules)

    assert decided.poll.category == after_it.category == then
    assert after_it.view.poll.category == then


def test_a_failed_poll_knows_what_the_one_before_it_knew() -> None:
    known, (_, decided) = after(low(0, known=A), failed(15))

    assert decided.poll.category == known.category == A


def test_a_change_of_category_while_nobody_looked_raises_the_alert_that_says_so() -> None:
    _, (decided,) = after(
        poll(seconds=0, category="F", known=Category("F")), followed=ParticipantState(category=Category("E"))
    )

    (changed,) = [t.alert for t in decided.transitions if t.alert.name == "DictRateLimitCategoryChanged"]
    assert changed.annotations["summary"] == f"{changed.participant}: BACEN changed the category from E to F"


def test_a_second_change_within_the_hour_raises_another_alert() -> None:
    first = ParticipantState(category=Category("E"))
    _, decisions = after(
        poll(seconds=0, category="F", known=Category("F", at(0), "E")),
        poll(seconds=15, category="G", known=Category("G", at(15), "F")),
        followed=first,
    )

    told = [(str(t.alert.state), t.alert.labels["psp_category"]) for d in decisions for t in d.transitions]
    assert told == [("firing", "F"), ("firing", "G"), ("resolved", "F")]
