"""The life of an alert: pending, firing, resolved, as in Prometheus' alerting rules.

Pure. One evaluation takes a participant's view and its open alerts through every
rule, in order: a rule sees, as ``ALERTS``, what the rules before it in its group
have just made of theirs, and what its own and later ones were at the evaluation
before.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

from exporter.alerts.alert import (
    Alert,
    AlertState,
    Evaluation,
    Fingerprint,
    Reason,
    RuleFailure,
    Transition,
    fingerprint,
)
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.errors import RuleEvaluationFailed

RulesBefore = Literal["same", "other", "unknown"]
"""The rules of the evaluation before: the same, others, or (after a start) one or the other."""

LONGEST_WINDOW: Final = timedelta(minutes=16)
"""Figures of any bucket are known when an exporter has polled for so long: whole refill periods of up to 15 minutes."""

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from exporter.alerts.alert import Rule, RuleSample, Severity
    from exporter.buckets.observation import View


def evaluate(
    rules: Sequence[Rule], view: View, open_alerts: Mapping[Fingerprint, Alert], *, before: RulesBefore = "same"
) -> Evaluation:
    """Returns what the view's poll makes of its participant's open alerts.

    ``before`` tells of which rules the evaluation before was.
    An alert that did not change is the same object afterwards. A rule that fails
    leaves its alerts as they are; the others go on.
    """
    step = _Step(view, dict(open_alerts))
    owners = _Owners(rules, open_alerts.values())
    step.end(owners.orphans, Reason.RULE_REMOVED)
    for place, rule in enumerate(rules):
        try:
            samples = rule.evaluate(view, [a for a in step.alerts.values() if a.group == rule.group])
            made = _by_identity(samples)
        except RuleEvaluationFailed as error:
            step.failures.append(RuleFailure(rule.group, rule.name, str(error)))
            owners.failed(place, rule)
        else:
            number = owners.number(place, rule)
            for identity, sample in made.items():
                step.hold(rule, identity, sample, number)
            owners.named(rule, made.keys())
        for alert in owners.ended(place, rule):
            if before != "same" and step.goes_on_as_another(alert, rules, before):
                step.end([alert], Reason.RULE_CHANGED)
            else:
                step.release(owners.owner(alert), alert)
    if before != "same":
        step.transitions = [step.told(transition, rules, before) for transition in step.transitions]
    return Evaluation(step.alerts, tuple(step.transitions), tuple(step.failures))


def remove_participant(open_alerts: Mapping[Fingerprint, Alert], at: datetime) -> tuple[Transition, ...]:
    """Returns the resolutions of what fires for a participant that is no longer watched."""
    return tuple(
        Transition(_resolved(alert, at, Reason.PARTICIPANT_REMOVED), at, None, None, None)
        for alert in open_alerts.values()
        if alert.state is AlertState.FIRING
    )


class _Step:
    """One evaluation in progress."""

    def __init__(self, view: View, alerts: dict[Fingerprint, Alert]) -> None:
        self.alerts = alerts
        self.transitions: list[Transition] = []
        self.failures: list[RuleFailure] = []
        self._begun: dict[str, list[Alert]] = defaultdict(list)
        self._view = view
        self._at = view.at

    def hold(self, rule: Rule, identity: Fingerprint, sample: RuleSample, named_by: int | None) -> None:
        """The condition is true."""
        was = self.alerts.get(identity)
        if was is not None and was.state is AlertState.PENDING and was.active_since > self._at:
            was = None  # begun by a clock that was wrong: it would wait for that time
        if was is None:
            alert = _begun(rule, identity, sample, self._at)
            self._begun[alert.name].append(alert)
        else:
            alert = _continued(was, rule, sample)
        if alert.named_by != named_by:
            alert = replace(alert, named_by=named_by)
        waited_seconds = (self._at - alert.active_since).total_seconds()
        if alert.state is AlertState.PENDING and waited_seconds >= rule.for_seconds:
            alert = replace(alert, state=AlertState.FIRING, firing_since=self._at)
            self._tell(alert)
        self.alerts[identity] = alert

    def release(self, rule: Rule, alert: Alert) -> None:
        """The condition is no longer true: ``keep_firing_for`` begins, goes on, or is over.

        It may be true, for all that an exporter knows which has started since the alert began, and has no data yet,
        or one whose answers hold figures of the bucket that cannot be.
        """
        reason = self._reason(rule, alert.policy)
        if reason is Reason.NO_DATA and (self._is_older_than_memory(alert) or self._is_refused(alert)):
            return
        if alert.state is AlertState.FIRING and rule.keep_firing_for_seconds > 0:
            since = min(alert.keep_firing_since or self._at, self._at)
            if (self._at - since).total_seconds() < rule.keep_firing_for_seconds:
                if alert.keep_firing_since != since:
                    self.alerts[alert.fingerprint] = replace(alert, keep_firing_since=since)
                return
        self.end([alert], reason)

    def end(self, alerts: Sequence[Alert], reason: Reason) -> None:
        """A pending alert leaves no trace; a firing one resolves."""
        for alert in alerts:
            del self.alerts[alert.fingerprint]
            if alert.state is AlertState.FIRING:
                self._tell(_resolved(alert, self._at, reason))

    def told(self, transition: Transition, rules: Sequence[Rule], before: RulesBefore) -> Transition:
        """Returns a resolution that says so where the alert goes on as another one, by what its rule says now."""
        ended = transition.alert
        if ended.state is AlertState.RESOLVED and self.goes_on_as_another(ended, rules, before):
            return replace(transition, alert=replace(ended, reason=Reason.RULE_CHANGED))
        return transition

    def goes_on_as_another(self, ended: Alert, rules: Sequence[Rule], before: RulesBefore) -> bool:
        """Whether an alert of its name has just begun for its bucket that only its rule's change can have made."""
        begun = [
            alert
            for alert in self._begun.get(ended.name, ())
            if alert.policy == ended.policy or None in (alert.policy, ended.policy)
        ]
        if not begun:
            return False
        if before == "other" and any(alert.severity == ended.severity for alert in begun):
            return True
        is_ruled_out = not any(
            rule.name == ended.name and rule.fixed_labels.items() <= ended.labels.items() for rule in rules
        )
        return is_ruled_out or any(alert.labels.keys() != ended.labels.keys() for alert in begun)

    def _is_refused(self, alert: Alert) -> bool:
        return alert.state is AlertState.FIRING and alert.policy in self._view.refused

    def _is_older_than_memory(self, alert: Alert) -> bool:
        began_at = self._view.poll.stream_began_at
        return began_at is not None and alert.active_since < began_at and self._at - began_at < LONGEST_WINDOW

    def _reason(self, rule: Rule, policy: PolicyName | None) -> Reason:
        view = self._view
        if policy is None:
            return Reason.RECOVERED if view.up and rule.has_data(view, None) else Reason.NO_DATA
        if policy in view.buckets:
            return Reason.RECOVERED if rule.has_data(view, policy) else Reason.NO_DATA
        return Reason.POLICY_GONE if view.up and policy not in view.refused else Reason.NO_DATA

    def _tell(self, alert: Alert) -> None:
        visible = self._view.buckets.get(alert.policy) if alert.policy is not None else None
        self.transitions.append(
            Transition(
                alert,
                self._at,
                self._view.category,
                visible.observation if visible else None,
                visible.observed_at if visible else None,
            )
        )


class _Owners:
    """Which rule answers for which open alert: the one of its name and severity, in its group or else elsewhere.

    Where several are of one name and severity, an alert has ended when the last of
    them has not named it either, and goes by the one that named it last.
    """

    def __init__(self, rules: Sequence[Rule], alerts: Collection[Alert]) -> None:
        self._rules = rules
        self._places: dict[tuple[str, Severity], list[int]] = defaultdict(list)
        for place, rule in enumerate(rules):
            self._places[rule.name, rule.severity].append(place)
        self.orphans: list[Alert] = []
        self._left: dict[tuple[str, Severity], dict[Fingerprint, Alert]] = defaultdict(dict)
        for alert in alerts:
            if (alert.name, alert.severity) in self._places:
                self._left[alert.name, alert.severity][alert.fingerprint] = alert
            else:
                self.orphans.append(alert)

    def number(self, place: int, rule: Rule) -> int | None:
        """Returns the rule's number among those of its name and severity; None where it is the only one."""
        places = self._places[rule.name, rule.severity]
        return places.index(place) if len(places) > 1 else None

    def owner(self, alert: Alert) -> Rule:
        """Returns the rule that named the alert last; the last one where that is not known."""
        places = self._places[alert.name, alert.severity]
        number = alert.named_by
        return self._rules[places[number if number is not None and number < len(places) else -1]]

    def named(self, rule: Rule, identities: Collection[Fingerprint]) -> None:
        """What the rule has just named has not ended."""
        left = self._left.get((rule.name, rule.severity), {})
        for identity in identities:
            left.pop(identity, None)

    def failed(self, place: int, rule: Rule) -> None:
        """The alerts of a rule that failed stay as they are, and those that may be its own."""
        left, number = self._left.get((rule.name, rule.severity), {}), self.number(place, rule)
        self.named(rule, [a.fingerprint for a in left.values() if number is None or a.named_by in (number, None)])

    def ended(self, place: int, rule: Rule) -> Sequence[Alert]:
        """Returns what none of the rules of this name and severity has named, once the last of them was asked."""
        key = rule.name, rule.severity
        return tuple(self._left.get(key, {}).values()) if self._places[key][-1] == place else ()


def _by_identity(samples: Sequence[RuleSample]) -> dict[Fingerprint, RuleSample]:
    made = {fingerprint(sample.labels): sample for sample in samples}
    if len(made) < len(samples):
        raise RuleEvaluationFailed("two samples give one label set after applying the alert's labels")
    return made


def _begun(rule: Rule, identity: Fingerprint, sample: RuleSample, at: datetime) -> Alert:
    return Alert(
        fingerprint=identity,
        group=rule.group,
        name=rule.name,
        severity=rule.severity,
        participant=Ispb(sample.labels["participant"]),
        policy=PolicyName(sample.labels["policy"]) if "policy" in sample.labels else None,
        labels=sample.labels,
        annotations=sample.annotations,
        value=sample.value,
        state=AlertState.PENDING,
        active_since=at,
    )


def _continued(alert: Alert, rule: Rule, sample: RuleSample) -> Alert:
    same_value = alert.value == sample.value or (alert.value != alert.value and sample.value != sample.value)
    if (
        same_value
        and alert.keep_firing_since is None
        and alert.group == rule.group
        and alert.annotations == sample.annotations
    ):
        return alert
    return replace(alert, group=rule.group, value=sample.value, annotations=sample.annotations, keep_firing_since=None)


def _resolved(alert: Alert, at: datetime, reason: Reason) -> Alert:
    # A firing that a wrong clock began ends no earlier than it began.
    ended_at = at if alert.firing_since is None else max(at, alert.firing_since)
    return replace(alert, state=AlertState.RESOLVED, resolved_at=ended_at, reason=reason)
