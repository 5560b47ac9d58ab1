"""What a bucket can be, what follows from it, and what BACEN publishes of it."""

from __future__ import annotations

import pytest

from exporter.buckets.bucket import ResponseCounts
from exporter.buckets.catalog import difference
from tests.support.builders import bucket

ANTISCAN = "ENTRIES_READ_PARTICIPANT_ANTISCAN"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"policy": ""}, "^a bucket needs a policy name$"),
        ({"available": 0, "capacity": 0}, "^ENTRIES_WRITE: capacity 0 is below 1$"),
        ({"refill_tokens": 0}, "^ENTRIES_WRITE: a refill of 0 tokens is below 1$"),
        ({"refill_period_seconds": 0}, "^ENTRIES_WRITE: a refill period of 0s is below 1s$"),
    ],
)
def test_a_bucket_that_cannot_be_is_refused_with_its_figures(given, why) -> None:
    with pytest.raises(ValueError, match=why):
        bucket(**given)


@pytest.mark.parametrize("available", [0, 1])
def test_the_smallest_bucket_is_one(available) -> None:
    smallest = bucket(available, capacity=1, refill_tokens=1, refill_period_seconds=1)

    assert smallest.recovery_eta_seconds == 1 - available


@pytest.mark.parametrize(("not_found", "rate_limited"), [(0, 0), (6, 4), (10, 0), (0, 10)])
def test_counts_of_answers_fit_their_total(not_found, rate_limited) -> None:
    assert ResponseCounts(10, not_found, rate_limited, "a").total == 10


@pytest.mark.parametrize(("not_found", "rate_limited"), [(6, 5), (11, 0), (-1, 0), (0, -1)])
def test_counts_of_answers_that_do_not_fit_their_total_are_refused(not_found, rate_limited) -> None:
    with pytest.raises(ValueError, match="of 10 answers cannot be"):
        ResponseCounts(10, not_found, rate_limited, "a")


def test_utilization_is_the_share_that_is_used_up() -> None:
    assert bucket(36_000).utilization_percent == 0
    assert bucket(9_000).utilization_percent == 75
    assert bucket(0).utilization_percent == 100


def test_a_bucket_in_debt_is_empty_and_takes_longer_to_fill() -> None:
    debt = bucket(-1_200)

    assert (debt.is_empty, debt.left_percent, debt.utilization_percent) == (True, 0, 100)
    assert debt.recovery_eta_seconds == bucket(0).recovery_eta_seconds + 60


def test_a_bucket_above_its_capacity_is_full() -> None:
    above = bucket(36_001)

    assert (above.is_empty, above.left_percent, above.utilization_percent) == (False, 100, 0)
    assert above.recovery_eta_seconds == 0


def test_recovery_takes_as_long_as_the_refill_of_what_is_missing() -> None:
    assert bucket(36_000).recovery_eta_seconds == 0
    assert bucket(9_000, refill_tokens=600, refill_period_seconds=30).recovery_eta_seconds == 1_350


@pytest.mark.parametrize(
    ("given", "category"),
    [
        ({}, "A"),
        ({"policy": ANTISCAN, "capacity": 50_000, "refill_tokens": 25_000}, "A"),
        ({"policy": ANTISCAN, "capacity": 40_000, "refill_tokens": 20_000}, "B"),
        ({"policy": ANTISCAN, "capacity": 40_000, "refill_tokens": 20_000}, None),
        ({"policy": "EVENT_LIST"}, "A"),
    ],
    ids=["as published", "of category A", "of category B", "category unknown", "size not published"],
)
def test_a_bucket_as_published_or_of_which_nothing_is_published_does_not_differ(given, category) -> None:
    assert difference(bucket(0, **given), category) is None


def test_a_difference_from_what_is_published_is_a_sentence_with_both_figures() -> None:
    other = bucket(0, policy=ANTISCAN, capacity=50_000, refill_tokens=25_000, refill_period_seconds=30)

    assert difference(other, "B") == (
        "ENTRIES_READ_PARTICIPANT_ANTISCAN holds 50000 and refills 25000 per 30s; published are 40000 and 20000 per 60s"
    )


@pytest.mark.parametrize("change", [{"capacity": 1_000}, {"refill_tokens": 1_000}, {"refill_period_seconds": 30}])
def test_each_figure_of_a_bucket_is_compared_with_what_is_published(change) -> None:
    assert difference(bucket(0, **change), "A") is not None


def test_a_policy_that_is_not_published_is_told() -> None:
    assert difference(bucket(policy="NEW_POLICY"), "A") == "NEW_POLICY is not a published policy"
