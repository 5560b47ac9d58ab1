"""What a poll comes to, given what is known."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from exporter.alerts.alert import AlertState
from exporter.reconciler import Followed, decide
from exporter.rules import loading
from tests.support.builders import at, bucket, failed, poll
from tests.support.program import RULES

RULE_SET = loading.load([str(RULES)])


def after(*polls, followed: Followed | None = None):
    """What is known after these polls, and the decisions that they led to."""
    known, decisions = followed or Followed(), []
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
    restored = Followed(polled_at=at(0), stream_id="stream", sequence=1)

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
