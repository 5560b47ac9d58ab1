"""What a batch of reconciled polls leaves in the database."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from exporter.alerts.alert import AlertState, Reason, Severity
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.errors import DatabaseUnavailable, LeaseLost, ReconciliationRefused, SchemaMismatch, StoreError
from exporter.store.lease import Fence
from exporter.store.reader import AlertFilter
from tests.support.builders import PARTICIPANT, POLICY, alert, at, bucket, counts, failed, observed, poll, read
from tests.support.stored import HEARTBEAT_SECONDS, Store, pending, reconciled, resolved, stored, until_available

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import OutagePostgres

pytestmark = pytest.mark.postgres

OTHER = Ispb("87654321")


@pytest.fixture
async def store(database_dsn: str) -> AsyncIterator[Store]:
    async with stored(database_dsn) as made:
        yield made


async def written(store: Store) -> list[tuple[float, str]]:
    """Returns (seconds, policy) of every state."""
    rows = await store.rows("SELECT polled_at, policy FROM dict_rate_limit_states ORDER BY polled_at, policy")
    return [((when - at(0)).total_seconds(), policy) for when, policy in rows]


async def states_of(store: Store, table: str = "alerts") -> list[str]:
    order = "id" if table == "alerts" else "changed_at, state"
    return [state for (state,) in await store.rows(f"SELECT state FROM dict_rate_limit_{table} ORDER BY {order}")]


# States


async def test_a_state_is_written_when_anything_in_it_changed(store: Store) -> None:
    same = bucket(100)

    await store.commit(
        poll(same, seconds=0),
        poll(same, seconds=15),
        poll(bucket(99), seconds=30),
        poll(bucket(99, capacity=30_000), seconds=45),
        poll(bucket(99, capacity=30_000, refill_tokens=7), seconds=60),
        poll(bucket(99, capacity=30_000, refill_tokens=7, response_counts=counts(5, 1)), seconds=75),
        poll(observed(bucket(99), rate=1.0), seconds=90),
        poll(observed(bucket(99), rate=1.0, empty=math.inf), seconds=105),
        poll(observed(bucket(99), rate=1.0, empty=math.inf, share=0.5), seconds=120),
        poll(observed(bucket(99), rate=1.0, empty=math.inf, share=0.5), seconds=135),
    )

    assert [seconds for seconds, _ in await written(store)] == [0, 30, 45, 60, 75, 90, 105, 120]


async def test_an_idle_bucket_is_written_again_at_the_heartbeat(store: Store) -> None:
    for seconds in range(0, 2 * int(HEARTBEAT_SECONDS) + 1, 300):
        await store.commit(poll(bucket(100), seconds=seconds))

    assert [seconds for seconds, _ in await written(store)] == [0, 900, 1800]


async def test_a_change_of_category_writes_every_bucket(store: Store) -> None:
    both = (bucket(1, policy="A"), bucket(2, policy="B"))

    await store.commit(poll(*both, seconds=0), poll(*both, seconds=15), poll(*both, seconds=30, category="C"))

    assert await written(store) == [(0, "A"), (0, "B"), (30, "A"), (30, "B")]
    assert await store.value("SELECT count(*) FROM dict_rate_limit_states WHERE category = 'C'") == 2


async def test_a_new_stream_and_a_new_writer_begin_with_every_bucket(store: Store) -> None:
    await store.commit(poll(seconds=0), poll(seconds=15, stream_id="another", sequence=1))
    store.restart()
    await store.commit(poll(seconds=30, stream_id="another", sequence=2))

    assert [seconds for seconds, _ in await written(store)] == [0, 15, 30]


async def test_derived_columns_are_those_of_the_gauges(store: Store) -> None:
    made = bucket(9_000)

    await store.commit(poll(made))

    found = await store.rows("SELECT utilization_percent, recovery_eta_seconds FROM dict_rate_limit_states")
    assert found == [(made.utilization_percent, made.recovery_eta_seconds)]


async def test_a_read_that_changed_nothing_leaves_no_row(store: Store) -> None:
    await store.commit(poll(bucket(5)))
    before = await store.everything()

    await store.commit(read(bucket(5), seconds=7, sequence=2))

    assert await store.everything() == before


@pytest.mark.parametrize("changed", [bucket(4), bucket(5, capacity=70), bucket(5, response_counts=counts())])
async def test_a_read_that_changed_its_bucket_leaves_that_and_a_reconciliation(store: Store, changed) -> None:
    await store.commit(poll(bucket(5), bucket(6, policy="OTHER")))

    await store.commit(read(changed, seconds=7, sequence=2))

    assert await written(store) == [(0, POLICY), (0, "OTHER"), (7, POLICY)]
    rows = await store.rows("SELECT is_read, policies FROM dict_rate_limit_reconciliations ORDER BY polled_at")
    assert rows == [(False, [POLICY, "OTHER"]), (True, [POLICY])]
    gone = await store.value("SELECT count(*) FROM dict_rate_limit_policies WHERE gone_at IS NOT NULL")
    assert gone == 0


async def test_a_read_at_which_rules_made_a_difference_leaves_that_and_a_reconciliation(store: Store) -> None:
    waiting = pending(alert())
    steps = [((), (waiting,)), ((waiting,), (alert(),)), ((alert(),), ())]
    await store.commit(poll(bucket(5)))

    for n, (before, after) in enumerate(steps, 1):
        made = read(bucket(5), seconds=n, sequence=n + 1)
        await store.commit(reconciled(n, poll=made, before=before, after=after))

    assert await store.value("SELECT count(*) FROM dict_rate_limit_reconciliations WHERE is_read") == 3
    assert await store.value("SELECT count(*) FROM dict_rate_limit_alert_transitions") == 3
    assert await store.value("SELECT count(*) FROM dict_rate_limit_outbox") == 2
    assert len(await written(store)) == 1


async def test_a_failed_poll_leaves_a_reconciliation_and_no_state(store: Store) -> None:
    await store.commit(failed(0, code="DEADLINE_EXCEEDED"))

    assert await written(store) == []
    found = await store.rows("SELECT answered, failure_code, complete FROM dict_rate_limit_reconciliations")
    assert found == [(False, "DEADLINE_EXCEEDED", False)]


# Policies


async def test_policies_that_come_go_and_change_are_recorded(store: Store) -> None:
    a, b = bucket(1, policy="A"), bucket(1, policy="B")

    await store.commit(poll(a, seconds=0))
    await store.commit(poll(a, b, seconds=15))
    await store.commit(poll(bucket(1, policy="A", capacity=5), seconds=30))

    found = await store.rows(
        "SELECT policy, capacity, first_seen_at, changed_at, gone_at FROM dict_rate_limit_policies ORDER BY policy"
    )
    assert found == [("A", 5, at(0), at(30), None), ("B", 36_000, at(15), at(30), at(30))]
    found = await store.rows(
        "SELECT policies, policies_came, policies_gone FROM dict_rate_limit_reconciliations ORDER BY polled_at"
    )
    assert found == [(["A"], ["A"], None), (["A", "B"], ["B"], None), (["A"], None, ["B"])]


async def test_a_policy_with_impossible_figures_is_refused_and_not_gone(store: Store) -> None:
    a, b = bucket(1, policy="A"), bucket(1, policy="B")

    await store.commit(poll(a, b, seconds=0), poll(a, seconds=15, refused=(PolicyName("B"),)))

    assert await store.value("SELECT count(*) FROM dict_rate_limit_policies WHERE gone_at IS NULL") == 2
    found = await store.rows(
        "SELECT policies_refused, policies_gone FROM dict_rate_limit_reconciliations WHERE polled_at = %(at)s",
        at=at(15),
    )
    assert found == [(["B"], None)]


async def test_a_policy_that_comes_back_is_there_again(store: Store) -> None:
    a, b = bucket(1, policy="A"), bucket(1, policy="B")
    await store.commit(poll(a, b, seconds=0), poll(a, seconds=15))
    store.restart()

    await store.commit(poll(a, b, seconds=30))

    assert await store.rows("SELECT first_seen_at, gone_at FROM dict_rate_limit_policies WHERE policy = 'B'") == [
        (at(0), None)
    ]


# All or nothing, once


async def test_doing_it_twice_changes_nothing(store: Store) -> None:
    firing = alert(seconds=15)
    batch = [
        reconciled(0),
        reconciled(15, after=(firing,)),
        reconciled(30, before=(firing,)),
        reconciled(30, participant=OTHER, poll=failed(30, participant=OTHER)),
    ]
    await store.commit(*batch)
    before = await store.everything()

    await store.commit(*batch)
    store.restart()
    await store.commit(*batch)

    assert await store.everything() == before
    assert len(before["outbox"]) == 2


async def test_what_follows_a_repeated_batch_reads_back_exactly(store: Store) -> None:
    first = [poll(bucket(10), bucket(10, policy="B"), seconds=0), poll(bucket(9), bucket(10, policy="B"), seconds=15)]
    await store.commit(*first)
    store.restart()

    later = poll(bucket(9), bucket(8, policy="B"), seconds=30)
    await store.commit(*first, later)

    assert [found async for found in store.reader.polls(PARTICIPANT)] == [*first, later]


async def test_a_poll_that_the_database_refuses_leaves_nothing_and_the_others_stay(store: Store) -> None:
    bad = reconciled(0, participant=OTHER, after=(alert(participant=OTHER, annotations={"summary": "\0"}),))
    good = reconciled(0, after=(alert(),))

    refused = await store.commit(good, bad)

    assert [r for r, _ in refused] == [bad]
    assert f"participant {OTHER}, poll 1 of {at(0).isoformat()}" in str(refused[0][1])
    for table in ("states", "reconciliations", "alerts", "policies", "outbox"):
        assert await store.value(f"SELECT count(*) FROM dict_rate_limit_{table}") == 1


async def test_polls_after_a_refused_one_are_kept_as_history_without_their_alerts(store: Store) -> None:
    bad = alert(seconds=0, annotations={"summary": "\0"})
    fixed = replace(bad, annotations={})

    refused = await store.commit(
        reconciled(0, after=(bad,)), reconciled(15, before=(bad,), after=(fixed,)), reconciled(30, before=(fixed,))
    )

    assert len(refused) == 3
    assert await store.rows("SELECT polled_at, evaluated FROM dict_rate_limit_reconciliations ORDER BY 1") == [
        (at(15), False),
        (at(30), False),
    ]
    assert await store.value("SELECT count(*) FROM dict_rate_limit_alerts") == 0
    assert await store.value("SELECT count(*) FROM dict_rate_limit_outbox") == 0


@pytest.mark.parametrize("text", ["\0", "\ud800"])
async def test_text_that_postgresql_cannot_hold_is_refused_by_name(store: Store, text: str) -> None:
    ((_, error),) = await store.commit(poll(bucket(1, policy=f"P{text}")))

    assert isinstance(error, ReconciliationRefused)
    assert PARTICIPANT in str(error)


async def test_a_figure_beyond_64_bits_is_refused(store: Store) -> None:
    refused = await store.commit(poll(bucket(1, capacity=2**63)))

    assert len(refused) == 1
    assert await store.value("SELECT count(*) FROM dict_rate_limit_reconciliations") == 0


async def test_text_with_quotes_commas_and_braces_arrives_as_it_was(store: Store) -> None:
    odd = 'a"b\\c{d},e NULL \n\t ünïcode 🪣'

    await store.commit(reconciled(0, poll=poll(bucket(1, policy=odd)), after=(alert(annotations={"summary": odd}),)))

    assert await store.value("SELECT policy FROM dict_rate_limit_states") == odd
    assert await store.value("SELECT policies[1] FROM dict_rate_limit_reconciliations") == odd
    assert await store.value("SELECT annotations ->> 'summary' FROM dict_rate_limit_alerts") == odd


async def test_a_commit_that_loses_its_connection_leaves_nothing(store: Store, superuser_dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(superuser_dsn, autocommit=True) as admin:
        async with admin.transaction():
            await admin.execute("LOCK TABLE dict_rate_limit_reconciliation_rows IN ACCESS EXCLUSIVE MODE")
            committing = asyncio.create_task(store.commit(reconciled(0, after=(alert(),))))
            waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            found: list[tuple[int]] = []
            while not found:
                assert not committing.done()
                found = await (await admin.execute(waiting)).fetchall()
            await admin.execute("SELECT pg_terminate_backend(%s)", found[0])
        with pytest.raises(DatabaseUnavailable):
            await committing

    assert not any((await store.everything()).values())


async def test_a_lock_held_by_another_is_not_waited_for_long(store: Store, superuser_dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(superuser_dsn) as admin:
        await admin.execute("LOCK TABLE dict_rate_limit_reconciliation_rows IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseUnavailable, match="lock timeout"):
            await store.commit(poll())
        await admin.rollback()

    await store.commit(poll())
    assert len(await written(store)) == 1


async def test_a_server_that_vanishes_is_noticed_and_the_next_commit_goes_well(outage_postgres: OutagePostgres) -> None:
    async with stored(outage_postgres.database_dsn) as store:
        await store.commit(poll(seconds=0))
        outage_postgres.stop()
        with pytest.raises(DatabaseUnavailable):
            await store.commit(poll(seconds=15))
        outage_postgres.start()

        await until_available(lambda: store.commit(poll(seconds=15)))
        # What the lost commit left is not known: every bucket is written again.
        assert [seconds for seconds, _ in await written(store)] == [0, 15]


async def test_a_frozen_server_is_given_up_and_the_process_goes_on(outage_postgres: OutagePostgres) -> None:
    async with stored(outage_postgres.database_dsn) as store:
        await store.commit(poll(seconds=0))
        outage_postgres.freeze()
        try:
            with pytest.raises(DatabaseUnavailable, match="within 1s"):
                async with store.database.transaction(patience_seconds=1) as connection:
                    await connection.execute("SELECT 1")
        finally:
            outage_postgres.thaw()

        await store.commit(poll(seconds=15))
        assert len(await written(store)) == 1
        assert await store.value("SELECT count(*) FROM dict_rate_limit_reconciliations") == 2


async def test_a_commit_under_a_lost_lease_leaves_nothing(store: Store) -> None:
    store.fence = Fence(store.database, holder="first", epoch=store.fence.epoch - 1, commits={}, at=store.fence.now())

    with pytest.raises(LeaseLost):
        await store.commit(reconciled(0, after=(alert(),)))

    assert not any((await store.everything()).values())


async def test_a_schema_that_is_missing_is_named(store: Store, migrator_dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(migrator_dsn, autocommit=True) as owner:
        await owner.execute("DROP TABLE dict_rate_limit_outbox")

    with pytest.raises(SchemaMismatch, match="migrate up"):
        await store.commit(reconciled(0, after=(alert(),)))


async def test_a_user_without_rights_is_told_where_they_are(reader_dsn: str, database_dsn: str) -> None:
    async with stored(database_dsn):
        pass
    with pytest.raises(StoreError, match=r"grants\.sql"):
        async with stored(reader_dsn):
            pass


# Alerts


async def test_an_alert_goes_from_pending_through_firing_to_resolved_with_its_audit(store: Store) -> None:
    firing = replace(alert(seconds=0), firing_since=at(30), value=91.5)
    waits = pending(firing)

    await store.commit(reconciled(0, after=(waits,)))
    await store.commit(reconciled(30, before=(waits,), after=(firing,)))
    await store.commit(reconciled(60, before=(firing,)))

    assert await states_of(store) == ["resolved"]
    assert await store.rows(
        "SELECT state, changed_at, reason, value, psp_category, observed_at, available_tokens, capacity "
        "FROM dict_rate_limit_alert_transitions ORDER BY changed_at"
    ) == [
        ("pending", at(0), None, 91.5, None, None, None, None),
        ("firing", at(30), None, 91.5, "A", at(30), 36_000, 36_000),
        ("resolved", at(60), "recovered", 91.5, "A", at(60), 36_000, 36_000),
    ]
    assert await store.rows("SELECT type, event_time, subject FROM dict_rate_limit_outbox ORDER BY id") == [
        ("dict.rate_limit.alert.firing", at(30), f"{PARTICIPANT}/{POLICY}/TokensLow"),
        ("dict.rate_limit.alert.resolved", at(60), f"{PARTICIPANT}/{POLICY}/TokensLow"),
    ]


async def test_a_pending_alert_that_ends_leaves_no_trace(store: Store) -> None:
    waits = pending(alert())

    await store.commit(reconciled(0, after=(waits,)))
    await store.commit(reconciled(15, before=(waits,)))

    assert await states_of(store) == []
    assert await states_of(store, "alert_transitions") == []
    assert await store.value("SELECT count(*) FROM dict_rate_limit_outbox") == 0


async def test_an_alert_may_live_and_die_many_times_in_one_batch(store: Store) -> None:
    first, second = pending(alert(seconds=0)), alert(seconds=45)
    third = pending(alert(seconds=75))

    await store.commit(
        reconciled(0, after=(first,)),
        reconciled(15, before=(first,)),
        reconciled(30),
        reconciled(45, after=(second,)),
        reconciled(60, before=(second,)),
        reconciled(75, after=(third,)),
    )

    assert await states_of(store) == ["resolved", "pending"]
    assert await states_of(store, "alert_transitions") == ["firing", "resolved", "pending"]


async def test_an_alert_that_is_replaced_at_one_poll_resolves_before_the_next_begins(store: Store) -> None:
    first, second = alert(seconds=0), alert(seconds=15)

    await store.commit(reconciled(0, after=(first,)))
    await store.commit(reconciled(15, before=(first,), after=(second,)))

    assert await states_of(store) == ["resolved", "firing"]
    assert await store.value("SELECT count(*) FROM dict_rate_limit_outbox") == 3


async def test_a_held_alert_is_updated_in_place(store: Store) -> None:
    firing = alert(seconds=0)
    held = replace(firing, keep_firing_since=at(15), value=math.nan)

    await store.commit(reconciled(0, after=(firing,)))
    await store.commit(reconciled(15, before=(firing,), after=(held,)))

    (restored,) = (await store.writer.restore()).alerts[PARTICIPANT].values()
    assert math.isnan(restored.value)
    assert replace(restored, value=0) == replace(held, value=0)
    assert await store.value("SELECT count(*) FROM dict_rate_limit_alerts") == 1


async def test_the_database_holds_at_most_one_open_alert_per_fingerprint(store: Store, database_dsn: str) -> None:
    await store.commit(reconciled(0, after=(alert(),)))

    refused = await store.commit(reconciled(15, after=(alert(seconds=15),)))

    assert "dict_rate_limit_alerts_open" in str(refused[0][1])
    assert await store.value("SELECT count(*) FROM dict_rate_limit_alerts") == 1


async def test_an_alert_that_fired_cannot_be_deleted(store: Store) -> None:
    await store.commit(reconciled(0, after=(alert(),)))

    with pytest.raises(ReconciliationRefused, match="kept for good"):
        await store.rows("DELETE FROM dict_rate_limit_alerts RETURNING 1")


async def test_a_resolved_alert_is_never_opened_again(store: Store) -> None:
    firing = alert()
    await store.commit(reconciled(0, after=(firing,)), reconciled(15, before=(firing,)))

    await store.commit(reconciled(30, before=(), after=(replace(firing, value=99.0),)))

    assert await states_of(store) == ["resolved"]


async def test_what_begins_again_knows_every_open_alert_and_last_poll(store: Store) -> None:
    open_ones = (alert(), pending(alert("Exhausting", severity=Severity.CRITICAL)), alert("Silent", policy=None))
    gone = alert("Gone")
    await store.commit(reconciled(0, after=(*open_ones, gone)))
    await store.commit(reconciled(15, before=(*open_ones, gone), after=open_ones))
    lost = replace(failed(30, code="FEED_LOST"), sequence=0)
    await store.commit(lost, reconciled(15, participant=OTHER, poll=poll(seconds=15, participant=OTHER)))
    store.restart()

    restored = await store.writer.restore()

    assert set(restored.alerts) == {PARTICIPANT}
    assert restored.alerts[PARTICIPANT] == {a.fingerprint: a for a in open_ones}
    assert restored.last_polls[PARTICIPANT].polled_at == at(30)
    assert (restored.last_polls[PARTICIPANT].stream_id, restored.last_polls[PARTICIPANT].sequence) == ("stream", 2)
    assert restored.last_polls[OTHER].polled_at == at(15)


async def test_what_begins_again_knows_the_last_poll_of_the_stream_that_was_stale(store: Store) -> None:
    await store.commit(*(reconciled(s, poll=poll(seconds=s, sequence=9, stream_id="before")) for s in (0, 15)))
    await store.commit(*(reconciled(s, poll=poll(seconds=s, staleness_seconds=30.0)) for s in (30, 45, 60, 75)))
    await store.commit(reconciled(30, participant=OTHER, poll=poll(seconds=30, participant=OTHER)))

    restored = await store.writer.restore()

    assert (restored.last_polls[PARTICIPANT].sequence, restored.last_polls[PARTICIPANT].stale_sequence) == (6, 4)
    assert restored.last_polls[OTHER].stale_sequence == 0


async def test_reasons_and_severities_are_those_of_the_program(store: Store) -> None:
    for place, (reason, severity) in enumerate(zip(Reason, [*Severity, *Severity], strict=False)):
        firing = alert(f"A{place}", severity=severity)
        gone = resolved(firing, 15, reason)
        batch = reconciled(0, after=(firing,)), reconciled(15 * (place + 1), before=(firing,))
        transition = replace(batch[1].transitions[0], alert=gone)
        assert await store.commit(batch[0], replace(batch[1], transitions=(transition,))) == []

    found = await store.rows("SELECT DISTINCT reason FROM dict_rate_limit_alerts")
    assert {reason for (reason,) in found} == {str(reason) for reason in Reason}


async def test_the_outbox_keeps_the_order_of_transitions(store: Store) -> None:
    alerts = tuple(alert(f"A{n}") for n in range(10))

    await store.commit(reconciled(0, after=alerts), reconciled(15, before=alerts))

    found = await store.rows("SELECT body ->> 'alertname', body ->> 'state' FROM dict_rate_limit_outbox ORDER BY id")
    assert found == [(f"A{n}", "firing") for n in range(10)] + [(f"A{n}", "resolved") for n in range(10)]


async def test_open_alerts_are_shown_with_their_buckets(store: Store) -> None:
    await store.commit(reconciled(0, poll=poll(bucket(36)), after=(alert(), alert("B", severity=Severity.CRITICAL))))

    found = await store.rows("SELECT alertname, severity, available_tokens FROM v_dict_rate_limit_active_alerts")

    assert found == [("B", "critical", 36), ("TokensLow", "warning", 36)]


async def test_reader_tells_open_alerts_and_history(store: Store) -> None:
    old, new = alert("Old"), alert("New", seconds=60)
    await store.commit(reconciled(0, after=(old,)), reconciled(30, before=(old,)), reconciled(60, after=(new,)))

    assert [a.name for a in await store.reader.alerts(AlertFilter())] == ["New"]
    assert [a.name for a in await store.reader.alerts(AlertFilter(include_resolved=True))] == ["New", "Old"]
    assert [a.name for a in await store.reader.alerts(AlertFilter(include_resolved=True, since=at(31)))] == ["New"]
    assert [a.name for a in await store.reader.alerts(AlertFilter(include_resolved=True, limit=1))] == ["New"]
    assert await store.reader.alerts(AlertFilter(participant=OTHER)) == []
    (resolved_one,) = [a for a in await store.reader.alerts(AlertFilter(include_resolved=True)) if a.name == "Old"]
    assert (resolved_one.state, resolved_one.reason) == (AlertState.RESOLVED, Reason.RECOVERED)


async def test_reader_counts_the_outbox(store: Store) -> None:
    assert (await store.reader.outbox_stats()).pending == 0
    await store.commit(reconciled(0, after=(alert(), alert("B"))))
    await store.rows("UPDATE dict_rate_limit_outbox SET state = 'dead' WHERE id = 1 RETURNING 1")

    stats = await store.reader.outbox_stats()

    assert (stats.pending, stats.dead) == (1, 1)
    assert 0 <= stats.oldest_age_seconds < 60
