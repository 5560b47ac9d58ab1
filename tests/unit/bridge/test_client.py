from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.bridge.client import MAX_BACKOFF_SECONDS, backoff_seconds


@pytest.mark.parametrize(("retry", "seconds"), [(1, 0.2), (2, 0.4), (3, 0.8), (20, MAX_BACKOFF_SECONDS)])
def test_the_longest_backoff_doubles_up_to_a_limit(retry: int, seconds: float):
    assert backoff_seconds(retry, jitter=1.0) == pytest.approx(seconds)


@given(st.integers(1, 10), st.floats(0, 1))
def test_jitter_takes_off_at_most_half(retry: int, jitter: float):
    longest = backoff_seconds(retry, jitter=1.0)

    assert longest / 2 <= backoff_seconds(retry, jitter) <= longest
