"""The last hours of each bucket, kept in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from exporter.buckets.bucket import Ispb, PolicyName
from exporter.errors import AccessDenied, DatabaseUnavailable
from exporter.web.status_page.history import STEP_SECONDS, STEPS, RecentUtilization
from tests.support.builders import PARTICIPANT, POLICY, bucket, poll, view
from tests.support.conditions import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from exporter.buckets.observation import View
    from exporter.web.sources import UtilizationHistory


NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def later(steps: float) -> datetime:
    return NOON + timedelta(seconds=steps * STEP_SECONDS)


def left(percent: int, *, policy: str = POLICY) -> dict[Ispb, View]:
    return {PARTICIPANT: view(poll(bucket(percent, policy=policy, capacity=100)))}


def test_an_unknown_bucket_has_no_history():
    assert RecentUtilization().utilization(PARTICIPANT, POLICY) == []


def test_the_highest_utilization_of_each_step_is_kept():
    seen = RecentUtilization()

    for steps, percent in ((0, 60), (0.5, 10), (0.9, 80), (1, 70)):
        seen.sample(left(percent), later(steps))

    assert seen.utilization(PARTICIPANT, POLICY)[-3:] == [None, 90.0, 30.0]
    assert len(seen.utilization(PARTICIPANT, POLICY)) == STEPS


def test_steps_in_which_nothing_was_seen_are_unknown():
    seen = RecentUtilization()

    seen.sample(left(50), later(0))
    seen.sample(left(40), later(3))

    assert seen.utilization(PARTICIPANT, POLICY)[-4:] == [50.0, None, None, 60.0]


def test_what_is_older_than_the_kept_steps_is_forgotten():
    seen = RecentUtilization()

    seen.sample(left(50, policy="OLD"), later(0))
    seen.sample(left(50), later(STEPS - 1))
    assert seen.utilization(PARTICIPANT, PolicyName("OLD"))[0] == 50.0
    seen.sample(left(50), later(STEPS))

    assert seen.utilization(PARTICIPANT, PolicyName("OLD")) == []


def test_a_participant_that_is_gone_for_long_takes_no_memory():
    seen = RecentUtilization()

    seen.sample(left(50), later(0))
    seen.sample({}, later(10 * STEPS))

    assert not seen._seen


def test_a_clock_that_goes_back_changes_nothing_of_the_past():
    seen = RecentUtilization()

    seen.sample(left(50), later(5))
    seen.sample(left(10), later(4))

    assert seen.utilization(PARTICIPANT, POLICY)[-2:] == [None, 90.0]


async def test_buckets_are_looked_at_again_and_again():
    seen = RecentUtilization(sample_seconds=0.001)
    shown = [left(50)]
    following = asyncio.create_task(seen.follow(lambda: shown[-1], lambda: NOON))
    await until(lambda: seen.utilization(PARTICIPANT, POLICY))

    shown.append(left(20))
    await until(lambda: seen.utilization(PARTICIPANT, POLICY)[-1] == 80.0)
    following.cancel()


@asynccontextmanager
async def recalling(seen: RecentUtilization, history: UtilizationHistory, *shown: str) -> AsyncIterator[None]:
    views = {Ispb(participant): view(poll(participant=participant)) for participant in shown or (PARTICIPANT,)}
    task = asyncio.create_task(seen.recall(lambda: views, history, lambda: NOON))
    yield
    task.cancel()


async def test_the_past_is_read_once_and_joined_to_what_was_seen():
    seen = RecentUtilization()
    seen.sample(left(50), NOON)
    asked = []

    async def past(participant: Ispb, since: datetime, step: timedelta) -> dict[PolicyName, dict[datetime, float]]:
        asked.append((participant, since, step.total_seconds()))
        stored = {-STEPS: 1.0, 1 - STEPS: 20.0, -1: 80.0, 0: 70.0, 1: 99.0}
        return {POLICY: {later(steps): percent for steps, percent in stored.items()}}

    async with recalling(seen, past, PARTICIPANT, "87654321"):
        await until(lambda: seen.not_recalled({PARTICIPANT: view(), Ispb("87654321"): view()}) == 0)

    shown = seen.utilization(PARTICIPANT, POLICY)
    assert (shown[0], shown[-2:]) == (20.0, [80.0, 70.0])
    assert set(shown[1:-2]) == {None}
    assert asked == [(PARTICIPANT, later(1 - STEPS), STEP_SECONDS), ("87654321", later(1 - STEPS), STEP_SECONDS)]


async def test_a_higher_figure_that_was_seen_stays():
    seen = RecentUtilization()
    seen.sample(left(10), NOON)

    async def past(*_: object) -> dict[PolicyName, dict[datetime, float]]:
        return {POLICY: {NOON: 30.0}}

    async with recalling(seen, past):
        await until(lambda: not seen.not_recalled({PARTICIPANT: view()}))

    assert seen.utilization(PARTICIPANT, POLICY)[-1] == 90.0


async def test_the_past_is_asked_for_again_while_the_database_is_away(caplog: pytest.LogCaptureFixture):
    seen = RecentUtilization(retry_seconds=0.001, recall_seconds=0.001)
    away = [DatabaseUnavailable("PostgreSQL does not answer")] * 3 + [AccessDenied("may not")]

    async def past(*_: object) -> dict[PolicyName, dict[datetime, float]]:
        if away:
            raise away.pop()
        return {POLICY: {NOON: 30.0}}

    async with recalling(seen, past):
        await until(lambda: seen.utilization(PARTICIPANT, POLICY))

    warnings = [(record.message, record.error) for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [("last hours missing from the status page", "may not")]


async def test_a_participant_that_comes_back_has_its_past_read_again():
    seen = RecentUtilization(recall_seconds=0.001)
    views = {PARTICIPANT: view()}
    asked = []

    async def past(participant: Ispb, *_: object) -> dict[PolicyName, dict[datetime, float]]:
        asked.append(participant)
        return {}

    task = asyncio.create_task(seen.recall(lambda: views, past, lambda: NOON))
    await until(lambda: not seen.not_recalled({PARTICIPANT: view()}))
    kept, views = views, {}
    await until(lambda: seen.not_recalled({PARTICIPANT: view()}))
    views = kept
    await until(lambda: not seen.not_recalled({PARTICIPANT: view()}))
    task.cancel()

    assert asked == [PARTICIPANT] * 2
