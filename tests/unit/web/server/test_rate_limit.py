"""The rate limit: a token bucket, full at first."""

from __future__ import annotations

from exporter.web.server.rate_limit import RateLimiter


def test_a_burst_is_let_through_and_then_one_each_interval():
    limiter = RateLimiter(2.0, 3, at=100.0)

    assert [limiter.allows(100.0) for _ in range(4)] == [True, True, True, False]
    assert not limiter.allows(101.9)
    assert limiter.allows(102.0)
    assert not limiter.allows(102.0)


def test_a_pause_gives_back_the_burst_and_no_more():
    limiter = RateLimiter(1.0, 2, at=0.0)
    while limiter.allows(0.0):
        pass

    assert [limiter.allows(3600.0) for _ in range(3)] == [True, True, False]


def test_it_says_when_the_next_request_is_let_through():
    limiter = RateLimiter(10.0, 1, at=0.0)
    limiter.allows(0.0)

    assert not limiter.allows(2.5)
    assert limiter.retry_after_seconds == 8
