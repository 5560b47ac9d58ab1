"""What must hold of a database, whatever happened to the processes: checked from its own history.

The polls that it holds are taken through the rules again, from nothing; alerts, their
audit and the events must be exactly what comes out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from exporter.alerts.event import event_of
from exporter.history.replay import Replay
from exporter.rules.files import loading
from exporter.store.reader import Reader
from tests.support.program import RULES
from tests.support.stored import connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.alerts.alert import AlertState, Transition
    from exporter.buckets.observation import Poll


@dataclass(frozen=True)
class History:
    """What a database holds: polls and transitions by participant, in order."""

    polls: dict[str, list[Poll]]
    expected: list[Transition]
    open_alerts: dict[str, AlertState]

    def gaps(self) -> list[tuple[str, int, int]]:
        """Sequences that are missing within a stream: ``(stream, after, before)``."""
        found = []
        streams: dict[str, list[int]] = {}
        for polls in self.polls.values():
            for poll in polls:
                if poll.sequence:
                    streams.setdefault(poll.stream_id, []).append(poll.sequence)
        for stream, sequences in streams.items():
            ordered = sorted(sequences)
            found += [(stream, a, b) for a, b in itertools.pairwise(ordered) if b != a + 1]
        return found


def history(dsn: str, rules: str = str(RULES)) -> History:
    return asyncio.run(_history(dsn, rules))


async def _history(dsn: str, rules: str) -> History:
    polls: dict[str, list[Poll]] = {}
    expected: list[Transition] = []
    open_alerts: dict[str, AlertState] = {}
    async with connected(dsn) as database:
        reader = Reader(database)
        for participant in await reader.participants():
            replay = Replay(loading.load([rules]).rules)
            polls[participant] = []
            async for poll in reader.polls(participant, evaluated_only=True):
                polls[participant].append(poll)
                expected += replay.step(poll).transitions
            open_alerts |= {f: a.state for f, a in replay.alerts.items()}
    return History(polls, expected, open_alerts)


def check(dsn: str, rules: str = str(RULES)) -> History:
    """Returns the history, having asserted that alerts, audit and events follow from its polls."""
    found = history(dsn, rules)
    with rows(dsn) as query:
        audit = query(
            "SELECT fingerprint, state, changed_at, coalesce(reason, '') FROM dict_rate_limit_alert_transitions"
            " WHERE state <> 'pending'"
        )
        open_rows = query("SELECT fingerprint, state FROM dict_rate_limit_alerts WHERE state IN ('pending', 'firing')")
        events = query("SELECT event_id::text FROM dict_rate_limit_outbox")
    wanted = [
        (t.alert.fingerprint, str(t.alert.state), t.at, str(t.alert.reason) if t.alert.reason else "")
        for t in found.expected
    ]
    assert sorted(audit) == sorted(wanted)
    assert sorted(open_rows) == sorted((f, str(state)) for f, state in found.open_alerts.items())
    assert sorted(e for (e,) in events) == sorted(str(event_of(t).event_id) for t in found.expected)
    return found


@contextlib.contextmanager
def rows(dsn: str) -> Iterator[Any]:
    """Yields a function that returns the rows of a query."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield lambda sql, *parameters: connection.execute(sql, parameters or None).fetchall()


def count(dsn: str, table: str, where: str = "true") -> int:
    with rows(dsn) as query:
        ((number,),) = query(f"SELECT count(*) FROM {table} WHERE {where}")
    return int(number)
