"""The series that rules write at one evaluation: those of alerts, and those that they record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from exporter.alerts.alert import Alert
from exporter.alerts.history import History
from exporter.alerts.rule import AlertingRule, RecordingRule
from exporter.alerts.written_series import Pairs, RuleKey, WrittenSample, is_same
from exporter.errors import RuleEvaluationFailed


class Writing:
    """What rules write at an evaluation; ``recorded`` are the values that they record.

    One that nothing new has led to (a read) leaves no row in the database where it changes nothing: then it leaves no
    samples either, and its own rules do not see what it writes.
    """

    def __init__(self, history: History | None, at_ms: int) -> None:
        """``history`` is to take what is kept of it (None: nothing)."""
        self.recorded: dict[tuple[str, Pairs], float] = {}
        self._delays_ms: dict[tuple[str, Pairs], int] = {}
        self._history = history if history is not None and history.written.kept_ms else None
        self._at_ms = at_ms
        self._keys: set[RuleKey] = set()
        self._deferred: list[Callable[[], object]] = []

    @property
    def is_kept(self) -> bool:
        """Whether any of what alerts write is."""
        return self._history is not None

    def add(self, key: RuleKey, rule: AlertingRule, alerts: Sequence[Alert] | None) -> None:
        """Takes the alerts of a rule; one that failed (None) writes nothing."""
        if self._history is None:
            return
        self._keys.add(key)
        if alerts is None:
            return
        samples = list(rule.written_by(alerts, self._history.written.kept_ms))
        write = partial(self._history.written.write, key, self._at_ms, samples, rule.query_offset_ms)
        if self._history.is_news:
            write()
        else:
            self._deferred.append(write)

    def record(self, key: RuleKey, rule: RecordingRule, samples: Sequence[WrittenSample] | None) -> None:
        """Takes what a rule records; one that failed (None) records nothing.

        Raises RuleEvaluationFailed where some of it cannot be written; the rest is.
        """
        self._keys.add(key)
        if samples is None:
            return
        refused: list[WrittenSample] = []
        if self._history is not None:
            record = partial(self._history.written.record, key, self._at_ms, samples, rule.query_offset_ms)
            if self._history.is_news:
                refused = record()
            else:
                self._deferred.append(record)
        for sample in samples:
            identity = sample.name, sample.pairs
            if sample in refused:
                continue
            delay_ms = self._delays_ms.setdefault(identity, rule.query_offset_ms)
            is_first = is_same(sample.value, self.recorded.setdefault(identity, sample.value))
            if not is_first and delay_ms == rule.query_offset_ms:
                refused.append(sample)
        if refused:
            labels = ", ".join(f'{label}="{value}"' for label, value in refused[0].pairs)
            raise RuleEvaluationFailed(
                f"duplicate sample for timestamp: {refused[0].name}{{{labels}}} has ended, or has another or a later "
                "value, at this evaluation already: another rule records it, too"
            )

    def end(self, *, has_changed: bool) -> None:
        """Every rule was added."""
        if self._history is None or not (has_changed or self._history.is_news):
            return
        for write in self._deferred:
            write()
        self._history.written.end_evaluation(self._keys, self._at_ms)
