"""Values for property tests: anything that the types allow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from hypothesis import strategies as st

from exporter.buckets.bucket import Bucket, Ispb, PolicyName, ResponseCounts
from exporter.buckets.observation import BucketObservation, Category, Failure, Observation, Poll

INT64_MAX: Final = 2**63 - 1

texts = st.text(max_size=20)
storable = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
"""Text that PostgreSQL can hold."""

names = st.text(min_size=1, max_size=20).map(PolicyName)
participants = st.from_regex(r"[0-9]{8}", fullmatch=True).map(Ispb)
times = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
figures = st.floats(allow_nan=False)


@st.composite
def response_counts(draw: st.DrawFn) -> ResponseCounts:
    total = draw(st.integers(0, INT64_MAX))
    not_found = draw(st.integers(0, total))
    return ResponseCounts(total, not_found, draw(st.integers(0, total - not_found)), draw(texts))


@st.composite
def buckets(draw: st.DrawFn) -> Bucket:
    capacity = draw(st.integers(1, INT64_MAX))
    return Bucket(
        policy=draw(names),
        available_tokens=draw(st.integers(0, capacity)),
        capacity=capacity,
        refill_tokens=draw(st.integers(1, INT64_MAX)),
        refill_period_seconds=draw(st.integers(1, INT64_MAX)),
        response_counts=draw(st.none() | response_counts()),
    )


bucket_observations = st.builds(
    BucketObservation,
    bucket=buckets(),
    consumption_rate_per_minute=st.none() | figures,
    exhaustion_projection_seconds=st.none() | figures,
    error_404_rate=st.none() | figures,
    error_429_rate=st.none() | figures,
    lowest_available_tokens=st.none() | st.integers(-(2**63), INT64_MAX),
)

failures = st.builds(Failure, code=texts, message=texts)


@st.composite
def polls(draw: st.DrawFn, stream_id: str = "stream") -> Poll:
    participant = draw(participants)
    observations = st.builds(
        Observation,
        participant=st.just(participant),
        observed_at=times,
        category=st.none() | st.sampled_from("ABCDEFGH"),
        correlation_id=texts,
        buckets=st.lists(bucket_observations, max_size=3).map(tuple),
        refused=st.lists(names, max_size=2).map(tuple),
        is_whole=st.booleans(),
    )
    return Poll(
        stream_id=stream_id,
        sequence=draw(st.integers(0, INT64_MAX)),
        participant=participant,
        polled_at=draw(times),
        interval_seconds=draw(figures),
        staleness_seconds=draw(figures),
        result=draw(observations | failures),
        clock_skew_seconds=draw(st.none() | figures),
        last_success_at=draw(st.none() | times),
        category=draw(
            st.none() | st.builds(Category, st.sampled_from("ABCDEFGH"), st.none() | times, st.none() | names)
        ),
        stream_began_at=draw(st.none() | times),
        duration_seconds=draw(figures),
        traceparent=draw(st.none() | names),
    )
