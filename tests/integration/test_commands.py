"""Commands that ask the database, as a person types them."""

from __future__ import annotations

import pytest

from tests.support.commands import commands

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
