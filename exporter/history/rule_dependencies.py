"""Which rules depend on the alerts of which others."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import selectors
from exporter.rules.rule import CompiledRule


def with_dependencies(rules: Sequence[CompiledRule], all_rules: Sequence[CompiledRule]) -> list[CompiledRule]:
    """Returns the rules and all that these depend on through ``ALERTS``, in the order of ``all_rules``."""
    needed: set[int] = set()
    unresolved = list(rules)
    while unresolved:
        rule = unresolved.pop()
        if id(rule) not in needed:
            needed.add(id(rule))
            unresolved += _dependencies(rule, all_rules)
    return [rule for rule in all_rules if id(rule) in needed]


def _dependencies(rule: CompiledRule, all_rules: Sequence[CompiledRule]) -> list[CompiledRule]:
    """Returns the rules whose alerts the rule selects, itself included where it does."""
    selected = [
        [matcher.predicate() for matcher in selector.matchers if matcher.label == "alertname"]
        for selector in selectors(rule.expression.tree)
        if selector.metric in ALERT_SERIES
    ]
    return [
        other
        for other in all_rules
        if other.group == rule.group and any(all(test(other.name) for test in tests) for tests in selected)
    ]
