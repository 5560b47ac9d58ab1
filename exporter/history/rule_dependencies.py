"""Which rules depend on which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import selectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.rules.rule import CompiledRule


def looked_at(rule: CompiledRule, rules: Sequence[CompiledRule]) -> list[CompiledRule]:
    """Returns the rules whose alerts the rule looks at, itself among them where it does."""
    found = [s.matchers for s in selectors(rule.expression.tree) if s.metric in ALERT_SERIES]
    names = [[m.predicate() for m in matchers if m.label == "alertname"] for matchers in found]
    return [r for r in rules if r.group == rule.group and any(all(test(r.name) for test in tests) for tests in names)]


def needed_by(wanted: Sequence[CompiledRule], rules: Sequence[CompiledRule]) -> list[CompiledRule]:
    """Returns the rules wanted and all that these depend on through their alerts, in order."""
    places = {id(rule): place for place, rule in enumerate(rules)}
    found: set[int] = set()
    left = [places[id(rule)] for rule in wanted]
    while left:
        place = left.pop()
        if place not in found:
            found.add(place)
            left += [places[id(rule)] for rule in looked_at(rules[place], rules)]
    return [rules[place] for place in sorted(found)]
