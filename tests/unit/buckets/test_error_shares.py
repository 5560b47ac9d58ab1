"""The shares of errors that an estimator tells are those of all counts in its window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.buckets.bucket import ResponseCounts
from exporter.buckets.error_shares import error_shares
from exporter.buckets.estimate import Estimator
from tests.support.builders import bucket, snapshot

INTERVAL_SECONDS = 15
IN_WINDOW = 5
"""Observations within a window of a minute, both ends included."""


@st.composite
def answers(draw: st.DrawFn) -> list[ResponseCounts | None]:
    """What two Bridge instances count, that answer in turn and start again now and then."""
    counted: dict[str, tuple[int, int, int]] = {}
    seen: list[ResponseCounts | None] = []
    steps = st.tuples(st.sampled_from("aaaaaab"), st.sampled_from(["counts"] * 8 + ["starts", "none"]))
    for instance, what in draw(st.lists(steps, min_size=1, max_size=20)):
        if what == "none":
            seen.append(None)
            continue
        before = counted.get(instance, (0, 0, 0)) if what == "counts" else (0, 0, 0)
        ok, not_found, rate_limited = (count + draw(st.integers(0, 20)) for count in before)
        counted[instance] = (ok, not_found, rate_limited)
        seen.append(ResponseCounts(ok + not_found + rate_limited, not_found, rate_limited, instance))
    return seen


@given(answers())
def test_the_shares_are_those_of_all_counts_in_the_window(seen: list[ResponseCounts | None]) -> None:
    estimator = Estimator(60, INTERVAL_SECONDS)
    for n, counts in enumerate(seen):
        answered = snapshot(bucket(20_000, response_counts=counts), seconds=INTERVAL_SECONDS * n)
        observed = estimator.observe(answered).buckets[0]

        shares = error_shares(seen[max(0, n + 1 - IN_WINDOW) : n + 1])
        assert (observed.error_404_rate, observed.error_429_rate) == shares


@pytest.mark.parametrize("window", [[], [None], [ResponseCounts(7, 1, 1, "a")], [ResponseCounts(7, 1, 1, "a"), None]])
def test_there_are_no_shares_where_nothing_was_counted(window: list[ResponseCounts | None]) -> None:
    assert error_shares(window) == (None, None)
