"""Commands that ask the database, as a person types them."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
from datetime import datetime

import pytest
from psycopg.conninfo import make_conninfo

from exporter.alerts.alert import Severity
from exporter.store import migrations
from tests.support.builders import PARTICIPANT, alert, bucket, poll
from tests.support.commands import commands
from tests.support.postgres import HOSTILE_OPTIONS
from tests.support.program import RULES
from tests.support.rules import alert_rule, rule_file
from tests.support.stored import reconciled, stored

pytestmark = pytest.mark.postgres


@pytest.fixture
def command(monkeypatch, capsys):
    with commands(monkeypatch, capsys) as run:
        yield run


def test_migrate_goes_up_and_down_and_prints_each_step(command, empty_database) -> None:
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

    asked, _, said = await asyncio.to_thread(command, "migrate", "down", "--steps", "9", DATABASE__DSN=migrator_dsn)
    _, status, _ = await asyncio.to_thread(command, "migrate")
    done, undone, _ = await asyncio.to_thread(command, "migrate", "down", "--steps", "9", "--yes")

    assert asked == 2
    assert "this drops data permanently: " in said
    assert "0011_chain_transitions drops from dict_rate_limit_alert_transitions" in said
    assert "0010_know_categories drops from dict_rate_limit_reconciliations" in said
    assert "0017_keep_lowest_levels drops from dict_rate_limit_states" in said
    assert "dict_rate_limit_policies" not in said
    assert "--yes" in said
    assert "pending" not in status
    assert done == 0
    assert undone.splitlines() == [f"undone {step}" for step in map(str, migrations.migrations()[:8:-1])]


LOW = alert("TokensLow", annotations={"summary": 'low, or "nearly"\nso'})
EMPTY = alert("BucketEmpty", severity=Severity.CRITICAL, policy="KEYS_CHECK", seconds=60)
OTHER = alert("TokensLow", participant="00000002", seconds=120)
NEVER_FIRED = """
alert: NeverFired
expr: max by (participant) (dict_rate_limit_up) == 0
labels: {severity: info}
"""


async def record(dsn: str) -> None:
    """Three alerts: BucketEmpty has resolved after five minutes, the others are open."""
    buckets = (bucket(9), bucket(9, policy="KEYS_CHECK", capacity=70))
    async with stored(dsn) as store:
        await store.commit(reconciled(after=(LOW,), poll=poll(*buckets)))
        await store.commit(reconciled(60, before=(LOW,), after=(LOW, EMPTY), poll=poll(*buckets, seconds=60)))
        await store.commit(reconciled(120, after=(OTHER,), participant=OTHER.participant))
        await store.commit(reconciled(300, before=(LOW, EMPTY), after=(LOW,), poll=poll(*buckets, seconds=300)))


@pytest.fixture
async def listed(command, database_dsn):
    """Returns what `alerts` tells of them."""
    await record(database_dsn)

    async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(command, "alerts", *arguments, DATABASE__DSN=database_dsn, **environment)

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [OTHER, LOW]),
        (["--all"], [OTHER, EMPTY, LOW]),
        (["--participant", OTHER.participant], [OTHER]),
        (["--policy", "ENTRIES_WRITE"], [OTHER, LOW]),
        (["--all", "--policy", "KEYS_CHECK"], [EMPTY]),
        (["--alert", "TokensLow"], [OTHER, LOW]),
        (["--all", "--severity", "critical"], [EMPTY]),
        (["--since", "2026-03-10T12:04:59Z"], [OTHER, EMPTY, LOW]),
        (["--since", "2026-03-10T12:05:01Z"], [OTHER, LOW]),
        (["--until", "2026-03-10T12:02:00Z"], [EMPTY, LOW]),
        (["--since", "2026-03-10 09:00:30-03:00", "--until", "2026-03-10 12:01:30"], [EMPTY, LOW]),
        (["--limit", "1"], [OTHER]),
        (["--policy", "KEYS_CHECK"], []),
    ],
    ids=lambda given: " ".join(given) if given and isinstance(given[0], str) else "",
)
async def test_alerts_are_those_that_were_asked_for_the_newest_first(listed, arguments, expected) -> None:
    code, out, err = await listed("--output", "json", *arguments)

    assert code == 0
    assert [shown["fingerprint"] for shown in json.loads(out)] == [made.fingerprint for made in expected]
    assert ("Only the newest 1 are shown" in err) == ("--limit" in arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--participant", "87654321"], 1, "the database holds no poll of participant 87654321; it has 00000002, "),
        (["--participant", "123"], 2, "alerts: Invalid value for '--participant': '123' is not an ISPB: eight digits."),
        (["--policy", "KEYS_CHEK"], 1, "no participant has a bucket KEYS_CHEK; did you mean KEYS_CHECK?"),
        (["--alert", "TokenLow"], 1, "no alert is named TokenLow; did you mean TokensLow?"),
        (["--alert", "X"], 1, "no alert is named X; there are BucketEmpty, "),
        (["--severity", "critcal"], 2, "alerts: Invalid value for '--severity': 'critcal' is not one of "),
        (["--since", "soon"], 2, "alerts: Invalid value for '--since': 'soon' is not a time: write "),
        (["--since", "1h", "--until", "2h"], 2, "alerts: --since ("),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
async def test_a_name_that_nothing_has_is_an_error_with_the_nearest_one(listed, arguments, code, said) -> None:
    ended, out, err = await listed(*arguments)

    assert (ended, out) == (code, "")
    assert err.startswith(f"dict-rate-limit: {said}")
    assert err.count("\n") == 1


async def test_an_alert_that_has_not_fired_yet_is_known_by_its_rule(listed, tmp_path) -> None:
    code, out, _ = await listed("--alert", "NeverFired", RULES__FILES=rule_file(tmp_path, NEVER_FIRED))

    assert (code, out) == (0, "no alerts\n")


async def test_alerts_as_csv_are_what_json_says(listed) -> None:
    _, as_json, _ = await listed("--all", "--output", "json")
    _, as_csv, _ = await listed("--all", "--output", "csv")
    _, nothing, _ = await listed("--output", "csv", "--policy", "KEYS_CHECK")

    read = list(csv.DictReader(io.StringIO(as_csv, newline="")))
    header = as_csv.partition("\r\n")[0]
    assert nothing == header + "\r\n"
    assert [
        {name: json.loads(value) if name in ("labels", "annotations") else value or None for name, value in row.items()}
        for row in read
    ] == json.loads(as_json)
    assert {datetime.fromisoformat(row["active_since"]).utcoffset().total_seconds() for row in read} == {0}


async def test_commands_that_read_work_on_a_standby(command, outage_postgres, tmp_path, monkeypatch) -> None:
    await record(outage_postgres.database_dsn)
    outage_postgres.become_standby()
    monkeypatch.setenv("PGOPTIONS", HOSTILE_OPTIONS)
    file = tmp_path / "incident.test.yml"
    period = ("--participant", PARTICIPANT, "--from", "2026-03-10T12:00:00Z", "--to", "2026-03-10T12:05:01Z")
    read = [
        ("alerts", "--all"),
        ("audit", "verify"),
        ("explain", "DictRateLimitTokensLow", "--at", "2026-03-10T12:05:00Z", "--rules", str(RULES)),
        ("rules", "backtest", str(RULES), "--since", "2026-03-10T12:00:00Z", "--until", "2026-03-10T12:10:00Z"),
        ("rules", "capture", str(RULES), *period, "--output-file", str(file)),
        ("migrate", "status"),
    ]

    done = [
        await asyncio.to_thread(command, *arguments, DATABASE__DSN=outage_postgres.database_dsn) for arguments in read
    ]
    code, _, refused = await asyncio.to_thread(command, "migrate", "up", DATABASE__DSN=outage_postgres.migrator_dsn)

    assert [(arguments[0], ended, err) for arguments, (ended, _, err) in zip(read, done, strict=True) if ended] == []
    assert "BucketEmpty" in done[0][1]
    assert "none changed" in done[1][1]
    assert file.exists()
    assert (code, refused) == (1, "dict-rate-limit: the server takes no writes: it is a standby\n")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "wrong"}, 'password authentication failed for user "dict_rate_limit_writer"'),
        ({"dbname": "absent"}, 'database "absent" does not exist'),
        ({"user": "nobody"}, 'password authentication failed for user "nobody"'),
        ({"dbname": "postgres"}, "no pg_hba.conf entry for host"),
    ],
    ids=lambda given: " ".join(given.values()) if isinstance(given, dict) else "",
)
def test_a_connection_that_the_server_refuses_is_reported_in_its_words(command, outage_postgres, wrong, said) -> None:
    outage_postgres.require_passwords("superuser's", databases="dict_rate_limit,absent")
    dsn = make_conninfo(outage_postgres.database_dsn, **wrong)

    told = [
        command(*line.split(), DATABASE__DSN=dsn)
        for line in (
            "alerts",
            "audit verify",
            "migrate status",
            "migrate up",
            f"explain DictRateLimitTokensLow --rules {RULES}",
            f"rules backtest {RULES}",
            f"rules capture {RULES} --participant 12345678 --from 1h --to 0",
        )
    ]

    for code, out, err in told:
        assert (code, out) == (1, "")
        assert err.startswith("dict-rate-limit: PostgreSQL refused the connection: ")
        assert said in err
        assert err.count("\n") == 1


async def test_who_is_asked_and_says_no_ends_with_130_and_drops_nothing(migrator_dsn, database_dsn) -> None:
    async with stored(database_dsn) as store:
        await store.commit(reconciled(0, after=(alert(),)))
    terminal, stdin = os.openpty()

    os.write(terminal, b"n\n")
    ended = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "exporter", "migrate", "down", "--steps", "5"],
        check=False,
        capture_output=True,
        text=True,
        stdin=stdin,
        env={**os.environ, "DICT_RATE_LIMIT_DATABASE__DSN": migrator_dsn},
        timeout=60,
    )
    os.close(terminal)
    os.close(stdin)

    assert (ended.returncode, ended.stdout.count("undone")) == (130, 0)
    assert "this drops data permanently" in ended.stderr


async def test_rules_check_knows_the_policies_that_answers_have_held(command, database_dsn, tmp_path) -> None:
    async with stored(database_dsn) as store:
        await store.commit(reconciled(0, poll=poll(bucket(policy="OWN_POLICY"))))
        await store.rows("UPDATE dict_rate_limit_policies SET gone_at = now() RETURNING policy")  # it was, once
    config = tmp_path / "config.yml"
    config.write_text("participants: ['12345678']\n")

    def check(*selectors: str) -> str:
        rules = [alert_rule(f"dict_rate_limit_capacity{{{one}}} == 0") for one in selectors]
        arguments = ("rules", "check", "--config.file", str(config), rule_file(tmp_path, *rules))
        _, out, _ = command(*arguments, DATABASE__DSN=database_dsn)
        return "\n".join(line for line in out.splitlines() if "lint/unknown_value" in line)

    assert await asyncio.to_thread(check, 'policy="OWN_POLICY"', 'policy="KEYS_CHECK"') == ""
    told = await asyncio.to_thread(check, 'policy="OWN_POLICE"', 'policy="OWN_POLICY"')
    why = "is no policy that BACEN publishes or the database holds; did you mean OWN_POLICY?"
    assert told.count("lint/unknown_value") == 1
    assert f'"OWN_POLICE" {why}' in told
