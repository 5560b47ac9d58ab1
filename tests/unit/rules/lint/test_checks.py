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
BAD_RULES = {
    "lint/runbook": [rule(UP, annotations="")],
    "lint/outage_branch": [rule(f"dict_rate_limit_capacity and on (participant) {UP} == 1")],
    "lint/stale_threshold": [rule("dict_rate_limit_capacity < 5 or ALERTS{alertname='A'}")],
    "lint/impossible_comparison": [rule(f"{UP} == 2")],
    "lint/unknown_alert": [rule(f"{UP} unless on (participant) ALERTS{{alertname='B'}}")],
    "lint/unknown_label": [rule(f"max by (participant, polcy) ({UP})")],
    "lint/scraped_label": [rule(f"{UP}{{job='dict'}}")],
    "lint/value_label": [rule(UP, labels='severity: info, worth: "{{ $value }}"')],
    "lint/empty_template_label": [rule(UP, annotations='runbook_url: "{{ $labels.policy }}"')],
    "lint/duplicate_rule": [rule(UP), rule(UP)],
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
