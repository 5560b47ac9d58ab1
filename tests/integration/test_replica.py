"""Commands that only read work where nothing can be written."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.builders import PARTICIPANT, START, at, bucket, poll
from tests.support.commands import commands
from tests.support.postgres import dsn_as
from tests.support.program import ROOT, RULES
from tests.support.recorded import RULE_SET, recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres import OutagePostgres

pytestmark = pytest.mark.postgres

PERIOD = START.isoformat(), at(60).isoformat()
LINES = {
    "alerts": ("--all",),
    "explain": ("DictRateLimitTokensLow", "--rules", str(RULES), "--at", PERIOD[1]),
    "rules backtest": (str(RULES), "--since", PERIOD[0], "--until", PERIOD[1], "--processes", "1"),
    "rules capture": (str(RULES), "--participant", PARTICIPANT, "--from", PERIOD[0], "--to", PERIOD[1]),
    "audit verify": (),
    "migrate status": (),
}


@pytest.fixture
def command(monkeypatch, capsys) -> Iterator:
    with commands(monkeypatch, capsys) as run:
        yield run


@pytest.fixture
async def past(outage_postgres: OutagePostgres) -> OutagePostgres:
    """A server with a bucket that ran low."""
    async with recorder(outage_postgres.database_dsn, RULE_SET) as record:
        tokens = (30_000, 7_000, 6_000, 6_000, 6_000)
        await record.take([poll(bucket(left), seconds=15.0 * n) for n, left in enumerate(tokens)])
    return outage_postgres


def fenced(server: OutagePostgres) -> None:
    server.set("default_transaction_read_only", "on")


@pytest.mark.parametrize("no_more_writes", [pytest.param(lambda server: server.become_standby(), id="standby"), fenced])
async def test_a_command_that_only_reads_works_on_a_replica(
    command, past: OutagePostgres, no_more_writes: Callable[[OutagePostgres], None]
) -> None:
    no_more_writes(past)
    dsn = dsn_as("reader", past.dsn, "dict_rate_limit")

    ended = {
        name: await asyncio.to_thread(command, *name.split(), *arguments, DATABASE__DSN=dsn)
        for name, arguments in LINES.items()
    }

    assert {name: (code, err) for name, (code, _, err) in ended.items() if code} == {}
    assert "DictRateLimitTokensLow" in ended["alerts"][1]
    assert "none changed, none taken out" in ended["audit verify"][1]


def test_the_page_on_replicas_names_these_commands() -> None:
    section = (ROOT / "docs/database.md").read_text().partition("## On a replica\n")[2].partition("\n## ")[0]
    sentence = section.partition(": ")[2].partition(".")[0]

    assert re.findall("`(.*?)`", sentence) == [*LINES]
