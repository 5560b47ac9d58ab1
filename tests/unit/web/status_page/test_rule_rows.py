"""The status page's table of rules."""

from __future__ import annotations

from exporter.alerts.alert import AlertState
from exporter.web.sources import CurrentState, RuleGroupStatus, RuleStatus
from exporter.web.status_page.rule_rows import rule_rows
from tests.support.builders import alert, at

RULE = RuleStatus("TokensLow", "dict_rate_limit_up == 0", 60.0, 120.0)


def test_rule_files_are_named_shortly():
    groups = [RuleGroupStatus("dict", "/etc/rules/a.yml", 0.0, [RULE])]

    [row] = rule_rows(CurrentState(at(0), {}, [], groups))

    assert (row.file, row.group.file) == ("a.yml", "/etc/rules/a.yml")


def test_rules_are_shown_with_the_number_of_their_alerts():
    groups = [RuleGroupStatus("dict", "rules/a.yml", 0.0, [RULE])]
    alerts = [alert(policy="A"), alert(policy="B"), alert(policy="C", state=AlertState.PENDING), alert(group="other")]

    [row] = rule_rows(CurrentState(at(0), {}, alerts, groups))

    assert (row.firing, row.pending) == (2, 1)
