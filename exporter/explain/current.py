"""Why the alerts about a bucket stand as they do now: from what a process knows, without its past."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.alerts.alert import AlertState
from exporter.explain.breakdown import apart
from exporter.explain.explanation import Explanation
from exporter.history.episodes import Episode
from exporter.rules.promql.sources import ALERTS, BUCKET_GAUGE_BY_NAME, Moment, ViewSource
from exporter.rules.promql.traversal import selectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.alerts.alert import Alert
    from exporter.buckets.bucket import PolicyName
    from exporter.buckets.observation import View
    from exporter.rules.rule import CompiledRule


def standing(
    rules: Sequence[CompiledRule],
    view: View,
    alerts: Sequence[Alert],
    policy: PolicyName,
    failing: Mapping[tuple[str, str], str],
) -> list[Explanation]:
    """Explains each rule that looks at the bucket, and those about its participant whose alert is open.

    ``alerts`` are the participant's open ones after the view's poll; ``failing`` is what
    rules (group, name) said that could not be evaluated. The past is looked at by none: ``polls`` is 0.
    """
    found: list[Explanation] = []
    source = ViewSource(view)
    for rule in rules:
        shown = [alert for alert in alerts if alert.group == rule.group]
        about = policy if rule.per_policy else None
        own = [a for a in shown if (a.name, a.severity, a.policy) == (rule.name, rule.severity, about)]
        subjects: Sequence[Alert | None] = own or ([None] if looks_at(rule, policy) else [])
        for alert in subjects:
            moment = Moment(source, shown, view.at.timestamp(), rule.unexpanded)
            fires = alert is not None and alert.state is AlertState.FIRING
            found.append(
                Explanation(
                    rule=rule,
                    view=view,
                    policy=about,
                    alert=alert,
                    true=alert is not None and alert.keep_firing_since is None,
                    last_true_at=None,
                    last=None,
                    since=view.at,
                    polls=0,
                    failed=failing.get((rule.group, rule.name)),
                    recorded=Episode.of(alert) if fires and alert is not None else None,
                    part=apart(rule.expression.tree, moment, about),
                )
            )
    return found


def looks_at(rule: CompiledRule, policy: PolicyName) -> bool:
    """Returns whether a rule is about single buckets, this one among them."""
    if not rule.per_policy:
        return False
    matchers = [
        [m.predicate() for m in s.matchers if m.label == "policy"]
        for s in selectors(rule.expression.tree)
        if s.metric in BUCKET_GAUGE_BY_NAME or s.metric == ALERTS
    ]
    return not matchers or any(all(test(policy) for test in tests) for tests in matchers)
