"""What alerts did is kept, and it shows where somebody changed it all the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors as pg

from exporter.store.audit import FIRST, Verified, verify
from tests.support.builders import alert, at
from tests.support.commands import commands
from tests.support.stored import connected, pending, reconciled, stored

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.postgres

LOW = alert("TokensLow")
EMPTY = alert("BucketEmpty", active_since=at(0), firing_since=at(15), value=0.0)


@pytest.fixture
async def recorded(database_dsn) -> str:
    """A database in which two alerts began to fire, one of which was pending first, and one resolved: three links."""
    waiting = pending(EMPTY)
    async with stored(database_dsn) as store:
        await store.commit(reconciled(0, after=(LOW, waiting)))
        await store.commit(reconciled(15, before=(LOW, waiting), after=(LOW, EMPTY)))
        await store.commit(reconciled(30, before=(LOW, EMPTY), after=(EMPTY,)))
    return database_dsn


async def verified(dsn: str, head: bytes | None = None) -> Verified:
    async with connected(dsn) as database:
        return await verify(database, head)


def as_superuser(dsn: str, *statements: str) -> None:
    """With the triggers switched off."""
    with psycopg.connect(dsn, options="-c session_replication_role=replica") as connection:
        for statement in statements:
            connection.execute(statement)


async def test_a_record_that_nobody_touched_is_proven(recorded: str) -> None:
    found = await verified(recorded)

    assert (found.transitions, found.defects) == (3, [])
    assert (found.first_at, found.last_at) == (at(0), at(30))
    assert found.head != FIRST
    assert (await verified(recorded, found.head)).defects == []


async def test_an_empty_record_is_proven(database_dsn: str) -> None:
    assert await verified(database_dsn) == Verified(seen=True)


async def test_a_poll_that_is_committed_again_adds_nothing(recorded: str) -> None:
    before = await verified(recorded)

    async with stored(recorded) as store:
        await store.commit(reconciled(0, after=(LOW,)))

    assert await verified(recorded) == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE dict_rate_limit_alert_transitions SET value = 1 WHERE number = 2", ["transition 2 ", "was changed"]),
        ("UPDATE dict_rate_limit_alert_transitions SET reason = 'no_data' WHERE number = 3", ["transition 3 "]),
        ("UPDATE dict_rate_limit_alert_transitions SET available_tokens = 9 WHERE number = 1", ["transition 1 "]),
        ("DELETE FROM dict_rate_limit_alert_transitions WHERE number = 2", ["transition 2: taken out"]),
        ("DELETE FROM dict_rate_limit_alert_transitions WHERE number IN (1, 2)", ["transition 1 to 2: taken out"]),
        ("DELETE FROM dict_rate_limit_alert_transitions WHERE number = 3", ["at transition 2, and 3 were recorded"]),
        ("DELETE FROM dict_rate_limit_alert_transitions", ["ends at transition 0, and 3 were recorded"]),
        ("""UPDATE dict_rate_limit_alerts SET labels = labels || '{"policy": "OTHER"}'""", ["labels of its alert"]),
        ("UPDATE dict_rate_limit_alerts SET firing_since = firing_since + interval '1 s' WHERE state = 'firing'",
         ["its alert says another time"]),
        ("UPDATE dict_rate_limit_alerts SET reason = 'no_data' WHERE state = 'resolved'", ["its alert says another"]),
        ("UPDATE dict_rate_limit_alerts SET state = 'resolved', resolved_at = now(), reason = 'recovered'",
         ["no transition records that it was resolved"]),
        ("UPDATE dict_rate_limit_audit_head SET hash = decode(repeat('00', 32), 'hex')", ["the chain ends at"]),
    ],
)  # fmt: skip
async def test_what_was_changed_behind_the_triggers_shows(
    recorded, superuser_dsn, change: str, told: list[str]
) -> None:
    as_superuser(superuser_dsn, change)

    defects = (await verified(recorded)).defects

    assert any(all(part in defect for part in told) for defect in defects), defects


async def test_a_whole_chain_that_was_forged_is_not_the_one_whose_head_was_kept(recorded, superuser_dsn) -> None:
    kept = (await verified(recorded)).head
    as_superuser(
        superuser_dsn,
        "UPDATE dict_rate_limit_alert_transitions SET value = 1 WHERE number = 3",
        "UPDATE dict_rate_limit_alert_transitions AS t SET hash = dict_rate_limit_transition_hash(t) WHERE number = 3",
        "UPDATE dict_rate_limit_audit_head SET hash = (SELECT hash FROM dict_rate_limit_alert_transitions"
        " WHERE number = 3)",
    )

    assert (await verified(recorded)).defects == []
    (defect,) = (await verified(recorded, kept)).defects
    assert "no transition has the given hash" in defect


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE dict_rate_limit_alert_transitions SET value = 1",
        "DELETE FROM dict_rate_limit_alert_transitions WHERE state = 'firing'",
        "TRUNCATE dict_rate_limit_alert_transitions",
        "TRUNCATE dict_rate_limit_alerts CASCADE",
        "DELETE FROM dict_rate_limit_alerts",
        "UPDATE dict_rate_limit_alerts SET annotations = '{}' WHERE state = 'resolved'",
        "UPDATE dict_rate_limit_alerts SET state = 'firing', resolved_at = NULL, reason = NULL",
        "UPDATE dict_rate_limit_alerts SET firing_since = now() WHERE state = 'firing'",
        "UPDATE dict_rate_limit_alerts SET labels = '{}' WHERE state = 'firing'",
        "UPDATE dict_rate_limit_alerts SET active_since = active_since - interval '1 day' WHERE state = 'firing'",
        "UPDATE dict_rate_limit_audit_head SET number = 0",
        "DELETE FROM dict_rate_limit_audit_head",
        "TRUNCATE dict_rate_limit_audit_head",
        "DELETE FROM dict_rate_limit_outbox WHERE state = 'pending'",
        "TRUNCATE dict_rate_limit_outbox",
    ],
)
async def test_what_has_happened_stays_even_for_the_owner(recorded, owner_dsn, statement: str) -> None:
    with psycopg.connect(owner_dsn) as connection, pytest.raises(pg.RestrictViolation):
        connection.execute(statement)

    assert (await verified(recorded)).defects == []


async def test_an_owner_may_switch_triggers_off_and_then_it_shows(recorded, owner_dsn) -> None:
    with psycopg.connect(owner_dsn) as connection:
        connection.execute("ALTER TABLE dict_rate_limit_alert_transitions DISABLE TRIGGER USER")
        connection.execute("DELETE FROM dict_rate_limit_alert_transitions WHERE number = 2")
        connection.execute("ALTER TABLE dict_rate_limit_alert_transitions ENABLE TRIGGER USER")

    assert "transition 2: taken out" in (await verified(recorded)).defects


@pytest.fixture
def command(monkeypatch, capsys) -> Iterator:
    with commands(monkeypatch, capsys) as run:
        yield run


async def test_the_command_prints_the_head_and_names_what_is_wrong(command, recorded, superuser_dsn) -> None:
    code, out, err = await asyncio.to_thread(command, "audit", "verify", DATABASE__DSN=recorded)
    head = out.split()[-1]
    with_head, _, _ = await asyncio.to_thread(command, "audit", "verify", "--head", head)
    no_hash, _, said = await asyncio.to_thread(command, "audit", "verify", "--head", "abc")
    as_superuser(superuser_dsn, "UPDATE dict_rate_limit_alert_transitions SET value = 1 WHERE number = 2")
    wrong, told, named = await asyncio.to_thread(command, "audit", "verify")

    assert (code, err, with_head) == (0, "", 0)
    assert out.startswith(
        "3 transitions, 2026-03-10 12:00:00 to 2026-03-10 12:00:30 UTC: none changed, none taken out\n"
    )
    assert len(head) == 64
    assert no_hash == 2
    assert "--head" in said
    assert wrong == 1
    assert "not what was recorded" in told
    assert "dict-rate-limit: transition 2 (" in named
