"""The health of each loaded rule: how its last evaluation went. A failure is logged here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from exporter.alerts.alert import RuleFailure
from exporter.alerts.rule import Rule
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import View
from exporter.metrics.own_metrics import RuleMetrics
from exporter.reconciler.unmatched_selectors import UnmatchedSelectors
from exporter.store.reconciliation import Reconciliation

log = logging.getLogger(__name__)

Key = tuple[Literal["alerting", "recording"], str, str]
"""A rule's kind, group and name."""


@dataclass(frozen=True, slots=True)
class RuleHealth:
    """How one rule last went.

    ``evaluated_at`` is None for a rule that was never evaluated; ``error`` is None where it went well;
    ``unmatched_selectors`` are those of its selectors that have never selected a series of any participant.
    """

    evaluated_at: datetime | None = None
    duration_seconds: float = 0.0
    error: str | None = None
    unmatched_selectors: tuple[str, ...] = ()


class RuleHealthTracker:
    """The health of all rules in force."""

    def __init__(self, metrics: RuleMetrics) -> None:
        self._metrics = metrics
        self._rules: Sequence[Rule] = ()
        self._evaluated: dict[Key, tuple[datetime, float]] = {}
        self._errors: dict[Key, dict[Ispb, str]] = {}
        self._unmatched = UnmatchedSelectors(metrics)

    def of(self, rule: Rule) -> RuleHealth:
        key = _key(rule)
        evaluated = self._evaluated.get(key)
        if evaluated is None:
            return RuleHealth()
        return RuleHealth(
            *evaluated,
            error=next(iter(self._errors.get(key, {}).values()), None),
            unmatched_selectors=self._unmatched.of(rule),
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
        self._unmatched.note(views)

    def _load(self, rules: Sequence[Rule]) -> None:
        """Begins with other rules; drops what is known of those that were removed."""
        keys = set(map(_key, rules))
        self._errors = {key: errors for key, errors in self._errors.items() if key in keys}
        for group in {rule.group for rule in self._rules} - {rule.group for rule in rules}:
            self._metrics.evaluation_failures.remove_by_labels({"rule_group": group})
        self._rules = rules
        self._unmatched.load(rules)

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


def _key(rule: Rule) -> Key:
    return rule.kind, rule.group, rule.name
