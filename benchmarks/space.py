"""The space that history takes: as rows, and compacted, everything included (indexes, polls, empty partitions).

A bucket observation is a bucket in the answer to a poll, or to a read that changed anything. `steady` and `demo` are
scenarios of the simulator; in `national` every bucket changes at every poll (that of `running`).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from benchmarks.figure import Figure
from benchmarks.processes import RULES, server
from benchmarks.recording import HOLDER, record
from benchmarks.running import SCENARIO
from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings
from exporter.demo.servers import start_postgres
from exporter.rules.files.loading import load
from exporter.simulator import scenario
from exporter.store import migrations
from exporter.store.chunks import DueHour, compact
from exporter.store.database import Database
from exporter.store.lease import Lease

if TYPE_CHECKING:
    from collections.abc import Iterator

HOURS = float(os.environ.get("BENCH_HOURS", "24"))
PARTICIPANTS = 2
MOST_BYTES = 16.0
"""A bucket observation, compacted."""
MOST_GIGABYTES = 3.0
"""A day of a thousand participants."""

_SIZE = b"""
SELECT sum(pg_total_relation_size(tree.relid))::float8
  FROM unnest(%(tables)s::text[]) AS t
 CROSS JOIN LATERAL pg_partition_tree(('dict_rate_limit_' || t)::regclass) AS tree
"""
_OBSERVATIONS = b"""
SELECT sum(CASE WHEN is_read THEN cardinality(policies) WHEN answered THEN buckets ELSE 0 END)::bigint
  FROM (SELECT answered, is_read, policies, (SELECT count(*) FROM dict_rate_limit_policies AS p
                                              WHERE p.participant = r.participant) AS buckets
          FROM dict_rate_limit_reconciliations AS r) AS polls
"""
_HOURS = b"""
SELECT DISTINCT participant, date_trunc('hour', polled_at, 'UTC') AS hour
  FROM dict_rate_limit_reconciliation_rows
 ORDER BY hour
"""
_HASH = """
SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {} AS t
"""


def run() -> Iterator[Figure]:
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as national:
        national.write(SCENARIO)
        national.flush()
        for name, source in (("steady", "steady"), ("demo", "demo"), ("national", national.name)):
            with server(start_postgres) as dsn:
                database = DatabaseSettings(dsn=Secret(dsn))
                asyncio.run(migrations.up(dsn))
                traffic = scenario.load(source)
                rules = load([str(RULES)]).rules
                asyncio.run(record(database, rules, hours=HOURS, participants=PARTICIPANTS, traffic=traffic))
                yield from asyncio.run(_figures(name, database))


async def _figures(name: str, settings: DatabaseSettings) -> list[Figure]:
    async with Database(settings) as database:
        await _recorded_at_once(settings)
        fence = await Lease(database, HOLDER, ttl_seconds=86_400).acquire()
        assert fence is not None
        before = [await _content(database, view) for view in ("states", "reconciliations")]
        ((observations,),) = await database.fetch(_OBSERVATIONS, {})
        as_rows = await _size(database, "state_rows", "reconciliation_rows")
        began, states = time.perf_counter(), 0
        for participant, hour in await database.fetch(_HOURS, {}):
            states += (await compact(fence, DueHour(participant, hour, 0.0))).states
        seconds = time.perf_counter() - began
        assert [await _content(database, view) for view in ("states", "reconciliations")] == before
        await _vacuum(settings)
        chunks = await _size(database, "chunks", "state_rows", "reconciliation_rows")
    each, compacted = as_rows / observations, chunks / observations
    day = chunks / PARTICIPANTS / HOURS * 24 * 1000 / 1e9
    return [
        Figure(f"{name}: rows, a bucket observation", each, "bytes"),
        Figure(f"{name}: compacted", compacted, "bytes", f"<= {MOST_BYTES:g}", compacted <= MOST_BYTES),
        Figure(f"{name}: rows, of what they are compacted", as_rows / chunks, "times"),
        Figure(f"{name}: 24 h of 1,000 participants", day, "GB", f"<= {MOST_GIGABYTES:g}", day <= MOST_GIGABYTES),
        Figure(f"{name}: states compacted", states / seconds, "per s"),
    ]


async def _recorded_at_once(settings: DatabaseSettings) -> None:
    """A reconciler commits a poll within milliseconds; this history was committed all at once."""
    assert settings.dsn is not None
    async with await psycopg.AsyncConnection.connect(settings.dsn.reveal(), autocommit=True) as connection:
        await connection.execute(
            "UPDATE dict_rate_limit_reconciliation_rows"
            "   SET recorded_at = polled_at + (0.004 + 0.02 * random()) * interval '1 second'"
        )
    await _vacuum(settings)


async def _vacuum(settings: DatabaseSettings) -> None:
    """What is left as rows gives its space back, as maintenance sees to when a month is over."""
    assert settings.dsn is not None
    async with await psycopg.AsyncConnection.connect(settings.dsn.reveal(), autocommit=True) as connection:
        await connection.execute("VACUUM FULL dict_rate_limit_state_rows, dict_rate_limit_reconciliation_rows")


async def _content(database: Database, view: str) -> tuple[object, ...]:
    """Returns what tells whether a view's rows are the same."""
    query = sql.SQL(_HASH).format(sql.Identifier(f"dict_rate_limit_{view}"))
    async with database.transaction(patience_seconds=600) as connection:
        (row,) = await (await connection.execute(query)).fetchall()
    return tuple(row)


async def _size(database: Database, *tables: str) -> float:
    ((size,),) = await database.fetch(_SIZE, {"tables": list(tables)})
    return float(size)
