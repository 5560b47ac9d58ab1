"""What `/metrics` shows after a poll, and what rules see."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from exporter.buckets.refill import RefillMode
from tests.support.builders import at, bucket, failed, observation, poll, read, view

if TYPE_CHECKING:
    from exporter.buckets.observation import Poll

WRITE, LIST = bucket(), bucket(20, policy="CLAIMS_LIST", capacity=20)


def policies(seen) -> list[str]:
    return list(seen.buckets)


def test_a_view_is_of_its_last_poll() -> None:
    seen = view(poll(seconds=0), failed(15))

    assert (seen.participant, seen.at, seen.up) == ("12345678", at(15), False)


def test_buckets_outlive_failed_polls_until_they_are_stale() -> None:
    assert policies(view(poll(), failed(299))) == ["ENTRIES_WRITE"]
    assert policies(view(poll(), failed(300))) == []
    assert policies(view(poll(), failed(15, staleness_seconds=15.0))) == []


def test_a_bucket_that_an_answer_lacks_outlives_it_until_it_is_stale() -> None:
    first = poll(LIST, WRITE)

    assert policies(view(first, poll(WRITE, seconds=15))) == ["CLAIMS_LIST", "ENTRIES_WRITE"]
    assert policies(view(first, poll(WRITE, seconds=300))) == ["ENTRIES_WRITE"]


def test_an_answer_confirms_its_buckets() -> None:
    seen = view(poll(LIST, WRITE), poll(bucket(5), seconds=15, result=observation(bucket(5), seconds=14)))

    assert seen.buckets["ENTRIES_WRITE"].observation.bucket.available_tokens == 5
    assert (seen.buckets["ENTRIES_WRITE"].observed_at, seen.buckets["ENTRIES_WRITE"].confirmed_at) == (at(14), at(15))
    assert (seen.buckets["CLAIMS_LIST"].observed_at, seen.buckets["CLAIMS_LIST"].confirmed_at) == (at(0), at(0))


def again(seconds: float, **given: Any) -> Poll:
    """A poll that was given the answer of the first."""
    return poll(seconds=seconds, result=observation(WRITE, seconds=0), **given)


def test_an_answer_that_comes_again_confirms_nothing() -> None:
    seen = view(poll(WRITE), again(15), again(299))

    assert (seen.up, seen.is_stale, seen.news_at) == (True, False, at(0))
    assert (seen.buckets["ENTRIES_WRITE"].confirmed_at, seen.category_confirmed_at) == (at(0), at(0))


def test_an_answer_that_comes_again_and_again_is_stale_after_a_while_and_as_none() -> None:
    seen = view(poll(WRITE), again(15), again(300), again(315))

    assert (seen.up, seen.is_stale, policies(seen), seen.category) == (False, True, [], None)
    assert view(poll(WRITE), again(300), poll(WRITE, seconds=315)).up


def test_an_answer_that_comes_again_after_a_failure_is_no_news_either() -> None:
    seen = view(poll(WRITE), failed(200), again(215))

    assert seen.buckets["ENTRIES_WRITE"].confirmed_at == at(0)


def test_a_category_outlives_failures_and_answers_without_one_until_it_is_stale() -> None:
    first = poll(category="B")

    assert view(first).category_confirmed_at == at(0)
    for later in (failed, lambda seconds: poll(seconds=seconds, category=None)):
        assert (view(first, later(299)).category, view(first, later(299)).category_confirmed_at) == ("B", at(0))
        assert (view(first, later(300)).category, view(first, later(300)).category_confirmed_at) == (None, None)


def test_an_answer_with_a_category_confirms_it() -> None:
    seen = view(poll(category="B"), poll(seconds=15, category="C"))

    assert (seen.category, seen.category_confirmed_at) == ("C", at(15))


def test_refused_policies_are_those_of_the_last_answer() -> None:
    first = poll(refused=("CLAIMS_READ",))

    assert view(first, failed(15)).refused == ("CLAIMS_READ",)
    assert view(first, poll(seconds=15)).refused == ()
    assert view(poll(), poll(seconds=15, refused=("CLAIMS_READ",))).refused == ("CLAIMS_READ",)
    assert view(failed(0)).refused == ()


def test_an_exporter_that_has_just_started_shows_nothing_of_what_its_predecessor_knew() -> None:
    seen = view(poll(LIST, category="B", refused=("CLAIMS_READ",)), failed(15, stream_id="another", sequence=1))

    assert (policies(seen), seen.category, seen.refused) == ([], None, ())


def test_a_lost_feed_shows_what_was_known_though_the_stream_is_another() -> None:
    seen = view(poll(LIST), failed(15, "FEED_LOST", stream_id="another", sequence=0))

    assert policies(seen) == ["CLAIMS_LIST"]


# Reads


def tokens(seen) -> dict[str, int]:
    return {policy: visible.observation.bucket.available_tokens for policy, visible in seen.buckets.items()}


def test_a_read_changes_its_bucket_and_leaves_the_others_as_they_were() -> None:
    before = view(poll(LIST, WRITE, refused=("KEYS_CHECK",)))

    seen = view(before.poll, read(bucket(5), seconds=7, sequence=2, category="B"))

    assert tokens(seen) == {"CLAIMS_LIST": 20, "ENTRIES_WRITE": 5}
    assert seen.buckets["CLAIMS_LIST"] == before.buckets["CLAIMS_LIST"]
    assert (seen.buckets["ENTRIES_WRITE"].observed_at, seen.buckets["ENTRIES_WRITE"].confirmed_at) == (at(7), at(7))
    assert (seen.at, seen.up, seen.is_partial) == (at(7), True, False)
    assert (seen.category, seen.refused, seen.observed_at, seen.news_at) == ("A", ("KEYS_CHECK",), at(0), at(0))


def test_buckets_that_are_read_keep_their_order() -> None:
    keys = bucket(1, policy="KEYS_CHECK")

    assert policies(view(poll(LIST, WRITE), read(keys, seconds=7, sequence=2))) == [
        "CLAIMS_LIST",
        "ENTRIES_WRITE",
        "KEYS_CHECK",
    ]


def test_a_read_confirms_no_other_bucket() -> None:
    seen = view(poll(LIST, WRITE), read(bucket(5), seconds=299, sequence=2), failed(300))

    assert policies(seen) == ["ENTRIES_WRITE"]


def test_an_answer_that_a_read_has_overtaken_does_not_take_its_bucket_back() -> None:
    late = poll(seconds=15, result=observation(LIST, bucket(30_000), seconds=6))

    seen = view(poll(LIST, WRITE), read(bucket(5), seconds=7, sequence=2), late)

    assert tokens(seen) == {"CLAIMS_LIST": 20, "ENTRIES_WRITE": 5}
    assert seen.buckets["ENTRIES_WRITE"].confirmed_at == at(7)


def test_a_read_that_shows_what_is_known_confirms_nothing() -> None:
    """It has no row in the database, and what is made of the rows is the same."""
    seen = view(poll(LIST, WRITE), read(WRITE, seconds=7, sequence=2))

    assert seen.buckets["ENTRIES_WRITE"].confirmed_at == at(0)
    assert policies(view(poll(LIST, WRITE), read(WRITE, seconds=299, sequence=2), failed(300))) == []


def test_a_read_that_an_answer_has_overtaken_changes_nothing() -> None:
    seen = view(poll(LIST, WRITE), read(bucket(5), seconds=7, observed_seconds=-1, sequence=2))

    assert tokens(seen) == {"CLAIMS_LIST": 20, "ENTRIES_WRITE": 36_000}


def test_what_a_wrong_clock_stamped_on_a_read_does_not_stand_against_answers_that_go_back() -> None:
    ahead = poll(WRITE, result=observation(WRITE, seconds=200))
    right = poll(seconds=15, result=observation(bucket(30_000), seconds=15))

    seen = view(ahead, read(bucket(5), seconds=7, observed_seconds=207, sequence=2), right)

    assert tokens(seen) == {"ENTRIES_WRITE": 30_000}


def test_a_policy_that_went_away_is_shown_until_it_is_stale_whatever_was_read_of_it() -> None:
    gone = [poll(LIST, seconds=15 * n, sequence=n + 2) for n in (1, 20, 21)]

    assert policies(view(poll(LIST, WRITE), read(bucket(5), seconds=7, sequence=2), *gone[:2])) == [
        "CLAIMS_LIST",
        "ENTRIES_WRITE",
    ]
    assert policies(view(poll(LIST, WRITE), read(bucket(5), seconds=7, sequence=2), *gone)) == ["CLAIMS_LIST"]


def test_a_read_that_follows_no_poll_of_its_stream_within_the_staleness_is_partial() -> None:
    assert view(read(WRITE, seconds=7, sequence=2)).is_partial
    assert view(poll(WRITE, stream_id="before"), read(WRITE, seconds=7, sequence=2)).is_partial
    assert view(poll(WRITE), read(WRITE, seconds=300, sequence=2)).is_partial
    assert not view(poll(WRITE), failed(15), read(WRITE, seconds=299, sequence=3)).is_partial
    assert not view(failed(0)).is_partial


def test_a_view_has_the_refill_mode_of_its_last_observation() -> None:
    def answered(mode: RefillMode | None, seconds: float, *, is_whole: bool = True) -> Poll:
        result = replace(observation(WRITE, seconds=seconds, refill_mode=mode), is_whole=is_whole)
        return poll(seconds=seconds, result=result)

    continuous = answered(RefillMode.CONTINUOUS, 0)
    stepwise = answered(RefillMode.STEPWISE, 15, is_whole=False)

    assert view(continuous).refill_mode is RefillMode.CONTINUOUS
    assert view(continuous, stepwise).refill_mode is RefillMode.STEPWISE
    assert view(continuous, failed(15)).refill_mode is RefillMode.CONTINUOUS
    assert view(continuous, answered(None, 15)).refill_mode is None
