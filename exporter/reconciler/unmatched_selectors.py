"""Which selectors of rules have never selected a series: a slip in a matcher, or figures that no Bridge reports."""

from __future__ import annotations

from collections.abc import Sequence
from random import sample
from typing import Final

from exporter.alerts.rule import Rule, SeriesSelector
from exporter.buckets.bucket import Ispb
from exporter.buckets.observation import View
from exporter.metrics.own_metrics import RuleMetrics

MOST_VIEWS: Final = 20
_MOST_CHECKS: Final = 200
"""How many views of a batch are looked at, and for how many selectors: commits wait for it meanwhile."""


class UnmatchedSelectors:
    """Of the participants of a batch those come first that were not looked at for longest. A reload keeps matches."""

    def __init__(self, metrics: RuleMetrics) -> None:
        self._metrics = metrics
        self._unmatched: dict[str, SeriesSelector] = {}
        self._matched: set[str] = set()
        self._texts: dict[int, tuple[str, ...]] = {}
        self._rules: dict[str, set[tuple[str, str]]] = {}
        self._looks = 0
        self._last_look: dict[Ispb, int] = {}

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
        most_views = min(MOST_VIEWS, _MOST_CHECKS // len(self._unmatched)) or 1
        by_last_look = sorted(views, key=lambda view: self._last_look.get(view.participant, 0))
        for view in by_last_look[:most_views]:
            self._looks += 1
            self._last_look[view.participant] = self._looks
            texts = list(self._unmatched)
            if len(texts) > _MOST_CHECKS:
                texts = sample(texts, _MOST_CHECKS)
            for text in texts:
                if self._unmatched[text].has_series(view):
                    del self._unmatched[text]
                    self._matched.add(text)
                    self._publish(text)

    def _publish(self, text: str) -> None:
        for group, name in self._rules[text]:
            self._metrics.never_had_series.labels(group, name, text).set(text in self._unmatched)
