"""The series that rules write at one evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.alerts.alert import Alert, Rule
from exporter.alerts.history import History
from exporter.alerts.written_series import RuleKey, WrittenSample


class Writing:
    """What rules write at an evaluation.

    One that nothing new has led to (a read) leaves no row in the database where it changes nothing: then it leaves no
    samples either, and its own rules do not see what it writes.
    """

    def __init__(self, history: History, at_ms: int) -> None:
        self._history = history
        self._at_ms = at_ms
        self._keys: set[RuleKey] = set()
        self._deferred: list[tuple[RuleKey, list[WrittenSample], int]] = []

    def add(self, key: RuleKey, rule: Rule, alerts: Sequence[Alert] | None) -> None:
        """Takes the alerts of a rule; one that failed (None) writes nothing."""
        self._keys.add(key)
        if alerts is None:
            return
        samples = list(rule.written_by(alerts, self._history.written.kept_ms))
        if self._history.is_news:
            self._history.written.write(key, self._at_ms, samples, rule.query_offset_ms)
        else:
            self._deferred.append((key, samples, rule.query_offset_ms))

    def end(self, *, has_changed: bool) -> None:
        """Every rule was added."""
        if not has_changed and not self._history.is_news:
            return
        for key, samples, delay_ms in self._deferred:
            self._history.written.write(key, self._at_ms, samples, delay_ms)
        self._history.written.end_evaluation(self._keys, self._at_ms)
