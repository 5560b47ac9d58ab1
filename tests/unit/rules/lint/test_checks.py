"""Every check is registered, finds what it is for, and is described in docs/rules.md."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

from exporter.rules.files.loading import attempt
from exporter.rules.lint import checks
from exporter.rules.lint.linter import CHECKS, UNKNOWN_CHECK, warnings
from tests.support.rules import rule_file

GUIDE = Path(__file__).parents[4] / "docs" / "rules.md"


def rule(expr: str, labels: str = "severity: info", annotations: str = "runbook_url: here") -> str:
    return f"alert: A\nexpr: {expr}\nlabels: {{{labels}}}\nannotations: {{{annotations}}}"


UP = "dict_rate_limit_up"
DOWN = f"{UP} == 0"
HELD = f"(ALERTS{{alertname='A'}} and on (participant) {DOWN})"
BAD_RULES = {
    "lint/runbook": [rule(DOWN, annotations="")],
    "lint/outage_branch": [rule(f"dict_rate_limit_capacity < 5 and on (participant) {UP} == 1")],
    "lint/stale_threshold": [rule(f"dict_rate_limit_capacity < 5 or {HELD}")],
    "lint/never_resolves": [rule(f"{DOWN} or on (participant) ALERTS{{alertname='A'}}")],
    "lint/no_condition": [rule(f"max by (participant) ({UP}) and {UP} == 1")],
    "lint/impossible_comparison": [rule(f"{UP} == 2")],
    "lint/unit": [rule("dict_rate_limit_last_success_timestamp_seconds < 60")],
    "lint/unmatched_sides": [rule(f"{DOWN} unless ALERTS{{alertname='A'}}")],
    "lint/never_absent": [rule(f"absent({UP}{{participant='12345678'}})")],
    "lint/no_samples": [rule(f"{DOWN} and {UP} @ 1609746000 == 0")],
    "lint/short_range": [rule(f"changes({UP}[10s]) > 0")],
    "lint/short_for": [f"{rule(DOWN)}\nfor: 5s"],
    "lint/unknown_alert": [rule(f"{DOWN} unless on (participant) ALERTS{{alertname='B'}}")],
    "lint/unknown_label": [rule(f"max by (participant, polcy) ({DOWN})")],
    "lint/unknown_value": [rule(f"{UP}{{participant='1234567'}} == 0")],
    "lint/regular_expression": [rule(f"{UP}{{participant=~'.*'}} == 0")],
    "lint/scraped_label": [rule(f"{UP}{{job='dict'}} == 0")],
    "lint/value_label": [rule(DOWN, labels='severity: info, worth: "{{ $value }}"')],
    "lint/empty_template_label": [rule(DOWN, annotations='runbook_url: "{{ $labels.policy }}"')],
    "lint/duplicate_rule": [rule(DOWN), rule(DOWN)],
    "lint/record_name": [f"record: up_min\nexpr: {UP}"],
    "lint/record_template": [f"record: a:b\nexpr: {UP}\nlabels: {{a: '{{{{ $value }}}}'}}"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_finds_what_it_is_for_and_nothing_else_is_found(tmp_path: Path, name: str) -> None:
    findings = warnings(attempt([rule_file(tmp_path, *BAD_RULES[name])]))

    assert {finding.check for finding in findings} == {name}
    assert all(str(finding).endswith(f" ({name})") for finding in findings)


def test_each_module_that_checks_is_registered_by_its_name() -> None:
    assert {f"lint/{module.name}" for module in pkgutil.iter_modules(checks.__path__)} == set(CHECKS)


def test_the_guide_has_a_row_for_each_check() -> None:
    section = GUIDE.read_text("utf-8").partition("\n## Checks\n")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `(lint/\w+)` \|", section, re.MULTILINE) == [*CHECKS, UNKNOWN_CHECK]


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        ('ALERTS{alertname="Loww"}', "; did you mean Low?"),
        ('ALERTS_FOR_STATE{alertname="Loww"}', "; did you mean Low?"),
        ('ALERTS{alertname=~"Nothing.*"}', ""),
        ('ALERTS{alertname=~".+", alertname!~"Low|Other"}', ""),
        ('ALERTS{alertname="Low", alertname!="Low"}', ""),
        ('ALERTS{alertname="Low"}', None),
        ('ALERTS{alertname=~"L.*"}', None),
        ('ALERTS{alertname!="Low"}', None),
        ("ALERTS", None),
        ('ALERTS{severity="critical"}', None),
    ],
)
def test_alerts_that_no_rule_raises_are_told(tmp_path: Path, selector: str, told: str | None) -> None:
    other = rule(f"{UP} unless on (participant) {selector}").replace("alert: A", "alert: Other")
    rule_file(tmp_path, rule(UP).replace("alert: A", "alert: Low"), name="a.yml", group="a")
    rule_file(tmp_path, other, name="b.yml", group="b")

    found = [one for one in warnings(attempt([str(tmp_path / "*.yml")])) if one.check == "lint/unknown_alert"]

    expected = (
        [] if told is None else [f"`{selector}` selects nothing here: no rule raises an alert of that name{told}"]
    )
    assert [one.message for one in found] == expected


def test_what_is_wrong_with_a_label_of_a_group_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(
        "groups:\n  - name: g\n    labels: {severity: info, at: '{{ $value }}'}\n    rules:\n"
        + "".join(f"      - {{alert: {name}, expr: {UP} == 0, annotations: {{runbook_url: x}}}}\n" for name in "ABC")
    )

    [found] = [one for one in warnings(attempt([str(tmp_path / "rules.yml")])) if one.check == "lint/value_label"]

    assert (found.line, found.group, found.rule) == (3, "g", "")


def record(name: str, expr: str, *more: str) -> str:
    return "\n".join((f"record: '{name}'", f"expr: {expr}", *more))


def found(folder: Path, *texts: str) -> dict[str, str]:
    """What is found, by check."""
    return {one.check: one.message for one in warnings(attempt([rule_file(folder, *texts)]))}


def test_of_rules_that_record_nothing_is_asked_that_concerns_alerts(tmp_path: Path) -> None:
    assert not found(tmp_path, record("a:b", "dict_rate_limit_capacity < 5", "labels: {severity: info}"))


def test_rules_that_record_the_same_series_are_told(tmp_path: Path) -> None:
    told = found(tmp_path, record("a:b", UP), record("a:b", f"{UP} == 0"))

    assert told == {
        "lint/duplicate_rule": "is defined again in line 4, with the same labels: their series are one and the same"
    }
    assert not found(tmp_path, record("a:b", UP), record("a:b", UP, "labels: {x: y}"))


def test_an_alert_may_have_the_name_of_what_is_recorded(tmp_path: Path) -> None:
    assert set(found(tmp_path, record("A", UP, "labels: {severity: info}"), rule(DOWN))) == {"lint/record_name"}


def test_an_alert_on_recorded_figures_needs_what_one_on_figures_does(tmp_path: Path) -> None:
    records = record("a:b", "max by (participant, policy) (dict_rate_limit_capacity)"), record("c:d", "a:b")
    outage = f"ALERTS{{alertname='A', alertstate='firing'}} and on (participant) {UP} == 0"

    assert set(found(tmp_path, *records, rule("c:d < 5"))) == {"lint/outage_branch", "lint/stale_threshold"}
    answered = rule(f"c:d < 5 and on (participant) {UP} == 1 or ({outage})")
    assert not found(tmp_path, *records, answered)
    assert not found(tmp_path, record("a:b", UP), rule("a:b == 0"))
    holds_itself = record("c:d", f"a:b and on (participant) {UP} == 1 or c:d")
    assert not found(tmp_path, records[0], holds_itself, rule("c:d < 5"))


def test_labels_that_what_is_recorded_can_have_are_known(tmp_path: Path) -> None:
    records = record("a:b", f"label_replace({UP}, 'zone', 'x', '', '')", "labels: {team: pix}"), record("c:d", "a:b")

    assert not found(tmp_path, *records, rule("max by (participant, zone, team) (c:d) == 0"))
    told = found(tmp_path, *records, rule("max by (participant, zon) (c:d) == 0"))
    assert told == {
        "lint/unknown_label": "`max by (participant, zon) (c:d)`: no series here has a label zon; did you mean zone?"
    }


def test_a_label_that_is_taken_away_is_none_of_what_is_recorded(tmp_path: Path) -> None:
    records = record("a:b", f"{UP} * on (participant) group_right () dict_rate_limit_capacity", "labels: {policy: ''}")

    told = found(tmp_path, records, rule("a:b == 0 or ALERTS", annotations="runbook_url: '{{ $labels.policy }}'"))
    assert "lint/empty_template_label" not in told, "alerts have it"
    outage = f"max by (participant) (ALERTS{{alertname='A'}} and on (participant) {UP} == 0)"
    alert = rule(f"max by (participant, policy) (a:b) == 0 or {outage}")
    assert "lint/unknown_label" in found(tmp_path, records, alert)
    told = found(tmp_path, records, rule("max by (participant, policy) (a:b) == 0"))
    assert told["lint/unknown_label"] == "`max by (participant, policy) (a:b)`: no series here has a label policy"


def test_nothing_is_said_of_labels_of_what_a_rule_would_record_that_is_refused(tmp_path: Path) -> None:
    made = rule("max by (participant, zone) (a:b) == 0", annotations="runbook_url: '{{ $labels.zone }}'")

    assert not found(tmp_path, record("a:b", "vector(1)"), made)


def test_labels_that_a_rule_sets_are_not_only_prometheus_own(tmp_path: Path) -> None:
    records = record("a:b", UP, "labels: {job: bridge, zone: x}"), record("c:d", "a:b{job='bridge'}")

    assert not found(tmp_path, *records)
    of_alert = rule("a:b == 0 unless on (participant) ALERTS{alertname='A', zone='x'}")
    assert not found(tmp_path, *records, of_alert)


def test_a_label_that_is_empty_tells_no_rule_from_another(tmp_path: Path) -> None:
    assert set(found(tmp_path, record("a:b", UP), record("a:b", UP, "labels: {x: ''}"))) == {"lint/duplicate_rule"}


def test_many_rules_that_are_made_of_each_other_twice_are_checked_at_once(tmp_path: Path) -> None:
    twice = [record(f"r:{n}", f"r:{n - 1} / on (participant, policy) (r:{n - 1} + 1)") for n in range(1, 40)]

    told = found(tmp_path, record("r:0", "dict_rate_limit_capacity"), *twice, rule("r:39 < 5"))
    assert set(told) == {"lint/outage_branch", "lint/stale_threshold"}
