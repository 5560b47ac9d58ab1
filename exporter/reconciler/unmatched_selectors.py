"""Which selectors of rules have never selected a series: a slip in a matcher, or figures that no Bridge reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exporter.alerts.rule import Rule, SeriesSelector
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import View
from exporter.metrics.own_metrics import RuleMetrics

MOST_VIEWS: Final = 20
"""How many views of a batch are looked at: a selector can stay unmatched, and polls do not wait for it."""


class UnmatchedSelectors:
    """Participants take turns, so that each is looked at again and again. A reload keeps what was matched."""

    def __init__(self, metrics: RuleMetrics) -> None:
        self._metrics = metrics
        self._unmatched: dict[str, SeriesSelector] = {}
        self._matched: set[str] = set()
        self._texts: dict[int, tuple[str, ...]] = {}
        self._rules: dict[str, set[tuple[str, str]]] = {}
        self._had_a_turn: set[Ispb] = set()

    def of(self, rule: Rule) -> tuple[str, ...]:
        return tuple(text for text in self._texts.get(id(rule), ()) if text in self._unmatched)

    def load(self, rules: Sequence[Rule]) -> None:
        self._unmatched, self._texts, self._rules = {}, {}, {}
        self._metrics.never_had_series.clear()
        for rule in rules:
            selectors = rule.series_selectors()
            self._texts[id(rule)] = tuple(selector.text for selector in selectors)
            for selector in selectors:
                self._rules.setdefault(selector.text, set()).add((rule.group, rule.name))
                if selector.text not in self._matched:
                    self._unmatched[selector.text] = selector
        self._matched &= self._rules.keys()
        for text in self._rules:
            self._publish(text)

    def note(self, views: Sequence[View]) -> None:
        if not self._unmatched:
            return
        turn = [view for view in views if view.participant not in self._had_a_turn][:MOST_VIEWS]
        if not turn:
            self._had_a_turn.clear()
            turn = list(views[:MOST_VIEWS])
        for view in turn:
            self._had_a_turn.add(view.participant)
            for text in [text for text, selector in self._unmatched.items() if selector.has_series(view)]:
                del self._unmatched[text]
                self._matched.add(text)
                self._publish(text)

    def _publish(self, text: str) -> None:
        for group, name in self._rules[text]:
            self._metrics.never_had_series.labels(group, name, text).set(text in self._unmatched)
