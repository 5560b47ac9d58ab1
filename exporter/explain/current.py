"""Why the alerts about a bucket are, or aren't, firing now: from the current state of a process, without history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporter.alerts.alert import Alert, AlertState
from exporter.buckets.bucket import PolicyName
from exporter.buckets.observation import View
from exporter.explain.breakdown import break_down
from exporter.explain.explanation import Explanation
from exporter.history.episodes import Episode
from exporter.rules.promql.sources import ALERTS, BUCKET_GAUGE_BY_NAME, Moment, ViewSource
from exporter.rules.promql.traversal import selectors
from exporter.rules.rule import CompiledRule


def explain_current(
    rules: Sequence[CompiledRule],
    view: View,
    alerts: Sequence[Alert],
    policy: PolicyName,
    errors: Mapping[tuple[str, str], str],
) -> list[Explanation]:
    """Explains each rule that concerns the bucket, and those about its participant whose alert is open.

    ``alerts`` are the participant's open ones after the view's poll; ``errors`` are those of rules, by group and name,
    that could not be evaluated.
    """
    explanations: list[Explanation] = []
    source = ViewSource(view)
    for rule in rules:
        in_group = [alert for alert in alerts if alert.group == rule.group]
        subject = policy if rule.per_policy else None
        own: list[Alert | None] = [
            a for a in in_group if (a.name, a.severity, a.policy) == (rule.name, rule.severity, subject)
        ]
        moment = Moment(source, in_group, view.at.timestamp(), rule.unexpanded)
        explanations += (
            Explanation(
                rule=rule,
                view=view,
                policy=subject,
                alert=alert,
                is_true=alert is not None and alert.keep_firing_since is None,
                error=errors.get((rule.group, rule.name)),
                recorded=Episode.from_alert(alert) if alert is not None and alert.state is AlertState.FIRING else None,
                breakdown=break_down(rule.expression.tree, moment, subject),
                since=view.at,
            )
            for alert in own or [None] * concerns(rule, policy)
        )
    return explanations


def concerns(rule: CompiledRule, policy: PolicyName) -> bool:
    """Returns whether a rule is about single buckets, this one among them."""
    if not rule.per_policy:
        return False
    matchers = [
        [m.predicate() for m in s.matchers if m.label == "policy"]
        for s in selectors(rule.expression.tree)
        if s.metric in BUCKET_GAUGE_BY_NAME or s.metric == ALERTS
    ]
    return not matchers or any(all(test(policy) for test in tests) for tests in matchers)
