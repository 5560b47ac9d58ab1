from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli.main import cli
from exporter.rules.promtool.runner import run_tests
from tests.support import promtool
from tests.support.program import RULES
from tests.support.recorded import RULE_SET, recorder
from tests.support.rules import rule_file
from tests.support.simulated import BEGAN, Simulation

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

# Measured, hours of history take twice as long.
pytestmark = [pytest.mark.postgres, pytest.mark.no_cover]

FOUR_HOURS_SECONDS = 4 * 3600.0
UP = "alert: Down\nexpr: dict_rate_limit_up == 0\nlabels: {severity: critical}"
AT_NIGHT = (
    "alert: LowAtNight\nexpr: dict_rate_limit_up == 0 and on () hour() < 6\nlabels: {severity: warning}\n"
    "annotations: {summary: it is late}"
)
FAILS = (
    "alert: Twice\nexpr: dict_rate_limit_up * on (participant) group_right dict_rate_limit_capacity > 0\n"
    "labels: {severity: info, policy: ''}"
)


async def captured(
    dsn: str, participant: str, *arguments: object, minutes: tuple[float, float] = (0, 240), **environment: str
) -> Result:
    """The command, beside the test's own event loop."""
    begin, end = (BEGAN + timedelta(minutes=m) for m in minutes)
    period = [f"--participant={participant}", f"--from={begin.isoformat()}", f"--to={end.isoformat()}"]
    runner = CliRunner(env={"DICT_RATE_LIMIT_DATABASE__DSN": dsn, **environment})
    return await asyncio.to_thread(runner.invoke, cli, ["rules", "capture", *period, *map(str, arguments)])


def expected_alerts(file: Path) -> int:
    tests = yaml.safe_load(file.read_text())["tests"][0]["alert_rule_test"]
    return sum(len(test["exp_alerts"]) for test in tests)


def passes_everywhere(file: Path) -> bool:
    (ours,) = run_tests([str(file)])
    (theirs,) = promtool.run_tests([file])
    assert ours.passed, ours.render()
    assert theirs.passed, theirs.output
    return True


@pytest.mark.prometheus
@pytest.mark.parametrize("scenario", ["outage", "exhaustion", "scan", "category-change", "demo"])
async def test_a_captured_incident_passes_at_once_under_both_engines(recorded, tmp_path, scenario):
    past = await recorded(scenario, seconds=FOUR_HOURS_SECONDS)
    file = tmp_path / "incident.test.yml"

    result = await captured(past.dsn, past.participant, RULES, f"--output-file={file}")

    assert result.exit_code == 0, result.exception
    assert expected_alerts(file) > 0
    assert passes_everywhere(file)


@pytest.mark.prometheus
async def test_what_reads_saw_is_captured(recorded, tmp_path):
    past = await recorded("demo", interval_seconds=15, seconds=3_600, reads=True)
    file = tmp_path / "incident.test.yml"

    await captured(past.dsn, past.participant, RULES, f"--output-file={file}", minutes=(0, 60))

    assert expected_alerts(file) > 0
    assert passes_everywhere(file)


@pytest.mark.prometheus
async def test_it_is_about_one_policy_and_at_another_pace_where_that_is_asked(recorded, tmp_path):
    past = await recorded("exhaustion", seconds=FOUR_HOURS_SECONDS)
    file = tmp_path / "incident.test.yml"

    await captured(past.dsn, past.participant, RULES, f"--output-file={file}", "--policy=CLAIMS_WRITE", "--interval=1m")

    document = yaml.safe_load(file.read_text())
    assert document["evaluation_interval"] == document["tests"][0]["interval"] == "1m"
    series = [entry["series"] for entry in document["tests"][0]["input_series"]]
    assert {s.split("policy=")[1] for s in series if "policy=" in s} == {'"CLAIMS_WRITE"}'}
    assert any("dict_rate_limit_up" in s for s in series)
    assert passes_everywhere(file)


@pytest.mark.prometheus
async def test_it_begins_in_the_middle_of_things_and_passes(recorded, tmp_path):
    past = await recorded("outage", seconds=FOUR_HOURS_SECONDS)
    file = tmp_path / "incident.test.yml"

    await captured(past.dsn, past.participant, RULES, f"--output-file={file}", minutes=(125.2, 170.9))

    assert passes_everywhere(file)


async def test_what_fired_before_it_begins_is_reported(recorded, tmp_path):
    past = await recorded("outage", seconds=FOUR_HOURS_SECONDS)
    file = tmp_path / "incident.test.yml"

    from_the_start = await captured(past.dsn, past.participant, RULES, f"--output-file={file}")
    in_the_middle = await captured(past.dsn, past.participant, RULES, f"--output-file={file}", minutes=(123.5, 170.9))

    assert "note:" not in from_the_start.output
    since = f"{BEGAN + timedelta(minutes=123):%Y-%m-%d %H:%M}"
    assert f"note: DictRateLimitBridgeNotAnswering had been firing since {since}" in in_the_middle.output
    assert "; in the test it begins again" in in_the_middle.output


@pytest.mark.prometheus
async def test_rules_that_look_back_are_captured_and_begin_with_no_past(recorded, tmp_path):
    past = await recorded("outage", seconds=FOUR_HOURS_SECONDS)
    rules = rule_file(
        tmp_path,
        "alert: OftenDown\nexpr: avg_over_time(dict_rate_limit_up[20m]) < 0.95\nlabels: {severity: warning}",
        "alert: Falling\nexpr: predict_linear(dict_rate_limit_available_tokens[10m], 600) < 0\n"
        "labels: {severity: info}",
        'alert: OftenFalling\nexpr: count_over_time(ALERTS{alertname="Falling"}[30m]) > 2\nlabels: {severity: warning}',
    )
    file = tmp_path / "incident.test.yml"

    result = await captured(past.dsn, past.participant, rules, f"--output-file={file}", minutes=(100, 170))

    assert "note: rules look back 30m; the test begins with no past: begin it as much earlier" in result.output
    assert expected_alerts(file)
    assert passes_everywhere(file)


@pytest.mark.prometheus
async def test_groups_and_what_templates_know_are_captured(recorded, tmp_path):
    past = await recorded("outage", seconds=FOUR_HOURS_SECONDS)
    rules = tmp_path / "rules.yml"
    rules.write_text("""
groups:
  - name: second in the alphabet
    labels: {severity: warning, region: "{{ $externalLabels.region }}"}
    limit: 50
    rules:
      - {alert: Down, expr: dict_rate_limit_up == 0, annotations: {link: "{{ $externalURL }}/x"}}
  - name: first
    query_offset: 30s
    labels: {severity: info}
    rules: [{alert: WasDown, expr: 'ALERTS{alertname="Down"} offset 1m'}]
""")
    file = tmp_path / "incident.test.yml"
    known = {
        "DICT_RATE_LIMIT_EXTERNAL_LABELS": "region=south",
        "DICT_RATE_LIMIT_ALERTMANAGER__EXTERNAL_URL": "https://pages.example.net",
    }

    result = await captured(past.dsn, past.participant, rules, f"--output-file={file}", minutes=(100, 170), **known)

    assert result.exit_code == 0, result.output
    assert "region: south" in file.read_text()
    assert "link: https://pages.example.net/x" in file.read_text()
    assert passes_everywhere(file)


@pytest.mark.prometheus
async def test_series_end_where_nobody_polled(database_dsn, tmp_path):
    simulation = Simulation("steady", interval_seconds=30)
    async with recorder(database_dsn, RULE_SET) as past:
        await past.take(await simulation.run(600))
        simulation.clock.advance(600)
        await past.take(await simulation.run(600))
    file = tmp_path / "incident.test.yml"

    await captured(database_dsn, "12345678", RULES, f"--output-file={file}", minutes=(0, 30))

    inputs = yaml.safe_load(file.read_text())["tests"][0]["input_series"]
    (up,) = [entry["values"] for entry in inputs if entry["series"].startswith("dict_rate_limit_up")]
    assert up == "1x21 stale _x17 1x19"
    assert passes_everywhere(file)


async def test_it_goes_to_stdout_and_names_the_rules_from_here(recorded, monkeypatch):
    past = await recorded("outage", seconds=600)
    monkeypatch.chdir(RULES.parent.parent)

    result = await captured(past.dsn, past.participant, minutes=(0, 10))

    assert yaml.safe_load(result.stdout)["rule_files"] == ["rules/dict-rate-limit.yml"]


async def test_it_names_the_rules_from_where_it_is(recorded, tmp_path):
    past = await recorded("outage", seconds=600)
    shutil.copy(RULES, tmp_path / "rules[1].yml")
    (tmp_path / "tests").mkdir()
    file = tmp_path / "tests" / "incident.test.yml"

    await captured(past.dsn, past.participant, tmp_path / "rules[1].yml", f"--output-file={file}", minutes=(0, 10))

    assert run_tests([str(file)])[0].passed


async def test_a_rule_that_asks_for_the_time_of_day_is_refused_with_that_reason(recorded, tmp_path):
    past = await recorded("outage", seconds=600)

    result = await captured(past.dsn, past.participant, rule_file(tmp_path, UP, AT_NIGHT), minutes=(0, 10))

    assert "rules.yml:7: LowAtNight asks for the time of day (`hour()`)" in str(result.exception)
    assert "promtool's clock starts at 1970-01-01" in str(result.exception)


@pytest.mark.prometheus
async def test_other_alerts_of_its_file_are_captured_nevertheless(recorded, tmp_path):
    past = await recorded("outage", seconds=FOUR_HOURS_SECONDS)
    file = tmp_path / "incident.test.yml"

    await captured(
        past.dsn, past.participant, rule_file(tmp_path, UP, AT_NIGHT), "--alert=Down", f"--output-file={file}"
    )

    assert expected_alerts(file) > 0
    assert passes_everywhere(file)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--alert=DictRateLimitTokenLow"], "did you mean DictRateLimitTokensLow?"),
        (["--policy=NO_SUCH"], "12345678 had no bucket NO_SUCH"),
        (["--interval=6m"], "at most 5m"),
        (["--output-file=/nowhere/x.test.yml"], "/nowhere/x.test.yml: cannot be written: No such file or directory"),
        (["--interval=1ms"], "600,000 evaluations are too many"),
        (["--participant=99999999"], "no poll of participant 99999999"),
    ],
)
async def test_what_cannot_be_captured_is_said(recorded, arguments, reason):
    past = await recorded("outage", seconds=600)

    result = await captured(past.dsn, past.participant, RULES, *arguments, minutes=(0, 10))

    assert reason in str(result.exception)


async def test_a_time_without_polls_is_said(recorded):
    past = await recorded("outage", seconds=600)

    result = await captured(past.dsn, past.participant, RULES, minutes=(-30, -20))

    assert "the database holds no poll of 12345678" in str(result.exception)


async def test_a_rule_that_fails_is_said(recorded, tmp_path):
    past = await recorded("outage", seconds=600)

    result = await captured(past.dsn, past.participant, rule_file(tmp_path, FAILS), minutes=(0, 10))

    assert "Twice fails 0s after the beginning" in str(result.exception)


async def test_the_end_comes_after_the_beginning(database_dsn):
    result = await captured(database_dsn, "12345678", RULES, minutes=(10, 10))

    assert result.exit_code == 2
    assert "--from" in result.output
