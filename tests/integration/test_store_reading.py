"""Whatever was reconciled reads back exactly."""

from __future__ import annotations

import asyncio
import itertools
import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.buckets.bucket import Bucket, Ispb, PolicyName, ResponseCounts
from exporter.buckets.observation import BucketObservation, Category, Failure, Observation, Poll
from exporter.store.reader import Reader, bucket_of
from tests.support.builders import PARTICIPANT, START, at, bucket, failed, observed, poll
from tests.support.builders import read as read_of
from tests.support.stored import HEARTBEAT_SECONDS, Store, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

pytestmark = pytest.mark.postgres

POLICIES = ("A", "B", "ENTRIES_WRITE", 'odd "name"')
CATEGORIES = (None, "A", "H")

_participants = (f"{number:08}" for number in itertools.count(1))

rates = st.one_of(st.none(), st.sampled_from([0.0, math.inf, math.nan, 1e-300, 0.1]), st.floats(0, 1e9).map(abs))
counts = st.builds(
    lambda total, missed, instance: ResponseCounts(total + missed, missed, 0, instance),
    st.integers(0, 2**45),
    st.integers(0, 5),
    st.sampled_from(["a", ""]),
)
buckets = st.builds(
    lambda available, spare, refill, period, counted: (available, available + spare, refill, period, counted),
    st.integers(0, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from([1, 60, 86_400]),
    st.one_of(st.none(), counts),
)
states = st.tuples(buckets, rates, rates, rates)
answers = st.dictionaries(st.sampled_from(POLICIES), states, max_size=len(POLICIES))

steps = st.fixed_dictionaries(
    {
        "wait": st.one_of(st.just(15.0), st.floats(0.001, 2 * HEARTBEAT_SECONDS)),
        "what": st.sampled_from(
            ["same"] * 4 + ["changed"] * 4 + ["read"] * 4 + ["failed", "new stream", "restart", "repeat"]
        ),
        "answer": answers,
        "category": st.sampled_from(CATEGORIES),
        "refused": st.lists(st.sampled_from(POLICIES), unique=True, max_size=2),
        "lag": st.sampled_from([0.0, 0.0, 0.5, 20.0]),
        "commit": st.booleans(),
    }
)


@pytest.fixture
async def store(database_dsn: str) -> AsyncIterator[Store]:
    async with stored(database_dsn) as made:
        yield made


def polls_of(participant: Ispb, plan: list[dict[str, Any]]) -> list[Poll]:
    """Returns the polls of a plan: what an exporter, started afresh now and then, may see."""
    made: list[Poll] = []
    now, stream, sequence = START, 0, 0
    answer: dict[str, Any] = {"A": ((1, 2, 1, 60, None), None, None, None)}
    category: str | None = "A"
    for step in plan:
        now += timedelta(seconds=step["wait"])
        sequence += 1
        if step["what"] == "new stream":
            stream, sequence = stream + 1, 1
        elif step["what"] == "changed":
            answer, category = answer | step["answer"], step["category"]
        refused = tuple(PolicyName(p) for p in sorted(step["refused"]))
        result: Observation | Failure = Observation(
            participant,
            now - timedelta(seconds=step["lag"]),
            category,
            f"c-{sequence}",
            tuple(_observed(p, *answer[p]) for p in sorted(answer) if p not in refused),
            refused,
        )
        if step["what"] == "read":
            policy, state = next(iter((step["answer"] or answer).items()))
            result = replace(result, buckets=(_observed(policy, *state),))
            result = replace(result, refused=(), is_whole=False)
        if step["what"] == "failed":
            result = Failure("UNAVAILABLE", "the Bridge did not answer")
        made.append(
            Poll(
                stream_id=f"stream-{stream}",
                sequence=sequence,
                participant=participant,
                polled_at=now,
                interval_seconds=15.0,
                staleness_seconds=300.0,
                result=result,
                clock_skew_seconds=None if step["what"] == "failed" else -0.25,
                last_success_at=now if made else None,
                category=Category("B", START, "A") if step["category"] else None,
                stream_began_at=START,
                duration_seconds=0.1,
                traceparent="00-a-b-01" if sequence % 2 else None,
            )
        )
    return made


def _observed(policy: str, made: tuple[Any, ...], *figures: float | None) -> BucketObservation:
    return BucketObservation(Bucket(PolicyName(policy), *made), *figures)


async def read(store: Store, participant: Ispb, *window: Any) -> list[Poll]:
    return [found async for found in store.reader.polls(participant, *window)]


def told(polls: Iterable[object]) -> list[str]:
    """NaN is not equal to itself; its text is."""
    return [repr(made) for made in polls]


def with_what_changed(polls: list[Poll], found: list[Poll]) -> list[Poll]:
    """Returns ``polls`` without the reads that are not among those found; asserts that these changed nothing."""
    written, states = [], {}
    for made in polls:
        buckets = made.result.buckets if isinstance(made.result, Observation) else ()
        if made.is_read and made.polled_at not in {one.polled_at for one in found}:
            assert [repr(states.get(o.bucket.policy)) for o in buckets] == told(buckets)
        else:
            written.append(made)
        states |= {o.bucket.policy: o for o in buckets}
    return written


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(plan=st.lists(steps, min_size=1, max_size=30), page=st.sampled_from([1, 2, 3, 500]))
def test_every_poll_reads_back_exactly_compacted_or_not(
    database_dsn: str, plan: list[dict[str, Any]], page: int
) -> None:
    participant = Ispb(next(_participants))
    polls = polls_of(participant, plan)

    async def act() -> None:
        async with stored(database_dsn) as store:
            store.reader = Reader(store.database, page_polls=page)
            waiting: list[Poll] = []
            for made, step in zip(polls, plan, strict=True):
                waiting.append(made)
                if step["commit"] or made is polls[-1]:
                    assert await store.commit(*waiting) == []
                    if step["what"] == "repeat":
                        assert await store.commit(*waiting) == []
                    waiting = []
                if step["what"] == "restart":
                    store.restart()

            found = await read(store, participant)
            written = with_what_changed(polls, found)
            assert told(found) == told(written)
            middle = written[len(written) // 2].polled_at
            assert told(await read(store, participant, middle)) == told(written[len(written) // 2 :])
            assert told(await read(store, participant, None, middle)) == told(written[: len(written) // 2])

            rows = await store.everything()
            await store.compact()
            assert await store.everything() == rows
            assert told(await read(store, participant)) == told(written)
            assert told(await read(store, participant, middle)) == told(written[len(written) // 2 :])
            assert told(await read(store, participant, None, middle)) == told(written[: len(written) // 2])

    asyncio.run(act())


async def test_the_greatest_counts_read_back_exactly(store: Store) -> None:
    polls = [poll(bucket(1, response_counts=ResponseCounts(2**62 + n, n, 0, "a")), seconds=15 * n) for n in range(5)]
    await store.commit(*polls)

    assert await read(store, PARTICIPANT) == polls


async def test_polls_around_reads_read_back_exactly_and_reads_that_changed_anything(store: Store) -> None:
    one, other = bucket(1, policy="A"), bucket(2, policy="B")
    unchanged = read_of(other, seconds=5, sequence=2)
    polls = [
        poll(one, other),
        unchanged,
        read_of(bucket(0, policy="B"), seconds=7, sequence=3),
        poll(one, bucket(0, policy="B"), seconds=15, sequence=4),
        read_of(bucket(7, policy="C"), seconds=20, sequence=5),
        poll(one, bucket(0, policy="B"), seconds=30, sequence=6),
    ]
    await store.commit(*polls)

    polls.remove(unchanged)
    assert await read(store, PARTICIPANT) == polls
    for made in polls:
        assert await read(store, PARTICIPANT, made.polled_at) == polls[polls.index(made) :]


async def test_only_the_participants_own_polls_are_read(store: Store) -> None:
    mine, theirs = poll(seconds=0), poll(seconds=0, participant="87654321")
    await store.commit(mine, theirs)

    assert await read(store, PARTICIPANT) == [mine]
    assert await store.reader.participants() == [PARTICIPANT, Ispb("87654321")]


async def test_polls_of_two_streams_in_turns_read_back_exactly(store: Store) -> None:
    polls = [
        poll(bucket(seconds // 40), seconds=seconds, stream_id=f"s{seconds // 15 % 2}", sequence=seconds // 15 + 1)
        for seconds in range(0, 300, 15)
    ]

    for made in polls:
        await store.commit(made)

    assert await read(store, PARTICIPANT) == polls
    assert await read(store, PARTICIPANT, at(100)) == [p for p in polls if p.polled_at >= at(100)]


async def test_a_poll_whose_states_are_past_their_retention_is_left_out(store: Store, superuser_dsn: str) -> None:
    late = timedelta(days=22)  # the poll is in April, DICT's response time still in March
    first = poll(seconds=0)
    answer = replace(first.result, observed_at=at(0) + late - timedelta(minutes=1))
    second = replace(first, sequence=2, polled_at=at(0) + late, result=answer)
    await store.commit(first, second)
    assert await read(store, PARTICIPANT) == [first, second]

    with psycopg.connect(superuser_dsn, autocommit=True) as admin:
        admin.execute("DELETE FROM dict_rate_limit_state_rows WHERE polled_at = %s", (second.polled_at,))

    assert await read(store, PARTICIPANT) == [first]


async def test_history_read_from_a_failed_poll_on_has_the_buckets_of_the_answers_after_it(store: Store) -> None:
    polls = [poll(seconds=0, sequence=1), failed(15, sequence=2), poll(seconds=30, sequence=3)]
    assert await store.commit(*polls) == []

    found = await read(store, PARTICIPANT, polls[1].polled_at)

    assert found == polls[1:]


async def test_failures_alone_read_back(store: Store) -> None:
    polls = [failed(0), failed(15, code="FEED_LOST", sequence=0)]

    await store.commit(*polls)

    assert await read(store, PARTICIPANT) == polls


async def test_latest_states_are_those_that_participants_still_have(store: Store) -> None:
    a, b = observed(bucket(1, policy="A"), rate=2.0, empty=math.inf), bucket(2, policy="B")
    await store.commit(poll(a, b, seconds=0), poll(a, b, seconds=15), poll(a, seconds=30), failed(45))

    (latest,) = await store.rows(
        "SELECT policy, available_tokens, capacity, refill_tokens, refill_period_seconds, responses_total,"
        " responses_not_found, responses_rate_limited, responses_instance, consumption_rate_per_minute,"
        " exhaustion_projection_seconds, error_404_rate, error_429_rate, lowest_available_tokens, participant,"
        " psp_category, observed_at, confirmed_at"
        " FROM v_dict_rate_limit_latest_states"
    )

    assert bucket_of(latest) == a
    assert latest[14:16] == (PARTICIPANT, "A")
    assert latest[16:] == (at(0), at(30))
    assert await store.reader.policies() == {"A"}
