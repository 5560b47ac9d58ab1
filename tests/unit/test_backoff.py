from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backoff import Backoff

BACKOFF = Backoff(0.5, 10.0)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.5), (1, 1), (2, 2), (4, 8), (5, 10), (10, 10), (11, 10), (10_000, 10)]
)
def test_the_longest_wait_doubles_with_each_failure_up_to_a_limit(failures: int, seconds: float) -> None:
    assert BACKOFF.seconds(failures, jitter=1.0) == seconds


@given(st.integers(0, 100), st.floats(0, 1))
def test_jitter_takes_off_at_most_half_of_a_wait(failures: int, jitter: float) -> None:
    longest = BACKOFF.seconds(failures, jitter=1.0)

    assert longest / 2 <= BACKOFF.seconds(failures, jitter) <= longest


def test_without_a_given_jitter_waits_are_spread_out() -> None:
    waits = {BACKOFF.seconds(3) for _ in range(100)}

    assert len(waits) > 50
    assert all(2.0 <= wait <= 4.0 for wait in waits)
