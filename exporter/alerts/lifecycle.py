"""The life of an alert: pending, firing, resolved, as in Prometheus' alerting rules.

Pure. One evaluation takes a participant's view and its open alerts through every
rule, in order: a rule sees, as ``ALERTS`` and under the names of ``record``, what the
rules before it have just made, and its own and later ones at the evaluation before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal

from exporter.alerts.alert import (
    Alert,
    AlertState,
    Evaluation,
    Fingerprint,
    Reason,
    RuleFailure,
    RuleSample,
    Transition,
    fingerprint,
)
from exporter.alerts.history import History
from exporter.alerts.rule import AlertingRule, RecordingRule, Rule, alerting
from exporter.alerts.rule_resolution import RuleResolution
from exporter.alerts.states import pending, resolved, updated
from exporter.alerts.writing import Writing
from exporter.alerts.written_series import RuleKey, WrittenSample
from exporter.buckets.bucket import PolicyName
from exporter.buckets.gauge_history import milliseconds
from exporter.buckets.observation import View
from exporter.errors import RuleEvaluationFailed

RulesBefore = Literal["same", "other", "unknown"]
"""The rules of the evaluation before: the same, others, or (after a start) one or the other."""

LONGEST_WINDOW: Final = timedelta(minutes=16)
"""An exporter that has polled for this long knows the figures of any bucket: refill periods of up to 15 minutes."""


def evaluate(
    rules: Sequence[Rule],
    view: View,
    open_alerts: Mapping[Fingerprint, Alert],
    *,
    history: History | None = None,
    before: RulesBefore = "same",
    is_stored: bool = False,
) -> Evaluation:
    """Returns what the view's poll makes of its participant's open alerts.

    ``history`` is what was shown of the participant, the view itself included (None: nothing else), and takes what
    the rules write; ``before`` says which rules the evaluation before was of; ``is_stored``: the database has a row of
    the poll, so that one that shows nothing new has changed an alert, of these rules or of others.
    An alert that did not change is the same object afterwards. A rule that fails
    leaves its alerts as they are; the others go on.
    """
    step = _Step(view, dict(open_alerts))
    resolution = RuleResolution(rules, open_alerts.values())
    step.end(resolution.without_rule, Reason.RULE_REMOVED)
    writing = Writing(history, milliseconds(view.at))
    for index, rule in enumerate(rules):
        if rule.kind == "recording":
            step.record(rule, resolution.recording_key(rule), history, writing)
            continue
        own = _evaluate(rule, index, step, resolution, history)
        for alert in resolution.inactive(index, rule):
            if before != "same" and step.is_replaced(alert, rules, before):
                step.end([alert], Reason.RULE_CHANGED)
            else:
                step.deactivate(resolution.rule_of(alert), alert)
        alerts = step.alerts_of(own)
        if writing.is_kept:
            writing.add(resolution.key(index, rule), rule, alerts if own is not None else None)
    if before != "same":
        step.transitions = [step.with_rule_changed(transition, rules, before) for transition in step.transitions]
    evaluation = Evaluation(
        step.alerts, tuple(step.transitions), tuple(step.failures), tuple(step.counts), writing.recorded
    )
    writing.end(has_changed=is_stored or evaluation.differs_from(open_alerts))
    return evaluation


def _evaluate(
    rule: AlertingRule, index: int, step: _Step, resolution: RuleResolution, history: History | None
) -> Collection[Fingerprint] | None:
    """Returns the rule's alerts, but for those that are inactive; None where it failed."""
    try:
        active = _by_fingerprint(rule.evaluate(step.view, step.visible(), history))
        if not active and not resolution.has_open(rule):
            return ()
        own = step.take(rule, active, resolution.others_of(rule, active), resolution.rule_id(index, rule))
    except RuleEvaluationFailed as error:
        step.fail(rule, error)
        resolution.note_failed(index, rule)
        return None
    resolution.note_active(rule, active.keys())
    return own


def lookback_ms(rules: Iterable[Rule]) -> dict[str, int]:
    """Returns how long the samples of which metrics are to be kept for rules, in milliseconds."""
    longest: dict[str, int] = {}
    for rule in rules:
        for metric, ms in rule.lookback_ms.items():
            longest[metric] = max(longest.get(metric, 0), ms)
    return longest


def remove_participant(open_alerts: Mapping[Fingerprint, Alert], at: datetime) -> tuple[Transition, ...]:
    """Returns the resolutions of what fires for a participant that is no longer watched."""
    return tuple(
        Transition(resolved(alert, at, Reason.PARTICIPANT_REMOVED), at, None, None, None)
        for alert in open_alerts.values()
        if alert.state is AlertState.FIRING
    )


class _Step:
    """One evaluation in progress."""

    def __init__(self, view: View, alerts: dict[Fingerprint, Alert]) -> None:
        self.alerts = alerts
        self.transitions: list[Transition] = []
        self.failures: list[RuleFailure] = []
        self.counts: list[int] = []
        self.view = view
        self._hidden: set[Fingerprint] = set()
        self._new: dict[str, list[Alert]] = defaultdict(list)
        self._at = view.at

    def record(self, rule: RecordingRule, key: RuleKey, history: History | None, writing: Writing) -> None:
        """Takes what a rule records."""
        samples: Sequence[WrittenSample] | None = None
        try:
            samples = rule.record(self.view, self.visible(), history)
        except RuleEvaluationFailed as error:
            self.fail(rule, error)
        try:
            writing.record(key, rule, samples)
        except RuleEvaluationFailed as error:
            self.fail(rule, error)
        self.counts.append(len(samples or ()))

    def fail(self, rule: Rule, error: RuleEvaluationFailed) -> None:
        self.failures.append(RuleFailure(rule.group, rule.name, str(error), rule.kind))

    def activate(self, rule: AlertingRule, identity: Fingerprint, sample: RuleSample, rule_id: int | None) -> None:
        """The condition is true."""
        before = self.alerts.get(identity)
        if before is not None and before.state is AlertState.PENDING and before.active_since > self._at:
            before = None  # its clock was wrong, and it would wait for that time
        if before is None:
            alert = pending(rule, identity, sample, self._at)
            self._new[alert.name].append(alert)
        else:
            alert = updated(before, rule, sample)
        if alert.rule_id != rule_id:
            alert = replace(alert, rule_id=rule_id)
        waited_seconds = (self._at - alert.active_since).total_seconds()
        if alert.state is AlertState.PENDING and waited_seconds >= rule.for_seconds:
            alert = replace(alert, state=AlertState.FIRING, firing_since=self._at)
            self._add_transition(alert)
        self.alerts[identity] = alert

    def deactivate(self, rule: AlertingRule, alert: Alert) -> None:
        """The condition is no longer true: ``keep_firing_for`` begins, goes on, or is over.

        It may still be true where an exporter, which has started since the alert began, has no data yet,
        or where the answer's figures of the bucket were refused.
        """
        kept = self._kept(rule, alert)
        if kept is None:
            self.end([alert], self._reason(rule, alert.policy))
        else:
            self.alerts[alert.fingerprint] = kept

    def visible(self) -> Collection[Alert]:
        """Returns the open alerts, without those that are over unless another rule of their name raises them."""
        if not self._hidden:
            return self.alerts.values()
        return [alert for identity, alert in self.alerts.items() if identity not in self._hidden]

    def take(
        self, rule: AlertingRule, active: Mapping[Fingerprint, RuleSample], others: Iterable[Alert], rule_id: int | None
    ) -> Collection[Fingerprint]:
        """Takes what a rule found, beside its ``others`` of before, and returns its alerts from now on.

        Raises RuleEvaluationFailed where these are more than the rule's limit.
        """
        is_kept = {alert.fingerprint: self._kept(rule, alert) is not None for alert in others}
        own = active.keys() | {identity for identity, kept in is_kept.items() if kept}
        if len(own) > rule.limit > 0:
            raise RuleEvaluationFailed(f"exceeded limit of {rule.limit} with {len(own)} alerts")
        for identity, sample in active.items():
            self.activate(rule, identity, sample, rule_id)
            self._hidden.discard(identity)
        if rule_id is not None:
            self._hidden.update(is_kept.keys() - own)
        return own

    def alerts_of(self, own: Collection[Fingerprint] | None) -> list[Alert]:
        """Counts a rule's alerts, and returns them; of one that failed (None) there are none."""
        alerts = [self.alerts[identity] for identity in own or () if identity in self.alerts]
        self.counts.append(len(alerts))
        return alerts

    def _kept(self, rule: AlertingRule, alert: Alert) -> Alert | None:
        """Returns an alert whose condition is no longer true; None where it ends."""
        may_be_true = self._is_older_than_memory(alert) or self._is_refused(alert)
        if may_be_true and self._reason(rule, alert.policy) is Reason.NO_DATA:
            return alert
        if alert.state is AlertState.FIRING and rule.keep_firing_for_seconds > 0:
            since = min(alert.keep_firing_since or self._at, self._at)
            if (self._at - since).total_seconds() < rule.keep_firing_for_seconds:
                return alert if alert.keep_firing_since == since else replace(alert, keep_firing_since=since)
        return None

    def end(self, alerts: Sequence[Alert], reason: Reason) -> None:
        """A pending alert leaves no trace; a firing one resolves."""
        for alert in alerts:
            del self.alerts[alert.fingerprint]
            if alert.state is AlertState.FIRING:
                self._add_transition(resolved(alert, self._at, reason))

    def with_rule_changed(self, transition: Transition, rules: Sequence[Rule], before: RulesBefore) -> Transition:
        """Returns a resolution with the reason that its rule changed, where another alert has taken its place."""
        ended = transition.alert
        if ended.state is AlertState.RESOLVED and self.is_replaced(ended, rules, before):
            return replace(transition, alert=replace(ended, reason=Reason.RULE_CHANGED))
        return transition

    def is_replaced(self, ended: Alert, rules: Sequence[Rule], before: RulesBefore) -> bool:
        """Whether an alert of its name has just begun for its bucket that only a change of its rule can explain."""
        new = [
            alert
            for alert in self._new.get(ended.name, ())
            if alert.policy == ended.policy or None in (alert.policy, ended.policy)
        ]
        if not new:
            return False
        if before == "other" and any(alert.severity == ended.severity for alert in new):
            return True
        is_ruled_out = not any(
            rule.name == ended.name and rule.fixed_labels.items() <= ended.labels.items() for rule in alerting(rules)
        )
        return is_ruled_out or any(alert.labels.keys() != ended.labels.keys() for alert in new)

    def _is_refused(self, alert: Alert) -> bool:
        return alert.state is AlertState.FIRING and alert.policy in self.view.refused

    def _is_older_than_memory(self, alert: Alert) -> bool:
        began_at = self.view.poll.stream_began_at
        return began_at is not None and alert.active_since < began_at and self._at - began_at < LONGEST_WINDOW

    def _reason(self, rule: AlertingRule, policy: PolicyName | None) -> Reason:
        view = self.view
        if policy is None:
            return Reason.RECOVERED if view.up and rule.has_data(view, None) else Reason.NO_DATA
        if policy in view.buckets:
            return Reason.RECOVERED if rule.has_data(view, policy) else Reason.NO_DATA
        return Reason.POLICY_GONE if view.up and policy not in view.refused else Reason.NO_DATA

    def _add_transition(self, alert: Alert) -> None:
        visible = self.view.buckets.get(alert.policy) if alert.policy is not None else None
        self.transitions.append(
            Transition(
                alert,
                self._at,
                self.view.category,
                visible.observation if visible else None,
                visible.observed_at if visible else None,
            )
        )


def _by_fingerprint(samples: Sequence[RuleSample]) -> dict[Fingerprint, RuleSample]:
    try:
        by_fingerprint = {fingerprint(sample.labels): sample for sample in samples}
    except UnicodeEncodeError:
        raise RuleEvaluationFailed("a label is not UTF-8") from None
    if len(by_fingerprint) < len(samples):
        raise RuleEvaluationFailed("two samples give one label set after applying the alert's labels")
    return by_fingerprint
