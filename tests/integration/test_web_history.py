"""The sparklines of the status page: what the database holds of the hours before this process."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from exporter.buckets.bucket import PolicyName
from tests.support.builders import PARTICIPANT, POLICY, START, at, bucket, failed, poll
from tests.support.program import Bridge, Program, programs, wait_until
from tests.support.stored import HEARTBEAT_SECONDS, stored

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.buckets.observation import Poll

pytestmark = pytest.mark.postgres

STEP = timedelta(seconds=300)
HEARTBEAT = timedelta(seconds=HEARTBEAT_SECONDS)


async def read_back(dsn: str, polls: list[Poll], since: datetime) -> dict[int, float]:
    """Returns the bucket's highest utilization by the number of the step, counted from the tests' start."""
    async with stored(dsn) as store:
        await store.commit(*polls)
        found = await store.reader.utilization(PARTICIPANT, since, STEP, HEARTBEAT)
    return {round((step - START) / STEP): value for step, value in found.get(POLICY, {}).items()}


def answered(seconds: float, percent_left: int) -> Poll:
    return poll(bucket(percent_left, capacity=100), seconds=seconds)


async def test_the_highest_utilization_of_each_step_is_read(database_dsn: str) -> None:
    polls = [answered(0, 50), answered(60, 10), answered(120, 90), answered(300, 80), answered(599, 70)]

    assert await read_back(database_dsn, polls, START) == {0: 90.0, 1: 30.0}


async def test_a_bucket_that_does_not_change_keeps_its_state_while_polls_are_answered(database_dsn: str) -> None:
    polls = [answered(0, 40), *(answered(seconds, 40) for seconds in (330, 630))]

    assert await read_back(database_dsn, polls, START) == {0: 60.0, 1: 60.0, 2: 60.0}


async def test_a_step_begins_with_the_state_of_the_one_before(database_dsn: str) -> None:
    polls = [answered(290, 5), answered(305, 5), answered(320, 95)]

    assert await read_back(database_dsn, polls, START) == {0: 95.0, 1: 95.0}


async def test_steps_in_which_no_poll_was_answered_are_unknown(database_dsn: str) -> None:
    polls = [answered(0, 40), failed(330), answered(630, 40)]

    assert await read_back(database_dsn, polls, START) == {0: 60.0, 2: 60.0}


async def test_a_state_from_before_the_first_step_is_known_in_it(database_dsn: str) -> None:
    polls = [answered(10, 40), answered(310, 40), answered(610, 40)]

    assert await read_back(database_dsn, polls, at(600)) == {2: 60.0}


async def test_a_policy_that_is_gone_is_left_out(database_dsn: str) -> None:
    polls = [answered(0, 40), poll(bucket(policy="OTHER"), seconds=15)]

    async with stored(database_dsn) as store:
        await store.commit(*polls)
        found = await store.reader.utilization(PARTICIPANT, START, STEP, HEARTBEAT)

    assert found == {PolicyName("OTHER"): {START: 0.0}}


async def test_the_last_hours_are_on_the_page_after_a_restart(database_dsn: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    policy = "KEYS_CHECK"
    with programs() as start:
        bridge = start(Bridge(tmp_path))
        back = [(now - START - timedelta(minutes=minutes)).total_seconds() for minutes in range(120, 5, -5)]
        async with stored(database_dsn, now) as store:
            await store.commit(
                *(
                    poll(bucket(left, policy=policy, capacity=100), seconds=s, participant=bridge.participants[0])
                    for left, s in enumerate(back, start=60)
                )
            )
            await store.rows("UPDATE dict_rate_limit_lease SET expires_at = now() RETURNING 1")

        program = start(Program("run", **bridge.settings, DATABASE__DSN=database_dsn)).ready()

        def points() -> int:
            page = httpx.get(f"{program.url}/?policy={policy}", timeout=10).text
            return sum(line.count(",") for line in re.findall(r'<polyline points="([^"]*)"', page))

        wait_until(lambda: points() >= len(back), what="the sparkline")
