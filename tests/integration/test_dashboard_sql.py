"""What the dashboards' SQL says, where a wrong figure would still be a figure."""

from __future__ import annotations

import pytest

from grafana.boards import bucket as board
from tests.support.builders import PARTICIPANT, POLICY, at, bucket, poll
from tests.support.stored import stored

pytestmark = pytest.mark.postgres


async def refill_line(dsn: str, start: float, end: float) -> list[tuple[float, float]]:
    """Returns the points of the refill line between two times, in seconds after the tests' start."""
    (panel,) = (p for p in board.dashboard().build().panels if "against refill" in (p.title or ""))
    (query,) = (t.to_json()["rawSql"] for t in panel.targets if "rawSql" in t.to_json())
    for macro, value in (("$__timeFrom()", at(start)), ("$__timeTo()", at(end))):
        query = query.replace(macro, f"'{value:%Y-%m-%dT%H:%M:%SZ}'")
    query = query.replace("${participant:sqlstring}", f"'{PARTICIPANT}'").replace("${policy:sqlstring}", f"'{POLICY}'")
    refills = ((0, 1_200), (600, 600), (1_200, 300))
    async with stored(dsn) as store:
        for seconds, refill in refills:
            await store.commit(poll(bucket(refill_tokens=refill), seconds=seconds))
        return [((time - at(0)).total_seconds(), float(value)) for time, value in await store.rows(query)]


async def test_the_refill_line_changes_when_the_refill_did(database_dsn: str) -> None:
    assert await refill_line(database_dsn, 0, 1_800) == [(0, 1_200), (600, 600), (1_200, 300), (1_800, 300)]


async def test_the_refill_line_of_the_past_ends_with_the_refill_of_then(database_dsn: str) -> None:
    assert await refill_line(database_dsn, 300, 900) == [(300, 1_200), (600, 600), (900, 600)]


async def test_the_refill_line_begins_with_the_last_change_before_it(database_dsn: str) -> None:
    assert await refill_line(database_dsn, 900, 1_100) == [(900, 600), (1_100, 600)]
