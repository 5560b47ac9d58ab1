"""How much of the history rules need from before the time that they are asked about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from exporter.alerts.history import of_shown, of_written
from exporter.alerts.lifecycle import lookback_ms
from exporter.alerts.rule import Rule, alerting
from exporter.history.rule_dependencies import written_names

_WARM_UP: Final = timedelta(hours=1)


def lookback(rule_sets: Sequence[Sequence[Rule]]) -> timedelta:
    """Returns how far the rules look back at what was shown before a poll."""
    return max((_longest(of_shown(lookback_ms(rules))) for rules in rule_sets), default=timedelta())


def warm_up(rule_sets: Sequence[Sequence[Rule]]) -> timedelta:
    """Returns how long before a period a replay begins, so that ``for`` and ``keep_firing_for`` are where they were.

    What rules look back at of what rules wrote comes on top. Where they only record, and not their own series, that
    is all.
    """
    return max(map(_warm_up, rule_sets), default=timedelta())


def _warm_up(rules: Sequence[Rule]) -> timedelta:
    written = _Written(rules)
    depends = timedelta(milliseconds=max(map(written.depends_ms, rules), default=0))
    of_alerts = alerting(rules)
    if not of_alerts and not written.has_circle:
        return depends
    longest_seconds = max((rule.for_seconds + rule.keep_firing_for_seconds for rule in of_alerts), default=0.0)
    return max(_WARM_UP, timedelta(seconds=2 * longest_seconds)) + depends


class _Written:
    """The series that rules write, and what these are made of.

    ``has_circle``: some are made of themselves, as far as that was looked for.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.has_circle = False
        self._writers: dict[str, list[Rule]] = defaultdict(list)
        for rule in rules:
            for name in written_names(rule):
                self._writers[name].append(rule)
        self._known_ms: dict[str, int] = {}
        self._in_progress: set[str] = set()

    def depends_ms(self, rule: Rule) -> int:
        """Returns how old the oldest evaluation can be that a rule's result depends on, in milliseconds."""
        return max((ms + self._of_name(name) for name, ms in of_written(rule.lookback_ms).items()), default=0)

    def _of_name(self, name: str) -> int:
        known_ms = self._known_ms.get(name)
        if known_ms is not None:
            return known_ms
        if name in self._in_progress:
            self.has_circle = True
            return 0
        self._in_progress.add(name)
        ms = self._known_ms[name] = max(map(self.depends_ms, self._writers[name]), default=0)
        return ms


def _longest(kept_ms: Mapping[str, int]) -> timedelta:
    return timedelta(milliseconds=max(kept_ms.values(), default=0))
