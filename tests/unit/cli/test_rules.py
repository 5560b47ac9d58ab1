from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner

from exporter.cli.main import cli
from exporter.rules.export import figures
from tests.support.program import RULES

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

WRONG = """\
groups:
  - name: g
    rules:
      - alert: A
        expr: dict_rate_limit_utilisation_percent > 80
        labels: {severity: warning}
"""
DOUBTFUL = WRONG.replace("utilisation", "utilization").replace("80", "180")
TESTS = """\
rule_files: [{rules}]
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - series: dict_rate_limit_up{{participant="12345678"}}
        values: 0x8
    alert_rule_test:
      - eval_time: 1m
        alertname: Down
        exp_alerts: [{expected}]
"""
DOWN = """\
groups:
  - name: g
    rules:
      - alert: Down
        expr: dict_rate_limit_up == 0
        for: 30s
        labels: {severity: critical}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def rule_file(tmp_path: Path):
    def write(text: str, name: str = "rules.yml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("form", ["prometheus", "kubernetes"])
def test_rules_are_exported_with_the_figures_that_notifications_show(rule_file, form):
    mine = rule_file(DOWN)
    own = rule_file("groups: [{name: own, rules: [{alert: Gone, expr: absent(up)}]}]", "own.yml")

    result = run("rules", "export", mine, "--also", own, "--format", form)

    document = yaml.safe_load(result.stdout)
    assert document.get("kind") == (None if form == "prometheus" else "PrometheusRule")
    down, gone = document.get("spec", document)["groups"]
    (rule,) = down["rules"]
    assert rule.pop("annotations") == figures("Down")
    assert rule == yaml.safe_load(DOWN)["groups"][0]["rules"][0]
    assert gone == yaml.safe_load(own.read_text())["groups"][0]
    assert result.stdout.startswith(f"# Made by dict-rate-limit rules export from {mine}, {own}: change these instead.")


def test_rules_that_are_wrong_are_not_exported(rule_file):
    assert str(run("rules", "export", rule_file(WRONG)).exception).startswith(str(rule_file(WRONG)))
    also = run("rules", "export", rule_file(DOWN), "--also", rule_file("a: 1", "own.yml"))
    assert "own.yml: is not a rule file: it has no list of groups" in str(also.exception)


def test_a_good_file_is_a_line_with_its_number_of_rules():
    result = run("rules", "check", RULES)

    assert result.exit_code == 0
    assert result.stdout == f"{RULES}: 11 rules found\n"


def test_an_error_is_told_with_file_line_group_and_rule(rule_file):
    path = rule_file(WRONG)

    result = run("rules", "check", path)

    assert result.exit_code == 1
    assert result.stdout.startswith(f"{path}:5: g/A: error: column 15: `dict_rate_limit_utilisation_percent`")
    assert "did you mean dict_rate_limit_utilization_percent?" in result.stdout
    assert result.stderr.startswith("1 error, ")


def test_warnings_fail_only_where_they_are_asked_to(rule_file):
    path = rule_file(DOUBTFUL)

    lenient, strict = run("rules", "check", path), run("rules", "check", "--lint-fatal", path)

    assert f"{path}:5: g/A: warning: " in lenient.stdout
    assert f"{path}: 1 rule found" in lenient.stdout
    assert (lenient.exit_code, strict.exit_code) == (0, 1)


LOOKING_BACK = DOWN.replace("dict_rate_limit_up == 0", "max_over_time(dict_rate_limit_utilization_percent[2h]) > 80")


def test_memory_for_rules_that_look_back_is_told(rule_file):
    rules = rule_file(LOOKING_BACK)

    assert run("rules", "check", rules).stdout.splitlines()[-1] == (
        "rules look back 2h at 1 metric: 1.3 MB of memory at most for each participant"
    )


def test_memory_is_that_of_the_participants_in_the_configuration(rule_file):
    rules = rule_file(LOOKING_BACK)
    config = rule_file(
        "participants: ['11111111', '22222222', '33333333']\n"
        "poll: {interval: 60s, reads: {share: 0}}\nrules: {max_range: 1h}\n",
        "config.yml",
    )

    refused = run("rules", "check", "--config.file", config, rules)
    assert refused.exit_code == 1
    assert "[2h])` looks 2h back" not in refused.stdout
    assert (
        "`dict_rate_limit_utilization_percent[2h]` looks 2h back, and rules.max_range is 1h: raise it" in refused.stdout
    )

    config.write_text(config.read_text().replace("1h", "3h"))
    result = run("rules", "check", "--config.file", config, rules, "--output=json")
    lookback = json.loads(result.stdout)["lookback"]
    assert lookback == {
        "seconds": 7200,
        "metrics": ["dict_rate_limit_utilization_percent"],
        "alert_series": [],
        "recorded": [],
        "participants": 3,
        "bytes": 3 * 8 * (120 + (120 + 30 + 64) * 31 + 30 + 64),
    }


def test_memory_for_alerts_is_that_of_one_about_each_bucket(rule_file):
    expr = "count_over_time(ALERTS{alertname='Down'}[1h]) > 5"
    config = rule_file("participants: ['11111111']\npoll: {interval: 60s, reads: {share: 0}}\n", "config.yml")

    result = run("rules", "check", "--config.file", config, rule_file(DOWN.replace("dict_rate_limit_up == 0", expr)))

    size = (60 + 64) * 31 * 16 / 1e6
    assert f"rules look back 1h at ALERTS: {size:.1f} MB of memory at most of 1 participant" in result.stdout


def test_memory_for_what_is_recorded_is_that_of_a_series_of_each_bucket(rule_file):
    rules = """\
    groups:
      - name: mine
        rules:
          - {record: "a:b", expr: dict_rate_limit_up}
          - {record: "a:b", expr: dict_rate_limit_up, labels: {x: y}}
          - {record: "c:d", expr: "max_over_time(a:b[1h])"}
    """
    config = rule_file("participants: ['11111111']\npoll: {interval: 60s, reads: {share: 0}}\n", "config.yml")

    result = run("rules", "check", "--config.file", config, rule_file(rules))

    size = 2 * (60 + 64) * 31 * 16 / 1e6
    told = f"rules look back 1h at 1 recorded metric: {size:.1f} MB of memory at most of 1 participant"
    assert told in result.stdout


SLIP = """'dict_rate_limit_capacity{participant="12345678", policy="X"} == 0'"""
SLIPS = DOWN.replace("dict_rate_limit_up == 0", SLIP)


def test_a_configuration_tells_the_participants_and_how_often_they_are_polled(rule_file):
    config = rule_file("participants: ['11111111']\npoll: {interval: 60s}\n", "config.yml")

    result = run("rules", "check", "--config.file", config, rule_file(SLIPS))

    assert '"12345678" is no participant of the configuration; they are 11111111 (lint/unknown_value)' in result.stdout
    assert "for: 30s is shorter than a poll (1m)" in result.stdout
    assert "lint/short_for" not in run("rules", "check", rule_file(SLIPS)).stdout


@pytest.mark.parametrize("dsn", ["postgresql://dict:secret@127.0.0.1:1/dict", "nonsense"])
def test_a_database_that_is_away_is_said_and_the_check_goes_on(rule_file, dsn):
    config = rule_file(f"database: {{dsn: '{dsn}'}}\n", "config.yml")

    result = run("rules", "check", "--config.file", config, rule_file(SLIPS))

    assert '"X" is no policy that BACEN publishes (lint/unknown_value)' in result.stdout
    assert "the database could not tell its policies, only those that BACEN publishes are known: " in result.stderr
    assert "secret" not in result.stderr
    assert result.exit_code == 0


def test_a_database_that_does_not_answer_is_not_waited_for(rule_file, monkeypatch):
    monkeypatch.setattr("exporter.cli.rules._PATIENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/dict"
        config = rule_file(f"database: {{dsn: '{dsn}'}}\n", "config.yml")

        result = run("rules", "check", "--config.file", config, rule_file(SLIPS))

    assert '"X" is no policy that BACEN publishes (lint/unknown_value)' in result.stdout
    assert "are known: no answer within 0.1 s" in result.stderr


def test_a_database_is_not_asked_where_every_value_is_known(rule_file):
    config = rule_file("database: {dsn: 'postgresql://127.0.0.1:1/dict'}\n", "config.yml")

    result = run("rules", "check", "--config.file", config, rule_file(DOWN))

    assert "database" not in result.stderr


def test_rules_that_look_at_the_present_take_no_memory(rule_file):
    result = run("rules", "check", rule_file(DOWN))

    assert "look back" not in result.stdout
    assert json.loads(run("rules", "check", rule_file(DOWN), "--output=json").stdout)["lookback"] is None


def test_findings_as_json(rule_file):
    path = rule_file(WRONG)

    result = run("rules", "check", "--output", "json", path)

    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert found["files"] == [{"file": str(path), "rules": 1}]
    assert (found["findings"][0]["line"], found["findings"][0]["severity"]) == (5, "error")
    assert [(one["severity"], one["check"]) for one in found["findings"]] == [("error", "")]


def test_a_warning_names_its_check(rule_file):
    path = rule_file(DOWN)

    as_text, as_json = run("rules", "check", path), run("rules", "check", "--output", "json", path)

    assert as_text.stdout.splitlines()[0].endswith("say what to do when it fires (lint/runbook)")
    assert [one["check"] for one in json.loads(as_json.stdout)["findings"]] == ["lint/runbook"]


def test_a_comment_disables_a_check(rule_file):
    path = rule_file(f"# dict-rate-limit: disable lint/runbook\n{DOWN}")

    assert run("rules", "check", "--lint-fatal", path).stdout == f"{path}: 1 rule found\n"


def test_files_named_like_patterns_are_files(rule_file):
    path = rule_file(DOWN, "rules[1].yml")

    assert f"{path}: 1 rule found" in run("rules", "check", path).stdout


@pytest.mark.parametrize("command", ["check", "test"])
@pytest.mark.parametrize("arguments", [[], ["no-such-file.yml"], ["--output", "xml", str(RULES)]])
def test_wrong_usage_is_exit_code_2(command, arguments):
    assert run("rules", command, *arguments).exit_code == 2


def test_a_passing_unit_test_is_told_as_promtool_tells_it(rule_file):
    rules = rule_file(DOWN)
    path = rule_file(
        TESTS.format(rules=rules, expected="{exp_labels: {participant: '12345678', severity: critical}}"), "t.yml"
    )

    result = run("rules", "test", path)

    assert result.exit_code == 0
    assert result.stdout == f"Processing test file: {path}\n  SUCCESS\n\n"


def test_a_failing_unit_test_shows_both_sides(rule_file):
    rules = rule_file(DOWN)
    path = rule_file(TESTS.format(rules=rules, expected=""), "t.yml")

    result = run("rules", "test", path)

    assert result.exit_code == 1
    assert "FAILED" in result.stdout
    assert "got:[" in result.stdout


def test_a_failing_unit_test_as_a_diff(rule_file):
    rules = rule_file(DOWN)
    path = rule_file(TESTS.format(rules=rules, expected=""), "t.yml")

    result = run("rules", "test", "--diff", path)

    assert "--- exp" in result.stdout
    assert "+++ got" in result.stdout


def test_verdicts_as_json(rule_file):
    rules = rule_file(DOWN)
    path = rule_file(TESTS.format(rules=rules, expected=""), "t.yml")

    result = run("rules", "test", "--output", "json", path)

    (told,) = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (told["file"], told["passed"]) == (str(path), False)
    assert told["failures"][0].startswith("alertname: Down, time: 1m")


def test_chosen_tests_are_run_and_written_as_junit_xml(rule_file, tmp_path):
    rule_file(DOWN)
    tests = rule_file(
        "rule_files: [rules.yml]\ntests:\n"
        "  - {name: right, alert_rule_test: [{eval_time: 0s, alertname: Down}]}\n"
        "  - {name: wrong, alert_rule_test: [{eval_time: 0s, alertname: Down, exp_alerts: [{}]}]}\n",
        "down.test.yml",
    )
    report = tmp_path / "report.xml"

    chosen = run("rules", "test", tests, "--run=^ri", "--run=nothing", f"--junit={report}")

    assert chosen.exit_code == 0, chosen.output
    assert '<testcase name="right" />' in report.read_text()
    assert "wrong" not in report.read_text()
    assert run("rules", "test", tests, f"--junit={report}").exit_code == 1
    assert '<testcase name="wrong"><failure>' in report.read_text()


def test_a_pattern_or_a_report_that_cannot_be_is_refused(rule_file, tmp_path):
    rule_file(DOWN)
    tests = rule_file("rule_files: [rules.yml]\n", "down.test.yml")

    pattern = run("rules", "test", tests, "--run=(")
    report = run("rules", "test", tests, f"--junit={tmp_path}/nowhere/report.xml")

    assert (pattern.exit_code, report.exit_code) == (2, 1)
    assert "Invalid value for --run: error parsing regexp: missing ): (" in pattern.output
    assert "nowhere/report.xml: cannot be written: No such file or directory" in str(report.exception)


@pytest.mark.parametrize("command", ["check", "test"])
def test_fields_that_are_not_known_are_taken_where_that_is_asked(rule_file, command):
    rules = rule_file(
        DOWN.replace("for: 30s", "for: 30s\n        owner: [pix]").replace("- name: g", "- name: g\n    a: b")
    )
    file = rules if command == "check" else rule_file("rule_files: [rules.yml]\n", "down.test.yml")

    refused = run("rules", command, file)

    assert refused.exit_code == 1
    assert "unknown field owner" in refused.output
    assert run("rules", command, file, "--ignore-unknown-fields").exit_code == 0


def test_what_is_not_covered_is_told_and_can_fail(rule_file):
    rule_file(DOWN)
    tests = rule_file(
        "rule_files: [rules.yml]\ntests: [{alert_rule_test: [{eval_time: 0s, alertname: Down}]}]\n", "down.test.yml"
    )

    told = run("rules", "test", tests, "--coverage")
    failed = run("rules", "test", tests, "--coverage-fail-under=50")
    as_json = json.loads(run("rules", "test", tests, "--coverage", "--output=json").stdout)

    assert told.exit_code == 0
    assert "rules.yml:4: g/Down: is never true\n0 of 1 part of rules covered, 0.0 %\n" in told.stdout
    assert failed.exit_code == 1
    assert "0.0 % of the rules are covered, less than 50 %" in failed.stderr
    assert as_json["coverage"]["percent"] == 0
    assert [part["kind"] for part in as_json["coverage"]["parts"]] == ["rule"]
    assert as_json["files"][0]["passed"]
