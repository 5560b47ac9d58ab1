"""Rules are reloaded when asked or when a file changed: all or nothing, whatever else is away."""

from __future__ import annotations

import signal

import httpx
import pytest

from tests.support import truth
from tests.support.program import RULES, Bridge, Program, wait_until

pytestmark = pytest.mark.postgres

ONE_RULE = """
groups:
- name: one
  rules:
  - alert: AlwaysThere
    expr: max by (participant) (dict_rate_limit_up) == 1
    labels: {severity: info}
"""


def rule_names(program: Program) -> list[str]:
    groups = program.get("/api/v1/rules")["data"]["groups"]
    return [rule["name"] for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("how", ["SIGHUP", "POST", "file"])
def test_new_rules_take_over_and_alerts_of_old_ones_resolve(tmp_path, start, database_dsn, how) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(ONE_RULE)
    bridge = start(Bridge(tmp_path))
    settings = {"DATABASE__DSN": database_dsn, "RULES__FILES": file, "WEB__ENABLE_LIFECYCLE": "true"}
    settings["RULES__RELOAD_INTERVAL"] = "1s" if how == "file" else "1h"
    program = start(Program("run", **bridge.settings, **settings)).ready()
    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "state = 'firing'") == 1)

    file.write_text(RULES.read_text())
    if how == "SIGHUP":
        program.process.send_signal(signal.SIGHUP)
    elif how == "POST":
        assert httpx.post(program.url + "/-/reload", timeout=30).status_code == 200

    wait_until(lambda: truth.count(database_dsn, "dict_rate_limit_alerts", "reason = 'rule_removed'") == 1)
    assert "DictRateLimitTokensLow" in rule_names(program)
    assert program.stop() == 0


def test_rules_are_reloaded_while_the_database_is_away(tmp_path, start, outage_postgres) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(ONE_RULE)
    bridge = start(Bridge(tmp_path))
    dsn = outage_postgres.database_dsn
    program = start(Program("run", **bridge.settings, DATABASE__DSN=dsn, RULES__FILES=file)).ready()
    wait_until(lambda: truth.count(dsn, "dict_rate_limit_alerts", "state = 'firing'") == 1)

    outage_postgres.stop()
    file.write_text(RULES.read_text())
    program.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "DictRateLimitTokensLow" in rule_names(program))
    outage_postgres.start()

    wait_until(lambda: truth.count(dsn, "dict_rate_limit_alerts", "reason = 'rule_removed'") == 1, within_seconds=60)
    assert program.stop() == 0
