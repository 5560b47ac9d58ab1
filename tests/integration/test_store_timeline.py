"""The past as the pages read it: a bucket by steps, bands, changes and alerts, out of a real database."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from exporter.alerts.alert import Reason, Severity
from exporter.buckets.bucket import PolicyName
from exporter.errors import DatabaseUnavailable, QueryTooSlow
from exporter.store import timeline as module
from exporter.store.timeline import ORDERS, AlertQuery, Step, Timeline
from tests.support.builders import PARTICIPANT, POLICY, START, alert, at, bucket, counts, failed, observed, poll
from tests.support.stored import HEARTBEAT_SECONDS, Store, connected, reconciled, stored

if TYPE_CHECKING:
    from exporter.buckets.observation import Poll

pytestmark = pytest.mark.postgres

STEP = timedelta(seconds=60)


def answered(seconds: float, left: int, **given: object) -> Poll:
    return poll(bucket(left, capacity=100, **given), seconds=seconds)


def timeline_of(store: Store, **options: float) -> Timeline:
    return Timeline(store.database, HEARTBEAT_SECONDS, **options)


async def steps(dsn: str, polls: list[Poll], count: int = 4, since: float = 0) -> list[Step]:
    async with stored(dsn) as store:
        await store.commit(*polls)
        found = await timeline_of(store).steps(PARTICIPANT, POLICY, at(since), STEP, count)
        await store.compact()
        assert await timeline_of(store).steps(PARTICIPANT, POLICY, at(since), STEP, count) == found, "compacted"
    assert found.with_extremes
    return found.steps


def tokens(found: list[Step]) -> list[int | None]:
    return [step.tokens for step in found]


def extremes(found: list[Step]) -> list[tuple[int | None, int | None]]:
    return [(step.lowest, step.highest) for step in found]


async def test_a_step_has_the_state_that_it_ended_with_and_the_extremes_in_it(database_dsn: str) -> None:
    found = await steps(database_dsn, [answered(0, 50), answered(15, 10), answered(30, 90), answered(60, 80)], 2)

    assert tokens(found) == [90, 80]
    assert extremes(found) == [(10, 90), (80, 90)]


async def test_a_bucket_that_does_not_change_keeps_its_state_while_polls_are_answered(database_dsn: str) -> None:
    found = await steps(database_dsn, [answered(seconds, 40) for seconds in range(0, 240, 15)])

    assert tokens(found) == [40] * 4
    assert extremes(found) == [(40, 40)] * 4


async def test_nobody_answering_is_a_gap_and_nothing_is_joined_over_it(database_dsn: str) -> None:
    polls = [answered(0, 40), *(failed(seconds) for seconds in range(15, 180, 15)), answered(180, 90)]

    found = await steps(database_dsn, polls)

    assert tokens(found) == [40, None, None, 90]
    assert extremes(found)[3] == (90, 90)


async def test_steps_shorter_than_the_interval_of_polls_have_no_gaps(database_dsn: str) -> None:
    polls = [answered(seconds, 40 + seconds) for seconds in (0, 15, 30)]

    async with stored(database_dsn) as store:
        await store.commit(*polls)
        found = (await timeline_of(store).steps(PARTICIPANT, POLICY, START, timedelta(seconds=5), 9)).steps

    assert tokens(found) == [40, 40, 40, 55, 55, 55, 70, 70, 70]


async def test_a_state_from_before_the_first_step_is_known_in_it(database_dsn: str) -> None:
    found = await steps(database_dsn, [answered(seconds, 40) for seconds in range(0, 700, 15)], 2, since=600)

    assert tokens(found) == [40, 40]


async def test_what_lies_ahead_is_not_known(database_dsn: str) -> None:
    found = await steps(database_dsn, [answered(0, 40)])

    assert tokens(found) == [40, None, None, None]


async def test_polls_whose_figures_were_refused_do_not_keep_a_bucket(database_dsn: str) -> None:
    refused = [poll(bucket(policy="OTHER"), seconds=seconds, refused=(POLICY,)) for seconds in range(15, 240, 15)]

    found = await steps(database_dsn, [answered(0, 40), *refused])

    assert tokens(found) == [40, None, None, None]


async def test_consumption_and_refill_are_those_of_a_minute(database_dsn: str) -> None:
    made = observed(bucket(40, capacity=100, refill_tokens=40, refill_period_seconds=86_400), rate=3.5)
    busier = observed(bucket(39, capacity=100, refill_tokens=40, refill_period_seconds=86_400), rate=7.5)
    calmer = observed(bucket(38, capacity=100, refill_tokens=40, refill_period_seconds=86_400), rate=1.5)

    polls = [poll(made), poll(busier, seconds=15), poll(calmer, seconds=30)]
    [step] = await steps(database_dsn, polls, 1)

    assert (step.consumed_per_minute, step.most_consumed) == (1.5, 7.5)
    assert step.refill_per_minute == pytest.approx(40 / 1_440)


async def test_a_count_of_429s_that_rose_shows_the_bucket_empty_in_the_step_in_which_it_rose(database_dsn: str) -> None:
    def counted(seconds: float, refused: int, instance: str = "a") -> Poll:
        answer = bucket(40, capacity=100, response_counts=counts(1_000 + refused, 0, refused, instance))
        return poll(answer, seconds=seconds)

    polls = [counted(0, 5), counted(15, 7), counted(60, 7), counted(75, 7)]
    polls += [counted(120, 90, "b"), counted(135, 90, "b")]

    found = await steps(database_dsn, polls, 3)

    assert extremes(found) == [(0, 40), (40, 40), (40, 40)]


async def test_thirty_days_are_720_steps_however_much_was_written(database_dsn: str) -> None:
    async with stored(database_dsn) as store:
        await store.commit(*(answered(15.0 * number, number % 100) for number in range(400)))
        found = await timeline_of(store).steps(PARTICIPANT, POLICY, START - timedelta(days=29), timedelta(hours=1), 720)

    assert len(found.steps) == 720
    assert extremes([step for step in found.steps if step.tokens is not None])[0] == (0, 99)


async def test_where_extremes_take_too_long_the_ends_are_still_there(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = b"-- \nSELECT 1, 2, 3, pg_sleep(60)::text::float8"
    monkeypatch.setattr(module, "_SQL", dict(module._SQL) | {"extremes": slow})
    async with stored(database_dsn) as store:
        await store.commit(answered(0, 40))
        found = await timeline_of(store, statement_seconds=0.2).steps(PARTICIPANT, POLICY, START, STEP, 1)

    assert (found.with_extremes, tokens(found.steps)) == (False, [40])


async def test_a_statement_that_waits_for_a_lock_ends_in_time(database_dsn: str) -> None:
    async with stored(database_dsn) as store:
        with psycopg.connect(database_dsn) as other:
            other.execute("LOCK TABLE dict_rate_limit_alerts IN ACCESS EXCLUSIVE MODE")

            with pytest.raises(QueryTooSlow, match=r"PostgreSQL took longer than 0\.2s"):
                await timeline_of(store, statement_seconds=0.2).bands(PARTICIPANT, POLICY, START, at(60), 10)


async def test_a_database_that_is_away_is_said(database_dsn: str) -> None:
    async with connected(database_dsn) as database:
        await database.close()

        with pytest.raises(DatabaseUnavailable):
            await Timeline(database, HEARTBEAT_SECONDS).buckets(PARTICIPANT)


async def test_everyone_who_ever_had_a_bucket_is_known(database_dsn: str) -> None:
    async with stored(database_dsn) as store:
        await store.commit(answered(0, 40), poll(bucket(policy="OTHER"), seconds=15))
        record = timeline_of(store)

        assert await record.buckets(PARTICIPANT) == [POLICY, PolicyName("OTHER")]
        assert await record.buckets("99999999") == []
        assert await record.participants() == [PARTICIPANT]


LOW = alert("Low", seconds=0)
CRITICAL = alert("Critical", seconds=60, severity=Severity.CRITICAL)
DOWN = alert("Down", seconds=60, policy=None, severity=Severity.CRITICAL)


async def with_alerts(store: Store, **options: float) -> Timeline:
    """Low fires from 0 to 120 s, Critical from 60 s on, Down from 60 to 180 s."""
    await store.commit(
        reconciled(0, poll=answered(0, 20), after=(LOW,)),
        reconciled(60, poll=answered(60, 5), before=(LOW,), after=(LOW, CRITICAL, DOWN)),
        reconciled(120, poll=answered(120, 8), before=(LOW, CRITICAL, DOWN), after=(CRITICAL, DOWN)),
        reconciled(180, poll=answered(180, 9), before=(CRITICAL, DOWN), after=(CRITICAL,)),
    )
    return timeline_of(store, **options)


async def test_bands_are_the_alerts_about_the_bucket_that_fired_in_the_time(database_dsn: str) -> None:
    async with stored(database_dsn) as store:
        record = await with_alerts(store)
        whole = await record.bands(PARTICIPANT, POLICY, START, at(600), 10)
        late = await record.bands(PARTICIPANT, POLICY, at(130), at(600), 10)
        early = await record.bands(PARTICIPANT, POLICY, START, at(60), 10)

    assert [(band.name, band.severity, band.since, band.until) for band in whole] == [
        ("Critical", "critical", at(60), None),
        ("Low", "warning", at(0), at(120)),
    ]
    assert [band.name for band in late] == ["Critical"]
    assert [band.name for band in early] == ["Low"]


async def test_changes_are_told_with_what_the_bucket_held(database_dsn: str) -> None:
    async with stored(database_dsn) as store:
        record = await with_alerts(store)
        found = await record.changes(PARTICIPANT, POLICY, at(600), 20)
        cut = await record.changes(PARTICIPANT, POLICY, at(600), 1)
        before = await record.changes(PARTICIPANT, POLICY, at(100), 20)

    assert [(c.name, c.state, c.at, c.reason, c.tokens, c.capacity) for c in found] == [
        ("Low", "resolved", at(120), "recovered", 8, 100),
        ("Critical", "firing", at(60), None, 5, 100),
        ("Low", "firing", at(0), None, 20, 100),
    ]
    assert len(cut) == 1
    assert [c.state for c in before] == ["firing", "firing"]


def wanted(**given: object) -> AlertQuery:
    return AlertQuery(**({"since": START, "until": at(600)} | given))  # type: ignore[arg-type]


async def test_past_alerts_have_the_lowest_level_of_their_bucket(database_dsn: str) -> None:
    async with stored(database_dsn) as store:
        found = await (await with_alerts(store)).alerts(wanted(sort="alert"))

    assert [(a.name, a.state, a.reason, a.lowest, a.capacity) for a in found] == [
        ("Critical", "firing", None, 5, 100),
        ("Down", "resolved", Reason.RECOVERED, None, None),
        ("Low", "resolved", Reason.RECOVERED, 5, 100),
    ]
    assert found[2].began_at == START
    assert found[2].summary == "tokens are low"


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({}, ["Critical", "Down", "Low"]),
        ({"participant": "1234"}, ["Critical", "Down", "Low"]),
        ({"participant": "13"}, []),
        ({"policy": POLICY}, ["Critical", "Low"]),
        ({"name": "Low"}, ["Low"]),
        ({"severity": "critical"}, ["Critical", "Down"]),
        ({"state": "firing"}, ["Critical"]),
        ({"since": at(130)}, ["Critical", "Down"]),
        ({"until": at(30)}, ["Low"]),
        ({"limit": 1, "skip": 1}, ["Down"]),
    ],
)
async def test_past_alerts_are_those_asked_for(database_dsn: str, asked: dict[str, object], names: list[str]) -> None:
    async with stored(database_dsn) as store:
        found = await (await with_alerts(store)).alerts(wanted(sort="alert", **asked))

    assert [found_alert.name for found_alert in found] == names


async def test_past_alerts_are_sorted_by_every_column_both_ways(database_dsn: str) -> None:
    firsts = {
        "began": "Low",
        "duration": ("Down", "Low"),
        "severity": "Low",
        "alert": "Critical",
        "participant": None,
        "policy": ("Critical", "Low"),
        "state": "Critical",
        "reason": ("Down", "Low"),
    }
    assert firsts.keys() == ORDERS.keys()
    async with stored(database_dsn) as store:
        record = await with_alerts(store)
        for sort, first in firsts.items():
            up = [a.name for a in await record.alerts(wanted(sort=sort))]
            down = [a.name for a in await record.alerts(wanted(sort=f"-{sort}"))]

            assert sorted(up) == sorted(down) == ["Critical", "Down", "Low"]
            assert first is None or up[0] in first, sort


async def test_lowest_levels_that_take_too_long_are_left_out(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SQL", dict(module._SQL) | {"lowest": b"-- \nSELECT pg_sleep(60)"})
    async with stored(database_dsn) as store:
        found = await (await with_alerts(store, statement_seconds=0.2)).alerts(wanted())

    assert [found_alert.lowest for found_alert in found] == [None] * 3
