"""The health of each loaded rule: how its last evaluation went. A failure is logged here."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from exporter.alerts.alert import RuleFailure
from exporter.alerts.rule import Rule, SelectedSeries
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import View
from exporter.metrics.own_metrics import RuleMetrics
from exporter.store.reconciliation import Reconciliation

log = logging.getLogger(__name__)

Key = tuple[Literal["alerting", "recording"], str, str]
"""A rule's kind, group and name."""


@dataclass(frozen=True, slots=True)
class RuleHealth:
    """How one rule last went.

    ``evaluated_at`` is None for a rule that was never evaluated; ``error`` is None where it went well;
    ``never_had`` are those of its selectors of which no participant has had a series since it was loaded.
    """

    evaluated_at: datetime | None = None
    duration_seconds: float = 0.0
    error: str | None = None
    never_had: tuple[str, ...] = ()


class RuleHealthTracker:
    """The health of all rules in force."""

    def __init__(self, metrics: RuleMetrics) -> None:
        self._metrics = metrics
        self._rules: Sequence[Rule] = ()
        self._evaluated: dict[Key, tuple[datetime, float]] = {}
        self._errors: dict[Key, dict[Ispb, str]] = {}
        self._never_had: dict[Key, dict[str, SelectedSeries]] = {}

    def of(self, rule: Rule) -> RuleHealth:
        key = _key(rule)
        evaluated = self._evaluated.get(key)
        if evaluated is None:
            return RuleHealth()
        return RuleHealth(
            *evaluated,
            error=next(iter(self._errors.get(key, {}).values()), None),
            never_had=tuple(self._never_had.get(key, ())),
        )

    def reset(self) -> None:
        """Drops what is known of evaluations: another process evaluates now."""
        self._evaluated, self._errors = {}, {}

    def note(
        self, rules: Sequence[Rule], reconciliations: Sequence[Reconciliation], views: Sequence[View], seconds: float
    ) -> None:
        """Notes how a batch went; ``seconds`` is what one poll's evaluation of all rules took."""
        if rules is not self._rules:
            self._load(rules)
        for reconciliation in reconciliations:
            if reconciliation.evaluated:
                self._note_failures(reconciliation.poll.participant, reconciliation.failures)
        evaluated = reconciliations[-1].poll.polled_at, seconds / max(1, len(rules))
        self._evaluated = {_key(rule): evaluated for rule in rules}
        missing = {text: selected for of_rule in self._never_had.values() for text, selected in of_rule.items()}
        seen = [text for text, selected in missing.items() if any(map(selected.exist, views))]
        for key, of_rule in self._never_had.items() if seen else ():
            for text in of_rule.keys() & seen:
                del of_rule[text]
                self._show(key, text, never=False)

    def _load(self, rules: Sequence[Rule]) -> None:
        """Begins with other rules; drops what is known of those that were removed."""
        keys = set(map(_key, rules))
        self._errors = {key: errors for key, errors in self._errors.items() if key in keys}
        for group in {rule.group for rule in self._rules} - {rule.group for rule in rules}:
            self._metrics.evaluation_failures.remove_by_labels({"rule_group": group})
        self._rules = rules
        self._metrics.never_had_series.clear()
        self._never_had = defaultdict(dict)
        for rule, selected in _selected(rules):
            self._never_had[_key(rule)][selected.text] = selected
            self._show(_key(rule), selected.text, never=True)

    def _show(self, key: Key, text: str, *, never: bool) -> None:
        kind, group, name = key
        if kind == "alerting":
            self._metrics.never_had_series.labels(group, name, text).set(never)

    def _note_failures(self, participant: Ispb, failures: Sequence[RuleFailure]) -> None:
        failed = {(failure.kind, failure.group, failure.name): failure for failure in failures}
        for key, failure in failed.items():
            errors = self._errors.setdefault(key, {})
            if errors.get(participant) != failure.message:
                fields = {"group": failure.group, "rule": failure.name, "participant": participant}
                fields |= {"error": failure.message}
                if failure.kind == "alerting":
                    log.error("rule evaluation failed, its alerts stay as they are", extra=fields)
                else:
                    log.error("rule evaluation failed, it records nothing", extra=fields)
            errors[participant] = failure.message
        for key in self._errors.keys() - failed.keys():
            self._errors[key].pop(participant, None)


def _selected(rules: Sequence[Rule]) -> Iterator[tuple[Rule, SelectedSeries]]:
    """Yields what each rule selects of what polls show, and what that which it selects of records is made of."""
    recording: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        if rule.kind == "recording":
            recording[rule.name].append(rule)
    of_rules = {id(rule): rule.selected_series for rule in rules}
    for rule in rules:
        reached = {id(rule)}
        ahead = [rule]
        while ahead:
            for selected in of_rules[id(ahead.pop())]:
                made_of = recording.get(selected.metric)
                if made_of is None:
                    yield rule, selected
                for other in made_of or ():
                    if id(other) not in reached:
                        reached.add(id(other))
                        ahead.append(other)


def _key(rule: Rule) -> Key:
    return rule.kind, rule.group, rule.name
