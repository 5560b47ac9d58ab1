"""What a reconciler answers to probes and pages: its dependencies, its rules, and why alerts are as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from exporter.alerts.alert import Alert
from exporter.buckets.bucket import PolicyName
from exporter.buckets.observation import View
from exporter.config.secrets import without_secrets
from exporter.explain.explanation import explain_current
from exporter.explain.sentences import sentences
from exporter.feed.client import FeedClient
from exporter.health import Dependency
from exporter.reconciler.histories import Histories
from exporter.reconciler.leadership import Leadership, LeadershipState
from exporter.reconciler.rule_health import RuleHealthTracker
from exporter.reconciler.rules_in_force import RulesInForce
from exporter.relay.relay import Relay
from exporter.rules.files.loading import RuleSet
from exporter.rules.rule import AnyCompiledRule
from exporter.web.sources import RuleExplainer, RuleExplanation, RuleGroupStatus, RuleStatus

if TYPE_CHECKING:
    from exporter.notifier.notifier import Notifier


def database(leadership: Leadership) -> Dependency:
    """Returns whether the database can be used, and what this process is among its peers."""
    reached = leadership.state in (LeadershipState.LEADING, LeadershipState.WAITING)
    message = leadership.state.value
    if leadership.state is LeadershipState.WAITING and leadership.lease.leader:
        message += f": {leadership.lease.leader} leads"
    if leadership.error is not None:
        message += f": {leadership.error}"
    return Dependency("database", ok=reached, message=message)


def feed(clients: Sequence[FeedClient], leadership: Leadership) -> Dependency:
    """Returns whether all exporters are followed."""
    if leadership.state not in (LeadershipState.LEADING, LeadershipState.DATABASE_UNUSABLE):
        return Dependency("feed", ok=True, message="another process follows, or none does yet")
    away = [client.target for client in clients if not client.connected]
    message = f"{len(clients) - len(away)} of {len(clients)} exporters followed"
    if away:
        message += f"; not followed: {', '.join(away)}"
    return Dependency("feed", ok=not away, message=message)


def broker(relay: Relay | None, *, configured: bool) -> Dependency:
    """Returns whether Pulsar can be used, as far as this process relays."""
    if not configured:
        return Dependency("broker", ok=True, message="none configured: events stay in the outbox")
    if relay is None:
        return Dependency("broker", ok=True, message="another process relays, or none does yet")
    return Dependency("broker", ok=relay.message is None, message=relay.message or "ok")


def alertmanagers(notifier: Notifier | None) -> Dependency:
    """Returns whether every Alertmanager takes alerts, as far as this process sends any."""
    if notifier is None:
        return Dependency("alertmanager", ok=True, message="another process sends, or none does yet")
    targets = notifier.targets
    away = [f"{without_secrets(target.url)}: {target.message}" for target in targets if target.message is not None]
    message = f"{len(targets) - len(away)} of {len(targets)} take alerts; {'; '.join(away)}" if away else "ok"
    return Dependency("alertmanager", ok=not away, message=message)


def rule_groups(rule_set: RuleSet, health: RuleHealthTracker) -> list[RuleGroupStatus]:
    """Returns the rules in force with how each last went."""
    return [
        RuleGroupStatus(g.name, g.file, g.interval_seconds or 0.0, [_rule(rule, health) for rule in g.rules], g.limit)
        for g in rule_set.groups
    ]


def _rule(rule: AnyCompiledRule, healths: RuleHealthTracker) -> RuleStatus:
    health = healths.of(rule)
    evaluated = health.evaluated_at is not None
    status = RuleStatus(
        name=rule.name,
        expr=rule.expr,
        health="unknown" if not evaluated else "ok" if health.error is None else "err",
        last_error=health.error or "",
        evaluated_at=health.evaluated_at,
        duration_seconds=health.duration_seconds,
        unmatched_selectors=health.unmatched_selectors,
        kind=rule.kind,
    )
    if rule.kind == "recording":
        return replace(status, labels=rule.labels)
    return replace(
        status,
        for_seconds=rule.for_seconds,
        keep_firing_for_seconds=rule.keep_firing_for_seconds,
        labels={name: template.text for name, template in rule.labels.items()},
        annotations={name: template.text for name, template in rule.annotations.items()},
    )


def explainer(rules: RulesInForce, histories: Histories) -> RuleExplainer:
    """Returns what explains to the pages each rule that looks at a bucket."""

    def explain(
        view: View, alerts: Sequence[Alert], policy: PolicyName, failing: Mapping[tuple[str, str], str], now: datetime
    ) -> list[RuleExplanation]:
        return [
            RuleExplanation(why.rule.name, why.rule.severity, why.state, list(sentences(why, now)))
            for why in explain_current(
                rules.rule_set.alerting, view, alerts, policy, failing, history=histories.of(view.participant)
            )
        ]

    return explain
