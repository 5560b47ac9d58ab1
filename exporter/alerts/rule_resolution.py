"""Which open alerts belong to which rule, in one evaluation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from exporter.alerts.alert import Alert, Fingerprint, Severity
from exporter.alerts.rule import AlertingRule, RecordingRule, Rule
from exporter.alerts.written_series import RuleKey


class RuleResolution:
    """Which rule an open alert belongs to: the one of its name and severity, in its group or else elsewhere.

    Where several have one name and severity, an alert is inactive when the last of
    them has not raised it either, and belongs to the one that raised it last.
    """

    def __init__(self, rules: Sequence[Rule], alerts: Collection[Alert]) -> None:
        self._rules: dict[int, AlertingRule] = {}
        self._indexes: dict[tuple[str, Severity], list[int]] = defaultdict(list)
        self._recording: dict[RuleKey, int] = defaultdict(int)
        for index, rule in enumerate(rules):
            if rule.kind == "alerting":
                self._rules[index] = rule
                self._indexes[rule.name, rule.severity].append(index)
        self.without_rule: list[Alert] = []
        self._left: dict[tuple[str, Severity], dict[Fingerprint, Alert]] = defaultdict(dict)
        for alert in alerts:
            if (alert.name, alert.severity) in self._indexes:
                self._left[alert.name, alert.severity][alert.fingerprint] = alert
            else:
                self.without_rule.append(alert)

    def rule_id(self, index: int, rule: AlertingRule) -> int | None:
        """Returns the rule's position among those of its name and severity; None where it is the only one."""
        indexes = self._indexes[rule.name, rule.severity]
        return indexes.index(index) if len(indexes) > 1 else None

    def rule_of(self, alert: Alert) -> AlertingRule:
        """Returns the rule that raised the alert last; the last one where that is not known."""
        indexes = self._indexes[alert.name, alert.severity]
        rule_id = alert.rule_id
        return self._rules[indexes[rule_id if rule_id is not None and rule_id < len(indexes) else -1]]

    def has_open(self, rule: AlertingRule) -> bool:
        """Whether an alert of the rule's name and severity is open that none of them has raised so far."""
        return bool(self._left.get((rule.name, rule.severity)))

    def others_of(self, rule: AlertingRule, active: Collection[Fingerprint]) -> Iterator[Alert]:
        """Yields the rule's alerts that are not among those which are active."""
        for identity, alert in self._left.get((rule.name, rule.severity), {}).items():
            if identity not in active and self.rule_of(alert) is rule:
                yield alert

    def note_active(self, rule: AlertingRule, identities: Collection[Fingerprint]) -> None:
        left = self._left.get((rule.name, rule.severity), {})
        for identity in identities:
            left.pop(identity, None)

    def note_failed(self, index: int, rule: AlertingRule) -> None:
        """The alerts of a rule that failed stay as they are, and so do those that may be its own."""
        left, rule_id = self._left.get((rule.name, rule.severity), {}), self.rule_id(index, rule)
        own = [a.fingerprint for a in left.values() if rule_id is None or a.rule_id in (rule_id, None)]
        self.note_active(rule, own)

    def key(self, index: int, rule: AlertingRule) -> RuleKey:
        """Returns what tells the rule from others, also after a reload."""
        return rule.name, rule.severity, str(self.rule_id(index, rule) or 0)

    def recording_key(self, rule: RecordingRule) -> RuleKey:
        """Returns the same of a rule that records. To be called once for each, in order: those of one name and labels
        are told apart by it.
        """
        key = ("record", rule.name, *(text for pair in sorted(rule.labels.items()) for text in pair))
        self._recording[key] += 1
        return (*key, str(self._recording[key]))

    def inactive(self, index: int, rule: AlertingRule) -> Sequence[Alert]:
        """Returns the alerts that no rule of this name and severity has raised, after the last of them."""
        key = rule.name, rule.severity
        left = self._left.get(key)
        return tuple(left.values()) if left and self._indexes[key][-1] == index else ()
