"""Rules that look back: a restart, a takeover and a reload change no verdict, since what they see is read back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from exporter.alerts.history import History
from exporter.buckets.gauges import BUCKET_METRICS, PARTICIPANT_GAUGES
from exporter.buckets.observation import view_after
from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings, RulesSettings, Settings
from exporter.errors import RuleFileInvalid
from exporter.history.replay import Replay
from exporter.metrics import Metrics
from exporter.reconciler.leadership import LeadershipState
from exporter.reconciler.reconciler import Reconciler
from exporter.rules.files.loading import load
from tests.support import truth
from tests.support.builders import POLICY, START, bucket, poll, read
from tests.support.conditions import until
from tests.support.recorded import reader
from tests.support.rules import rule_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from exporter.buckets.observation import Poll

pytestmark = pytest.mark.postgres

EMPTYING = """
alert: Emptying
expr: max by (participant, policy) (max_over_time(dict_rate_limit_available_tokens[5m])) <= 1000
labels: {severity: warning}
annotations: {mean: "{{ $value }}"}
"""
UNSTEADY = """
alert: Unsteady
expr: |
  changes(dict_rate_limit_available_tokens[10m]) > 5 and on (participant)
  avg_over_time((dict_rate_limit_up == 1)[5m:30s] offset 15s) == 1
for: 1m
labels: {severity: info}
"""
LOW = """
alert: Low
expr: dict_rate_limit_available_tokens <= 1000
labels: {severity: info}
"""
OFTEN_LOW = """
alert: OftenLow
expr: |
  count_over_time(ALERTS{alertname="Low"}[5m]) >= 10
  unless on (participant) (ALERTS{alertname="OftenLow"} offset 2m)
for: 30s
labels: {severity: warning}
"""
MEAN = """
record: policy:tokens:avg75s
expr: avg_over_time(dict_rate_limit_available_tokens[75s])
labels: {team: pix}
"""
LOWEST_MEAN = """
record: policy:tokens:min10m
expr: |
  min_over_time(policy:tokens:avg75s[10m]) unless on (participant) (count(ALERTS{alertname="None"}) by (participant))
"""
MEAN_LOW = """
alert: MeanLow
expr: policy:tokens:min10m < 600 and policy:tokens:avg75s offset 1m > 600
labels: {severity: info}
"""
BEGAN_AGO = timedelta(minutes=20)


def began() -> float:
    """When the first of polls that come up to now is, in seconds."""
    return (datetime.now(UTC) - BEGAN_AGO - START).total_seconds()


def levels(count: int, first_low: int) -> list[Poll]:
    """Polls, one each 15 s up to now: of 36,000 tokens, from one on of fewer and fewer."""
    first = began()
    return [
        poll(bucket(36_000 if n < first_low else 1_000 - n), seconds=first + 15 * n, sequence=n + 1)
        for n in range(count)
    ]


def levels_and_reads(count: int) -> list[Poll]:
    """Polls, one each 15 s up to now, three reads after each: the second one shows something new."""
    first = began()
    made: list[Poll] = []
    for n in range(count):
        tokens, seconds = 500 if n % 8 else 5_000, first + 15 * n
        made.append(poll(bucket(tokens), seconds=seconds, sequence=4 * n + 1))
        for index, shown in enumerate((tokens, tokens - 1, tokens - 1), 1):
            made.append(read(bucket(shown), seconds=seconds + index, sequence=4 * n + index + 1))
    return made


@asynccontextmanager
async def leading(dsn: str, rules: str) -> AsyncIterator[Reconciler]:
    settings = Settings(database=DatabaseSettings(dsn=Secret(dsn)), rules=RulesSettings(files=(rules,)))
    async with AsyncExitStack() as stack:
        reconciling = await Reconciler.build(settings, Metrics(), "this", stack)
        task = asyncio.create_task(reconciling.run(None))
        try:
            await until(lambda: reconciling.leadership and reconciling.leadership.state is LeadershipState.LEADING)
            yield reconciling
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def reconciled(reconciling: Reconciler, dsn: str, polls: Sequence[Poll]) -> None:
    for one in polls:
        reconciling.inbox.put(one)
    last = polls[-1].polled_at
    newest = f"polled_at >= '{last.isoformat()}'"
    await until(lambda: truth.count(dsn, "dict_rate_limit_reconciliations", newest))


def firing(dsn: str, name: str) -> int:
    return truth.count(dsn, "dict_rate_limit_alerts", f"state = 'firing' AND alertname = '{name}'")


async def test_a_restart_changes_no_verdict(database_dsn, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    rules = rule_file(tmp_path, EMPTYING, UNSTEADY)
    polls = levels(60, first_low=20)

    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, polls[:30])
    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, polls[30:39])
        held = reconciling.loop.histories.of(polls[0].participant)
        assert not firing(database_dsn, "Emptying"), "less than five minutes ago there were tokens"
        await reconciled(reconciling, database_dsn, polls[39:40])
        assert firing(database_dsn, "Emptying")
        await reconciled(reconciling, database_dsn, polls[40:])

    alone = History(held.gauges.kept_ms)
    view = None
    for one in polls:
        view = view_after(view, one)
        alone.add(view)
    assert held == alone
    assert "history read back" in caplog.text
    found = await asyncio.to_thread(truth.check, database_dsn, rules)
    assert {transition.alert.name for transition in found.expected} == {"Emptying", "Unsteady"}


async def test_a_restart_changes_no_verdict_about_past_alerts(database_dsn, tmp_path: Path) -> None:
    rules = rule_file(tmp_path, LOW, OFTEN_LOW)
    polls = levels_and_reads(70)
    before, after = polls[:101], polls[104:-3]  # each begins and ends with a whole poll

    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, before)
    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, after)
        held = reconciling.loop.histories.of(polls[0].participant)

    alone = Replay(load([rules]).rules)
    for one in (*before, *after):
        alone.step(one)
    assert held == alone.history
    assert held.written.kept_ms
    found = await asyncio.to_thread(truth.check, database_dsn, rules)
    assert {transition.alert.name for transition in found.expected} == {"Low", "OftenLow"}


async def test_a_restart_changes_no_verdict_about_what_was_recorded(database_dsn, tmp_path: Path, caplog) -> None:
    caplog.set_level("INFO")
    rules = rule_file(tmp_path, LOW, MEAN, LOWEST_MEAN, MEAN_LOW)
    polls = levels_and_reads(79)
    before, after = polls[:201], polls[204:-3]  # each begins and ends with a whole poll
    participant = polls[0].participant

    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, before)
    alone = Replay(load([rules]).rules)
    for one in (*before, *after):
        recorded = alone.step(one).recorded
    assert len(recorded) == 2
    of_series = f'{{participant="{participant}",policy="{POLICY}",team="pix"}}'
    lines = [f"{name}{of_series} {value}\n" for (name, _), value in recorded.items()]
    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, after)
        held = reconciling.loop.histories.of(participant)
        # What is committed is on the page a moment later.
        await until(lambda: all(line in reconciling.metrics.exposition().decode() for line in lines))

    assert held == alone.history
    assert set(held.written.kept_ms) == {"policy:tokens:avg75s", "policy:tokens:min10m"}
    (read_back,) = [record.polls for record in caplog.records if "read back" in record.message and record.polls]
    assert read_back < 201, "no more than what is recorded is made of"
    found = await asyncio.to_thread(truth.check, database_dsn, rules)
    assert {transition.alert.name for transition in found.expected} == {"Low", "MeanLow"}


async def test_a_process_that_no_longer_leads_serves_nothing_that_is_recorded(database_dsn, tmp_path: Path) -> None:
    rules = rule_file(tmp_path, MEAN)
    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, levels(3, first_low=1))
        await until(lambda: b"policy:tokens:avg75s{" in reconciling.metrics.exposition() and not len(reconciling.inbox))
        reconciling.reset()
        assert b"\npolicy:tokens" not in reconciling.metrics.exposition()


async def test_a_reload_of_rules_that_look_back_further_sees_what_was_before_it(database_dsn, tmp_path: Path) -> None:
    rules = rule_file(tmp_path, LOW)
    polls = levels(60, first_low=20)

    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, polls[:35])
        assert reconciling.loop.histories.of(polls[0].participant) is None, "no rule looks back"
        rule_file(tmp_path, EMPTYING)
        await reconciling.rules.reload()
        await reconciled(reconciling, database_dsn, polls[35:39])
        assert not firing(database_dsn, "Emptying")
        await reconciled(reconciling, database_dsn, polls[39:41])
        assert firing(database_dsn, "Emptying")

        rule_file(tmp_path, LOW)
        await reconciling.rules.reload()
        await reconciled(reconciling, database_dsn, polls[41:42])
        assert reconciling.loop.histories.of(polls[0].participant) is None


async def test_a_participant_that_comes_back_sees_what_it_would_after_a_restart(database_dsn, tmp_path: Path) -> None:
    rules = rule_file(tmp_path, EMPTYING)
    polls = levels(60, first_low=20)
    (participant,) = {one.participant for one in polls}

    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, polls[:30])
        states, last_at = reconciling.loop._participants, polls[29].polled_at
        await until(lambda: participant in states and states[participant].polled_at == last_at)
        reconciling.loop.histories.discard([participant])
        del states[participant]  # as one that was removed, without an open alert
        await reconciled(reconciling, database_dsn, polls[30:31])
        assert reconciling.loop.histories.of(participant).gauges.times == 31


AHEAD = """
alert: Ahead
expr: count_over_time(dict_rate_limit_up[1m] offset -1m) > 0
labels: {severity: info}
"""


async def test_polls_that_are_evaluated_again_after_an_outage_see_no_later_ones(
    outage_postgres, tmp_path: Path
) -> None:
    dsn, rules = outage_postgres.database_dsn, rule_file(tmp_path, EMPTYING, AHEAD)
    polls = levels(60, first_low=20)

    async with leading(dsn, rules) as reconciling:
        await reconciled(reconciling, dsn, polls[:10])
        outage_postgres.stop("fast")
        for one in polls[10:]:
            reconciling.inbox.put(one)
        await until(
            lambda: (held := reconciling.loop.histories.of(polls[0].participant)) is None or held.gauges.times > 10
        )
        await until(lambda: reconciling.loop.histories.of(polls[0].participant) is None)
        outage_postgres.start()
        await reconciled(reconciling, dsn, polls[-1:])

    found = await asyncio.to_thread(truth.check, dsn, rules)
    assert [transition.alert.name for transition in found.expected] == ["Emptying"]


async def test_a_last_poll_that_lies_ahead_in_the_database_is_not_looked_back_at(
    database_dsn, superuser_dsn, tmp_path: Path
) -> None:
    rules = rule_file(tmp_path, EMPTYING)
    polls = levels(60, first_low=20)
    async with leading(database_dsn, rules) as reconciling:
        await reconciled(reconciling, database_dsn, polls[:10])
    with psycopg.connect(superuser_dsn) as connection:
        connection.execute(
            "UPDATE dict_rate_limit_reconciliation_rows SET polled_at = polled_at + interval '1 day'"
            " WHERE sequence = 10"
        )

    async with leading(database_dsn, rules) as reconciling:
        for one in polls[10:]:
            reconciling.inbox.put(replace(one, stream_id="of the clock that was set right"))
        await until(lambda: firing(database_dsn, "Emptying"))


async def test_a_rule_that_looks_back_further_than_anything_is_kept_is_not_loaded(database_dsn, tmp_path: Path) -> None:
    rules = rule_file(tmp_path, EMPTYING.replace("5m", "25h"))

    with pytest.raises(RuleFileInvalid, match=r"looks 1d1h back, and rules\.max_range is 1d: raise it, or look back"):
        async with leading(database_dsn, rules):
            pass


@pytest.mark.parametrize("scenario", ["demo", "outage"])
async def test_what_is_read_back_is_what_was_shown_reads_included(recorded, scenario: str) -> None:
    past = await recorded(scenario, interval_seconds=15, seconds=1_800, reads=True)
    kept = dict.fromkeys((metric.name for metric in (*BUCKET_METRICS, *PARTICIPANT_GAUGES)), 1_800_000)
    shown, rebuilt = History(kept), History(kept)
    view = None
    for one in past.polls:
        view = view_after(view, one)
        shown.add(view)

    view = None
    async with reader(past.dsn) as history:
        async for one in history.polls(past.participant, evaluated_only=True):
            view = view_after(view, one)
            rebuilt.add(view)

    assert any(one.is_read for one in past.polls)
    assert rebuilt.gauges.times > 100
    assert any(rebuilt.gauges.between("dict_rate_limit_responses_total", 0, 2**60))
    assert rebuilt == shown
