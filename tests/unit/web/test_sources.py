"""Whether rules are evaluated as often as they should be."""

from __future__ import annotations

from exporter.web.sources import Evaluation, RuleGroupStatus, RuleStatus, last_evaluation
from tests.support.builders import PARTICIPANT, at, poll, view


def test_rules_are_current_for_three_polls_at_least_a_minute():
    views = {PARTICIPANT: view(poll())}
    (interval,) = {v.poll.interval_seconds for v in views.values()}
    rules = [
        RuleStatus("TokensLow", "dict_rate_limit_up == 0", 60.0, 120.0, evaluated_at=when) for when in (at(0), None)
    ]
    groups = [RuleGroupStatus("dict", "a.yml", 0.0, rules)]

    assert interval == 15.0
    assert last_evaluation(groups, views, at(60)) == Evaluation(at(0), current=True)
    assert last_evaluation(groups, views, at(61)) == Evaluation(at(0), current=False)
    assert last_evaluation([], views, at(61)) == Evaluation(None, current=True)
