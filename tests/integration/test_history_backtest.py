from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
from click.testing import CliRunner

from exporter.backtest import workers
from exporter.backtest.backtest import replay_chunk
from exporter.buckets.observation import view_after
from exporter.cli.main import cli
from exporter.config.secrets import Secret
from exporter.config.settings import DatabaseSettings
from exporter.errors import DictRateLimitError
from exporter.history.participants import find_participants
from exporter.history.replay import Period
from exporter.store.lease import Lease
from tests.support.builders import PARTICIPANT, START, at, failed, poll
from tests.support.program import RULES, wait_until
from tests.support.recorded import RULE_SET, SIX_HOURS_SECONDS, reader, recorder
from tests.support.rules import rule_file
from tests.support.simulated import BEGAN, Simulation
from tests.support.stored import Store, connected

if TYPE_CHECKING:
    from datetime import datetime

    from click.testing import Result

    from exporter.backtest.backtest import BacktestResult
    from exporter.buckets.bucket import Ispb, PolicyName
    from exporter.buckets.observation import BucketObservation
    from exporter.store.reader import Reader

# Measured, hours of history take twice as long.
pytestmark = [pytest.mark.postgres, pytest.mark.no_cover]

SIX_HOURS = Period(BEGAN, BEGAN + timedelta(seconds=SIX_HOURS_SECONDS))
ONE_HOUR = Period(BEGAN, BEGAN + timedelta(hours=1))
LOW_AT = """
alert: Low
expr: |
  max by (participant, policy) (dict_rate_limit_utilization_percent) >= {percent}
labels: {{severity: warning}}
"""

LOOKING_BACK = """
alert: Restless
expr: |
  max by (participant, policy) (
    changes(dict_rate_limit_available_tokens[25m]) > 3 * changes(dict_rate_limit_available_tokens[25m] offset 35m)
    and on (participant) avg_over_time(dict_rate_limit_up[1h]) < 1
  )
labels: {severity: info}
"""

OF_ALERTS = """
alert: OftenRestless
expr: |
  count_over_time(ALERTS{alertname="Restless"}[50m]) > 20
  unless on (participant, policy) ALERTS{alertname="OftenRestless"} offset 10m
for: 1m
labels: {severity: info}
"""

LATCH = """
alert: Latch
expr: |
  max by (participant) (dict_rate_limit_up) == 0
    or
  max by (participant) (ALERTS{alertname="Latch", alertstate="firing"})
labels: {severity: info}
"""


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def ran(dsn: str, *arguments: str) -> Result:
    """The command, beside the test's own event loop."""
    period = [f"--since={SIX_HOURS.since.isoformat()}", f"--until={SIX_HOURS.until.isoformat()}"]
    runner = CliRunner(env={"DICT_RATE_LIMIT_DATABASE__DSN": dsn})
    return await asyncio.to_thread(runner.invoke, cli, ["rules", "backtest", *period, *arguments])


async def reported(dsn: str, *arguments: str) -> dict[str, Any]:
    result = await ran(dsn, "--output=json", "--processes=1", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def job_of(dsn: str, *files: str, period: Period = SIX_HOURS) -> workers.Job:
    """Each file is one set of rules; six hours are split."""
    return workers.Job(DatabaseSettings(dsn=Secret(dsn)), tuple((file,) for file in files), period, min_warm_ups=1)


async def run(job: workers.Job, participants, progress=lambda *_: None, *, processes: int) -> list[BacktestResult]:
    """Beside the test's own event loop."""
    return await asyncio.to_thread(workers.run, job, participants, progress, processes=processes)


async def backtest(history: Reader, participant: Ispb, period: Period) -> BacktestResult:
    return (await replay_chunk(history, participant, [RULE_SET], period=period, chunk=period)).result


@pytest.mark.parametrize("scenario", ["outage", "slow", "category-change"])
async def test_every_observation_is_rebuilt_exactly(recorded, scenario):
    past = await recorded(scenario, participants=2)

    async with reader(past.dsn) as history:
        participants = await history.participants()
        assert len(participants) == 2
        for participant in participants:
            rebuilt = [poll async for poll in history.polls(participant)]
            assert rebuilt == [poll for poll in past.polls if poll.participant == participant]


@pytest.mark.parametrize("scenario", ["demo", "burst"])
async def test_with_reads_history_shows_what_was_shown_at_every_poll(recorded, scenario):
    past = await recorded(scenario, interval_seconds=15, seconds=1_800, reads=True)
    shown: dict[datetime, dict[PolicyName, tuple[BucketObservation, datetime]]] = {}
    view = None
    for made in past.polls:
        view = view_after(view, made)
        shown[made.polled_at] = {policy: (v.observation, v.confirmed_at) for policy, v in view.buckets.items()}

    async with reader(past.dsn) as history:
        rebuilt = [made async for made in history.polls(past.participant)]

    # In a burst every read changes something.
    assert len(rebuilt) < len(past.polls) or scenario == "burst", "what changed nothing has no row"
    assert any(made.is_read for made in rebuilt)
    assert [made for made in rebuilt if not made.is_read] == [made for made in past.polls if not made.is_read]
    view = None
    for made in rebuilt:
        view = view_after(view, made)
        assert shown[made.polled_at] == {p: (v.observation, v.confirmed_at) for p, v in view.buckets.items()}


@pytest.mark.parametrize("scenario", ["demo", "burst", "outage"])
async def test_compacted_or_not_a_backtest_says_the_same(recorded, scenario):
    past = await recorded(scenario, participants=2, interval_seconds=15, seconds=7_200, reads=True)
    before = await reported(past.dsn, str(RULES))
    assert before["alerts"]

    async with connected(past.dsn) as database:
        fence = await Lease(database, "test", ttl_seconds=600).acquire()
        assert fence is not None
        store = Store(database, fence)
        await store.compact()
        assert await store.value("SELECT count(*) FROM dict_rate_limit_reconciliation_rows") == 0

    assert await reported(past.dsn, str(RULES)) == before


@pytest.mark.parametrize("scenario", ["demo", "burst", "outage"])
async def test_with_reads_backtesting_gives_the_alerts_that_were_raised_at_the_same_instants(recorded, scenario):
    dsn = (await recorded(scenario, interval_seconds=15, seconds=3_600, reads=True)).dsn

    async with reader(dsn) as history:
        (participant,) = await history.participants()
        result = await backtest(history, participant, ONE_HOUR)

    assert result.raised
    assert result.rule_sets[0].episodes == result.raised
    assert result.gaps == ()


@pytest.mark.parametrize("scenario", ["demo", "outage", "exhaustion", "scan", "category-change"])
async def test_backtesting_the_rules_in_force_gives_the_alerts_that_were_raised(recorded, scenario):
    dsn = (await recorded(scenario, participants=2)).dsn

    async with reader(dsn) as history:
        results = [await backtest(history, p, SIX_HOURS) for p in await history.participants()]

    assert [result.coverage.polls for result in results] == [6 * 120] * 2
    assert any(result.raised for result in results)
    for result in results:
        assert result.rule_sets[0].episodes == result.raised
        assert not result.rule_sets[0].failed


async def test_a_period_that_begins_in_the_middle_of_things_gives_the_same(recorded):
    dsn = (await recorded("outage")).dsn

    async with reader(dsn) as history:
        (participant,) = await history.participants()
        for minutes in range(120, 240, 17):
            period = Period(BEGAN + timedelta(minutes=minutes), BEGAN + timedelta(minutes=minutes + 31))
            result = await backtest(history, participant, period)

            assert result.rule_sets[0].episodes == result.raised


@pytest.mark.parametrize("participants", [1, 2])
async def test_several_processes_find_what_one_finds(recorded, tmp_path, participants):
    dsn = (await recorded("outage", participants=participants)).dsn
    looking_back = rule_file(tmp_path, LOOKING_BACK, OF_ALERTS, name="looking-back.yml")
    job = job_of(dsn, str(RULES), rule_file(tmp_path, LOW_AT.format(percent=1)), looking_back)
    ispbs = await find_participants(job.database)
    progress: list[float] = []

    alone = await run(job, ispbs, processes=1)
    together = await run(job, ispbs, lambda polls, _seconds: progress.append(polls), processes=4)

    assert together == alone
    assert all(rule_set.episodes for result in alone for rule_set in result.rule_sets)
    assert sum(progress) == 6 * 120 * participants


async def test_a_chunk_whose_initial_state_is_wrong_is_replayed(database_dsn, tmp_path):
    minutes = [poll(seconds=60.0 * n, interval_seconds=60.0, sequence=n + 1) for n in range(360) if not 200 < n < 210]
    minutes[30] = failed(30 * 60.0, interval_seconds=60.0, sequence=31)
    async with recorder(database_dsn, RULE_SET) as past:
        await past.take(minutes)
    job = job_of(database_dsn, rule_file(tmp_path, LATCH), period=Period(START, START + timedelta(hours=6)))

    (alone,) = await run(job, [PARTICIPANT], processes=1)
    (together,) = await run(job, [PARTICIPANT], processes=6)

    assert together == alone
    (latched,) = together.rule_sets[0].episodes
    assert (latched.began_at, latched.resolved_at) == (at(30 * 60), None)
    assert together.coverage.gap_count == 1


async def test_what_polls_that_nobody_made_would_have_shown_is_a_gap(database_dsn):
    simulation = Simulation("steady", interval_seconds=30)
    async with recorder(database_dsn, RULE_SET) as past:
        await past.take(await simulation.run(3600))
        simulation.clock.advance(7200)
        await past.take(await simulation.run(3600))

    async with reader(database_dsn) as history:
        (participant,) = await history.participants()
        result = await backtest(history, participant, Period(BEGAN, BEGAN + timedelta(hours=4)))

    (gap,) = result.gaps
    assert gap.begin == BEGAN + timedelta(minutes=59, seconds=30)
    assert gap.end == BEGAN + timedelta(hours=3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_ended_in_the_middle_it_leaves_no_process_behind(recorded, number, code):
    past = asyncio.run(recorded("steady", participants=2, seconds=300))
    with (
        psycopg.connect(past.superuser_dsn) as holding,
        psycopg.connect(past.superuser_dsn, autocommit=True) as looking,
    ):
        holding.execute("LOCK dict_rate_limit_state_rows")  # so that all of them are in the middle of their work
        program = subprocess.Popen(
            [sys.executable, "-m", "exporter", "rules", "backtest", str(RULES), "--since=7d", "--processes=2"],
            env={**os.environ, "DICT_RATE_LIMIT_DATABASE__DSN": past.dsn},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        wait_until(lambda: looking.execute(WAITING).fetchone() == (2,))
        processes = psutil.Process(program.pid).children(recursive=True)

        # Ctrl-C reaches the whole group; what else ends a command reaches it alone.
        (os.killpg if number == signal.SIGINT else os.kill)(program.pid, number)

        _, stderr = program.communicate(timeout=60)
        assert program.returncode == code
        assert b"Traceback" not in stderr
        assert psutil.wait_procs(processes, timeout=60)[1] == []


async def test_memory_does_not_grow_with_the_period(recorded):
    dsn = (await recorded("steady")).dsn

    async with reader(dsn, page_polls=20) as history:
        (participant,) = await history.participants()

        async def peak_bytes(hours: int) -> int:
            tracemalloc.start()
            await backtest(history, participant, Period(BEGAN, BEGAN + timedelta(hours=hours)))
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return most

        await peak_bytes(6)  # so that what is made once is there

        # Six times as much history; what the allocator keeps varies by half.
        assert await peak_bytes(6) < 2.5 * await peak_bytes(1)


async def test_the_report_is_beside_what_was_raised(recorded):
    dsn = (await recorded("exhaustion")).dsn

    report = await reported(dsn, str(RULES))

    assert report["against"] == "what was raised"
    assert report["polls"] == 720
    assert report["totals"]["same"] == report["totals"]["rules"]["alerts"] == len(report["alerts"]) > 0
    assert report["totals"]["new"] == report["totals"]["gone"] == report["totals"]["changed"] == 0


async def test_what_hysteresis_holds_since_before_the_replay_is_said_to_be_unknown(recorded, tmp_path):
    dsn = (await recorded("steady", seconds=600)).dsn
    began = BEGAN - timedelta(hours=1)

    said = [(await ran(dsn, str(RULES), f"--output={output}")).stdout for output in ("table", "markdown", "html")]

    note = f"Replayed from {began:%Y-%m-%d %H:%M:%S} on, with the alerts that were firing then"
    assert all(note in text for text in said)
    assert (await reported(dsn, str(RULES)))["replayed_since"] == began.isoformat()
    assert (await reported(dsn, rule_file(tmp_path, LOW_AT.format(percent=1))))["replayed_since"] is None


async def test_the_report_is_beside_another_rule_file(recorded, tmp_path):
    dsn = (await recorded("exhaustion")).dsn
    new = rule_file(tmp_path, LOW_AT.format(percent=60), name="new.yml")
    old = rule_file(tmp_path, LOW_AT.format(percent=90), name="old.yml")

    report = await reported(dsn, new, "--against", old)

    totals = report["totals"]
    assert report["against"] == old
    assert totals["rules"]["firing_seconds"] > totals["against"]["firing_seconds"] > 0
    assert totals["new"] + totals["changed"] > 0
    assert totals["same"] == 0


async def test_only_one_participant(recorded):
    dsn = (await recorded("outage", participants=2)).dsn
    second = (await find_participants(DatabaseSettings(dsn=Secret(dsn))))[1]

    report = await reported(dsn, str(RULES), "--participant", second)

    assert report["participants"] == [second]
    assert {alert["rules"]["participant"] for alert in report["alerts"]} == {second}


async def test_only_one_policy(recorded, tmp_path):
    dsn = (await recorded("demo")).dsn
    rules = rule_file(tmp_path, LOW_AT.format(percent=1))
    policies = {alert["rules"]["policy"] for alert in (await reported(dsn, rules))["alerts"] if alert["rules"]}
    assert len(policies) > 1

    report = await reported(dsn, rules, "--policy", min(policies))

    assert {alert["rules"]["policy"] for alert in report["alerts"] if alert["rules"]} == {min(policies)}


async def test_a_policy_that_nobody_has_is_said_with_the_nearest(recorded):
    dsn = (await recorded("steady", seconds=600)).dsn

    unknown = await ran(dsn, str(RULES), "--policy=KEYS_CHEK")
    quiet = await ran(dsn, str(RULES), "--policy=KEYS_CHECK")

    assert str(unknown.exception) == "no participant has a bucket KEYS_CHEK; did you mean KEYS_CHECK?"
    assert "No alert, neither" in quiet.stdout


async def test_a_participant_without_history_is_said(recorded):
    dsn = (await recorded("steady")).dsn

    with pytest.raises(DictRateLimitError, match="no poll of participant 99999999"):
        await find_participants(DatabaseSettings(dsn=Secret(dsn)), ["99999999"])


async def test_a_rule_that_fails_is_reported_with_its_polls(recorded, tmp_path):
    rules = rule_file(
        tmp_path,
        "alert: Twice\nexpr: dict_rate_limit_up * on (participant) group_right dict_rate_limit_capacity > 0\n"
        "labels: {severity: info, policy: ''}",
    )
    dsn = (await recorded("steady")).dsn

    (failing,) = (await reported(dsn, rules))["failing_rules"]

    assert (failing["rule"], failing["polls"]) == ("Twice", 720)
    assert "same labelset" in failing["error"]


async def test_a_database_without_history_is_said(database_dsn):
    result = await ran(database_dsn, str(RULES))

    assert isinstance(result.exception, DictRateLimitError)
    assert "no polls yet" in str(result.exception)
