"""Commands that ask the database, as a person types them."""

from __future__ import annotations

import asyncio
import json

import pytest

from exporter.store import migrations
from tests.support.builders import alert
from tests.support.commands import commands
from tests.support.stored import reconciled, stored

pytestmark = pytest.mark.postgres


@pytest.fixture
def command(monkeypatch, capsys):
    with commands(monkeypatch, capsys) as run:
        yield run


def test_migrate_goes_up_and_down_and_tells_each_step(command, empty_database) -> None:
    _, pending, _ = command("migrate", "status", DATABASE__DSN=empty_database)
    _, up, _ = command("migrate", "up")
    _, again, _ = command("migrate", "up")
    _, down, _ = command("migrate", "down", "--steps", "2")
    _, after, _ = command("migrate")

    assert {line.split()[1] for line in pending.splitlines()} == {"pending"}
    assert up.splitlines()[0] == "applied 0001_create_dict_rate_limit_policies"
    assert up.splitlines()[-1].endswith("migrations applied")
    assert again == "nothing to apply: the schema is current\n"
    assert len(down.splitlines()) == 2
    assert [line.split()[1] for line in after.splitlines()][-2:] == ["pending", "pending"]


def test_alerts_lists_nothing_where_there_is_nothing(command, database_dsn) -> None:
    code, out, _ = command("alerts", DATABASE__DSN=database_dsn)

    assert (code, out) == (0, "no alerts\n")


async def test_alerts_says_of_when_they_are_and_who_leads(command, database_dsn) -> None:
    _, _, never = await asyncio.to_thread(command, "alerts", DATABASE__DSN=database_dsn)
    async with stored(database_dsn) as store:
        await store.commit(reconciled(0, after=(alert(),)))
        _, listed, old = await asyncio.to_thread(command, "alerts")
        _, as_json, said = await asyncio.to_thread(command, "alerts", "--output", "json")

    assert never == "No rule was ever evaluated, and no process leads.\n"
    assert "TokensLow" in listed
    assert old.startswith("AS OF 2026-03-10 12:00:00 UTC: no rule has been evaluated for ")
    assert old.endswith(", and first leads.\n")
    assert json.loads(as_json)[0]["alertname"] == "TokensLow"
    assert said == old


async def test_migrate_down_drops_no_data_unless_that_is_said(command, migrator_dsn, database_dsn) -> None:
    async with stored(database_dsn) as store:
        await store.commit(reconciled(0, after=(alert(),)))

    asked, _, said = await asyncio.to_thread(command, "migrate", "down", "--steps", "5", DATABASE__DSN=migrator_dsn)
    _, status, _ = await asyncio.to_thread(command, "migrate")
    done, undone, _ = await asyncio.to_thread(command, "migrate", "down", "--steps", "5", "--yes")

    assert asked == 2
    assert "this drops data for good: 0011_chain_transitions drops from dict_rate_limit_alert_transitions" in said
    assert "0010_know_categories drops from dict_rate_limit_reconciliations" in said
    assert "dict_rate_limit_states" not in said
    assert "--yes" in said
    assert "pending" not in status
    assert done == 0
    assert undone.splitlines() == [f"undone {step}" for step in map(str, migrations.migrations()[:8:-1])]
