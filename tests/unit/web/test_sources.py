"""Whether rules are evaluated as often as they should be."""

from __future__ import annotations

from exporter.web.sources import CurrentState, Evaluation, RuleGroupStatus, RuleStatus
from tests.support.builders import PARTICIPANT, at, poll, view


def test_rules_are_current_for_three_polls_at_least_a_minute():
    views = {PARTICIPANT: view(poll())}
    (interval,) = {v.poll.interval_seconds for v in views.values()}
    rules = [
        RuleStatus("TokensLow", "dict_rate_limit_up == 0", 60.0, 120.0, evaluated_at=when) for when in (at(0), None)
    ]
    groups = [RuleGroupStatus("dict", "a.yml", 0.0, rules)]

    assert interval == 15.0
    assert CurrentState(at(60), views, (), groups).evaluation == Evaluation(at(0), current=True)
    assert CurrentState(at(61), views, (), groups).evaluation == Evaluation(at(0), current=False)
    assert CurrentState(at(61), views).evaluation == Evaluation(None, current=True)
