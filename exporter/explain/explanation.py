"""Why an alert is, or isn't, firing: at a poll of the history, and now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from exporter.alerts.alert import Alert, AlertState, Evaluation, RuleSample, fingerprint
from exporter.alerts.history import History
from exporter.alerts.rule import alerting
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.buckets.gauges import PARTICIPANT_GAUGE_BY_NAME
from exporter.buckets.observation import View, view_after
from exporter.errors import DictRateLimitError
from exporter.explain.breakdown import NodeResult, break_down
from exporter.history.episodes import Episode, firing_at
from exporter.history.lookback import lookback, warm_up
from exporter.history.participants import nearest_or_all
from exporter.history.replay import Period, Replay
from exporter.history.rule_dependencies import with_dependencies
from exporter.rules.promql.series import POLICY
from exporter.rules.promql.sources import ALERTS_FOR_STATE, GaugeSource
from exporter.rules.promql.traversal import selectors
from exporter.rules.rule import AnyCompiledRule, CompiledAlertingRule
from exporter.store.reader import AlertFilter, Reader
from exporter.structures import did_you_mean

_INSTANT: Final = timedelta(microseconds=1)
"""The resolution of times in the database: a poll at the very time asked for is included."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The state of one alert after the view's poll.

    ``policy`` None: about the participant, or about every bucket. ``alert`` is the open one; ``is_true`` whether the
    expression returned it. ``error`` is that of a rule that could not be evaluated, ``stored`` the episode that the
    database has then. ``polls``, ``last_true_at`` and ``last_episode`` (the one before) are of the history from
    ``since`` on; 0 polls: the history was not read.
    """

    rule: CompiledAlertingRule
    view: View
    policy: PolicyName | None
    alert: Alert | None
    is_true: bool
    error: str | None
    stored: Episode | None
    breakdown: NodeResult
    since: datetime
    polls: int = 0
    last_true_at: datetime | None = None
    last_episode: Episode | None = None

    @property
    def state(self) -> str:
        """``firing``, ``pending`` or ``inactive``."""
        return self.alert.state.value if self.alert is not None else "inactive"


class NothingToExplain(DictRateLimitError):
    """There was no poll, or no such bucket."""


def find_rules(name: str, rules: Sequence[CompiledAlertingRule]) -> list[CompiledAlertingRule]:
    """Raises DictRateLimitError where there is none, with the nearest name."""
    selected = [rule for rule in rules if rule.name == name]
    if not selected:
        raise DictRateLimitError(
            f"no alerting rule is named {name}{nearest_or_all(name, {rule.name for rule in rules})}"
        )
    return selected


async def explain_all(
    reader: Reader,
    selected: Sequence[CompiledAlertingRule],
    rules: Sequence[AnyCompiledRule],
    participants: Sequence[Ispb],
    *,
    policy: str | None,
    at: datetime,
) -> list[Explanation]:
    """Explains the selected rules wherever an alert is open; where none is, for every participant.

    Raises as `explain` does where that is so of all of them.
    """
    explanations: list[Explanation] = []
    error: NothingToExplain | None = None
    for participant in participants:
        for rule in selected:
            try:
                explanations += await explain(reader, rule, rules, participant=participant, policy=policy, at=at)
            except NothingToExplain as nothing:
                error = nothing
    if not explanations and error is not None:
        raise error
    return [explanation for explanation in explanations if explanation.alert is not None] or explanations


async def explain(
    reader: Reader,
    rule: CompiledAlertingRule,
    rules: Sequence[AnyCompiledRule],
    *,
    participant: Ispb,
    policy: str | None,
    at: datetime,
) -> list[Explanation]:
    """Explains the rule at the participant's last poll that is not after ``at``.

    Without ``policy``, each open alert of the rule, or else all buckets at once.
    Raises NothingToExplain, DatabaseUnavailable.
    """
    needed = with_dependencies([rule], rules)
    since = at - warm_up([needed])
    names = {(r.name, r.severity) for r in alerting(needed)}
    of_participant = await reader.alerts(AlertFilter(include_resolved=True, participant=participant, since=since))
    alerts = [alert for alert in of_participant if (alert.name, alert.severity) in names]
    replay = _RuleReplay(rule, needed, list(firing_at(alerts, since)), since)
    async for poll in reader.polls(participant, since - lookback([needed]), at + _INSTANT, evaluated_only=True):
        replay.follow(view_after(replay.view, poll), evaluate_from=since)
    view = replay.view
    if view is None:
        raise NothingToExplain(f"the database holds no poll of {participant} from {Period(since, at)}")
    if policy is not None and policy not in replay.policies:
        hint = did_you_mean(policy, sorted(replay.policies))
        raise NothingToExplain(f"{participant} had no bucket {policy} then{hint}")
    subject = PolicyName(policy) if policy is not None and rule.per_policy else None
    episodes = [e for a in alerts if replay.owns(a) and (e := Episode.from_alert(a)) is not None]
    stored = [e for e in episodes if e.began_at <= view.at and (e.resolved_at is None or e.resolved_at > view.at)]
    own = [alert for alert in replay.alerts.values() if replay.owns(alert) and subject in {None, alert.policy}]
    own.sort(key=lambda alert: (alert.policy or "", alert.fingerprint))
    explanations = [replay.explain(view, alert, alert.policy, stored) for alert in own]
    return explanations or [replay.explain(view, None, subject, stored)]


@dataclass(slots=True)
class _Observed:
    """What a rule last looked at, and the samples that it returned."""

    alerts: Sequence[Alert] = ()
    history: History = field(default_factory=lambda: History({}))
    samples: Sequence[RuleSample] = ()


@dataclass(frozen=True, slots=True)
class _ObservedRule(CompiledAlertingRule):
    observed: _Observed = field(default_factory=_Observed, compare=False)

    def evaluate(self, view: View, alerts: Collection[Alert], history: History | None = None) -> list[RuleSample]:
        observed = self.observed
        observed.alerts, observed.samples = tuple(alerts), ()
        if history is not None:
            observed.history = history.as_it_is()
        observed.samples = samples = CompiledAlertingRule.evaluate(self, view, alerts, history)
        return samples


class _RuleReplay(Replay):
    """Replays polls through a rule and those that it depends on, up to the poll that is explained."""

    def __init__(
        self,
        rule: CompiledAlertingRule,
        rules: Sequence[AnyCompiledRule],
        open_alerts: Sequence[Alert],
        since: datetime,
    ) -> None:
        self.policies: set[str] = set()
        self._rule, self._observed = rule, _Observed()
        observed = rule.as_a(_ObservedRule, observed=self._observed)
        super().__init__([observed if r is rule else r for r in rules], open_alerts, since, is_stored=True)
        self._polls = 0
        self._true_at: dict[str | None, datetime] = {}
        self._error: str | None = None

    def owns(self, alert: Alert | Episode) -> bool:
        return (alert.name, alert.severity) == (self._rule.name, self._rule.severity)

    def step_to(self, view: View) -> Evaluation:
        evaluation = super().step_to(view)
        failures = (failure for failure in evaluation.failures if failure.kind == "alerting")
        errors = {(failure.group, failure.name): failure.message for failure in failures}
        self._error = errors.get((self._rule.group, self._rule.name))
        self._true_at |= dict.fromkeys((sample.labels.get(POLICY) for sample in self._observed.samples), view.at)
        self.policies.update(view.buckets)
        self._polls += 1
        return evaluation

    def explain(
        self, view: View, alert: Alert | None, policy: PolicyName | None, stored: Sequence[Episode]
    ) -> Explanation:
        def concerns(episode: Episode) -> bool:
            return self.owns(episode) and policy in {None, episode.policy}

        ended = [e for e in self.episodes.all() if e.resolved_at is not None and concerns(e)]
        rule, observed = self._rule, self._observed
        moment = rule.moment(GaugeSource(view, observed.history), observed.alerts)
        return Explanation(
            rule=rule,
            view=view,
            policy=policy,
            alert=alert,
            is_true=alert is not None and alert.fingerprint in {fingerprint(s.labels) for s in observed.samples},
            last_true_at=max((at for name, at in self._true_at.items() if policy in {None, name}), default=None),
            last_episode=max(ended, key=lambda e: e.began_at, default=None),
            since=self.episodes.since,
            polls=self._polls,
            error=self._error,
            stored=next(filter(concerns, stored), None),
            breakdown=break_down(rule.expression, moment, policy),
        )


def explain_current(
    rules: Sequence[CompiledAlertingRule],
    view: View,
    alerts: Sequence[Alert],
    policy: PolicyName,
    errors: Mapping[tuple[str, str], str],
    *,
    history: History | None = None,
) -> list[Explanation]:
    """Explains each rule that concerns the bucket, and those about its participant whose alert is open.

    ``alerts`` are the participant's open ones after the view's poll; ``errors`` are those of rules, by group and name,
    that could not be evaluated; ``history`` is what they look back at.
    """
    explanations: list[Explanation] = []
    source = GaugeSource(view, history)
    for rule in rules:
        subject = policy if rule.per_policy else None
        identity = rule.group, rule.name, rule.severity, subject
        own: list[Alert | None] = [a for a in alerts if (a.group, a.name, a.severity, a.policy) == identity]
        moment = rule.moment(source, alerts)
        explanations += (
            Explanation(
                rule=rule,
                view=view,
                policy=subject,
                alert=alert,
                is_true=alert is not None and alert.keep_firing_since is None,
                error=errors.get((rule.group, rule.name)),
                stored=Episode.from_alert(alert) if alert is not None and alert.state is AlertState.FIRING else None,
                breakdown=break_down(rule.expression, moment, subject),
                since=view.at,
            )
            for alert in own or [None] * concerns(rule, policy)
        )
    return explanations


def concerns(rule: CompiledAlertingRule, policy: PolicyName) -> bool:
    """Returns whether a rule is about single buckets, this one among them."""
    if not rule.per_policy:
        return False
    matchers = [
        [m.predicate() for m in s.matchers if m.label == "policy"]
        for s in selectors(rule.expression.tree)
        if s.metric not in PARTICIPANT_GAUGE_BY_NAME and s.metric != ALERTS_FOR_STATE
    ]
    return not matchers or any(all(test(policy) for test in tests) for tests in matchers)
