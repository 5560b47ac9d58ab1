"""What the database says that Alertmanager is to be told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from exporter.alerts.alert import AlertState
from exporter.store.alerts_to_notify import AlertsToNotify, BucketState, Span, SpanSummary
from tests.support.builders import PARTICIPANT, POLICY, alert, at, bucket, counts, failed, observed, poll, read
from tests.support.stored import Store, pending, reconciled, stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.postgres


@pytest.fixture
async def store(database_dsn: str) -> AsyncIterator[Store]:
    async with stored(database_dsn) as made:
        yield made


@pytest.fixture
def notifications(store: Store) -> AlertsToNotify:
    return AlertsToNotify(store.database)


async def states(notifications: AlertsToNotify, seconds: float = 900) -> dict[str, AlertState]:
    return {found.name: found.state for found in await notifications.alerts(seconds)}


async def test_what_fires_is_told_and_what_is_pending_is_not(store: Store, notifications: AlertsToNotify) -> None:
    await store.commit(reconciled(after=(alert("Fires"), pending(alert("Waits")))))

    (found,) = await notifications.alerts(900)

    assert found == alert("Fires")


async def test_a_resolution_is_told_for_as_long_after_its_commit_however_old_the_poll_was(
    store: Store, notifications: AlertsToNotify, superuser_dsn: str
) -> None:
    # The polls are of months ago: they waited for the database.
    await store.commit(reconciled(after=(alert("Over"),)))
    await store.commit(reconciled(60, before=(alert("Over"),)))

    assert await states(notifications) == {"Over": AlertState.RESOLVED}

    with psycopg.connect(superuser_dsn) as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers: what has ended is not changed
        connection.execute("UPDATE dict_rate_limit_alerts SET closed_at = closed_at - interval '16 minutes'")
    assert await states(notifications) == {}


async def test_of_an_alert_that_resolved_and_fires_again_the_last_instance_is_told(
    store: Store, notifications: AlertsToNotify
) -> None:
    await store.commit(reconciled(after=(alert("Again"),)))
    await store.commit(reconciled(60, before=(alert("Again"),)))
    await store.commit(reconciled(75, after=(pending(alert("Again", seconds=75)),)))
    assert await states(notifications) == {"Again": AlertState.RESOLVED}

    await store.commit(
        reconciled(90, before=(pending(alert("Again", seconds=75)),), after=(alert("Again", seconds=75),))
    )

    (found,) = await notifications.alerts(900)
    assert (found.state, found.active_since) == (AlertState.FIRING, at(75))


async def test_a_level_is_that_of_the_last_state_as_of_the_poll_that_confirmed_it(
    store: Store, notifications: AlertsToNotify
) -> None:
    made = bucket(6, capacity=70, refill_tokens=70)
    await store.commit(poll(observed(made, empty=33.0)))
    await store.commit(poll(observed(made, empty=33.0), seconds=15))  # nothing changed, and nothing is written

    levels = await notifications.levels([(PARTICIPANT, POLICY), (PARTICIPANT, "OTHER"), ("99999999", POLICY)])

    assert levels == {
        (PARTICIPANT, POLICY): BucketState(
            answered=True,
            refused=False,
            available_tokens=6,
            capacity=70,
            utilization_percent=pytest.approx(100 * 64 / 70),
            recovery_eta_seconds=pytest.approx(64 * 60 / 70),
            exhaustion_projection_seconds=33.0,
            confirmed_at=at(15),
        ),
        (PARTICIPANT, "OTHER"): BucketState(answered=True, refused=False),
    }


async def test_a_poll_that_failed_is_told(store: Store, notifications: AlertsToNotify) -> None:
    await store.commit(poll(bucket(6)))
    await store.commit(failed(15))

    (level,) = (await notifications.levels([(PARTICIPANT, POLICY)])).values()

    assert (level.answered, level.confirmed_at) == (False, at(0))


async def test_an_answer_that_has_been_the_same_for_the_staleness_is_none(
    store: Store, notifications: AlertsToNotify
) -> None:
    old = poll(bucket(6)).result
    await store.commit(poll(bucket(6)))
    await store.commit(poll(result=old, seconds=285))
    assert (await notifications.levels([(PARTICIPANT, POLICY)]))[PARTICIPANT, POLICY].answered

    await store.commit(poll(result=old, seconds=300))

    assert not (await notifications.levels([(PARTICIPANT, POLICY)]))[PARTICIPANT, POLICY].answered


async def test_figures_that_were_refused_are_told(store: Store, notifications: AlertsToNotify) -> None:
    await store.commit(poll(bucket(6), bucket(7, policy="OTHER")))
    await store.commit(poll(bucket(8, policy="OTHER"), seconds=15, refused=(POLICY,)))

    levels = await notifications.levels([(PARTICIPANT, POLICY), (PARTICIPANT, "OTHER")])

    assert {policy: level.refused for (_, policy), level in levels.items()} == {POLICY: True, "OTHER": False}
    assert levels[PARTICIPANT, POLICY].confirmed_at == at(0)


async def test_the_lowest_level_is_that_between_two_polls_and_of_the_state_that_the_first_found(
    store: Store, notifications: AlertsToNotify
) -> None:
    for seconds, tokens in ((0, 1), (15, 9), (60, 5), (75, 4), (90, 20), (105, 3)):
        await store.commit(poll(bucket(tokens), seconds=seconds))

    found = await notifications.summaries(
        [
            span(30, 45),
            span(30, 90),
            span(30, None),
            span(90, 100),
            span(-60, -30),
            Span(PARTICIPANT, "OTHER", at(0), None),
        ]
    )

    assert [found_in and (found_in.lowest_tokens, found_in.last_polled_at) for found_in in found] == [
        (9, at(15)),
        (4, at(90)),
        (3, at(105)),
        (20, at(90)),
        None,
        None,
    ]


async def test_a_level_that_only_a_count_of_429s_proves_is_the_lowest(
    store: Store, notifications: AlertsToNotify
) -> None:
    await store.commit(poll(bucket(50)))
    await store.commit(poll(replace(observed(bucket(60)), lowest_available_tokens=0), seconds=15))
    await store.commit(poll(replace(observed(bucket(70)), lowest_available_tokens=0), seconds=30))

    during, later = await notifications.summaries([span(0, 15), span(30, None)])

    assert during == SpanSummary(lowest_tokens=0, refused_calls=None, last_polled_at=at(15))
    assert later is not None
    assert later.lowest_tokens == 70


async def test_calls_that_were_refused_are_counted_from_the_state_that_the_span_began_with(
    store: Store, notifications: AlertsToNotify
) -> None:
    for seconds, refused in ((0, 5), (15, 7), (30, 7), (45, 19)):
        await store.commit(poll(bucket(9, response_counts=counts(1_000 + refused, 0, refused)), seconds=seconds))

    summaries = await notifications.summaries([span(0, None), span(20, 45), span(45, None)])

    assert [summary and summary.refused_calls for summary in summaries] == [14, 12, None]


async def test_counts_of_two_instances_are_not_compared_nor_those_of_before_a_restart(
    store: Store, notifications: AlertsToNotify
) -> None:
    for seconds, refused, instance in ((0, 5, "a"), (15, 90, "b"), (30, 93, "b"), (45, 1, "b"), (60, 2, "b")):
        counted = counts(1_000 + seconds, 0, refused, instance)
        await store.commit(poll(bucket(9, response_counts=counted), seconds=seconds))

    (summary,) = await notifications.summaries([span(0, None)])

    assert summary is not None
    assert summary.refused_calls == 4


def span(since: float, until: float | None) -> Span:
    return Span(PARTICIPANT, POLICY, at(since), None if until is None else at(until))


async def test_a_read_of_one_bucket_says_nothing_of_the_others(store: Store, notifications: AlertsToNotify) -> None:
    old = poll(bucket(6), bucket(7, policy="OTHER"), refused=("GONE",))
    await store.commit(old)
    await store.commit(read(bucket(5), seconds=7, sequence=2))

    levels = await notifications.levels([(PARTICIPANT, POLICY), (PARTICIPANT, "OTHER"), (PARTICIPANT, "GONE")])

    assert {policy: (level.available_tokens, level.confirmed_at) for (_, policy), level in levels.items()} == {
        POLICY: (5, at(7)),
        "OTHER": (7, at(0)),
        "GONE": (None, None),
    }
    assert [(level.answered, level.refused) for level in levels.values()] == [
        (True, False),
        (True, False),
        (True, True),
    ]
