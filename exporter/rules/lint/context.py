"""What a check sees: one rule, what it needs of the others, and where they are to run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from exporter.rules.files.loading import Attempt
from exporter.rules.files.parser import ParsedGroup, ParsedRule
from exporter.rules.finding import Location
from exporter.rules.lint.all_rules import AllRules, all_rules, identity
from exporter.rules.lint.comparisons import Comparison
from exporter.rules.lint.known_values import Installation
from exporter.rules.lint.presence import Situations
from exporter.rules.promql.series import METRIC_NAME
from exporter.rules.promql.traversal import selectors
from exporter.rules.promql.tree import Matcher, Selector, Tree
from exporter.rules.rule import AnyCompiledRule

Problems: TypeAlias = "Iterator[tuple[Location, str]]"
"""What a check found: where in the file, and a message."""


@dataclass(frozen=True)
class Context:
    """One rule that compiles, and all others."""

    group: ParsedGroup
    parsed: ParsedRule
    rule: AnyCompiledRule
    rules: AllRules
    situations: Situations
    installation: Installation

    @property
    def same_identity(self) -> Sequence[tuple[str, int]]:
        """File and line of every rule of the same name and labels, this one among them."""
        return self.rules.same_identity[identity(self.parsed)]

    @cached_property
    def tree(self) -> Tree:
        return self.rule.expression.tree

    @cached_property
    def selected(self) -> Sequence[Selector]:
        return list(selectors(self.tree))

    @cached_property
    def looked_at(self) -> frozenset[str]:
        """The metrics that it selects, and those that what it selects is made of."""
        return self.rules.made_of(selected.metric for selected in self.selected)

    @cached_property
    def is_unknown(self) -> bool:
        """Whether it selects what a rule makes that does not compile: nothing is known of its labels."""
        return any(map(self.rules.is_unknown, self.selected))

    def labels(self, tree: Tree) -> frozenset[str]:
        """Returns the labels that series of a part of the expression can have, the metric's name among them."""
        return self.rules.label_names.of(tree) | {METRIC_NAME}

    @property
    def own_alert(self) -> dict[str, str]:
        """The labels of its own alert while it fires, as far as they are the same of each."""
        fixed = self.rule.fixed_labels if self.rule.kind == "alerting" else {}
        return {**fixed, "alertname": self.rule.name, "alertstate": "firing"}

    def name_of(self, comparison: Comparison) -> str:
        """Returns what is compared: a gauge, or an expression in quotes."""
        return comparison.bounds.gauge or f"`{self.rule.expression.excerpt(comparison.compared)}`"

    def about(self, tree: Tree | Matcher, rest: str) -> tuple[Location, str]:
        """Returns where a part of the expression stands, and the sentence that begins with it."""
        text = str(tree) if isinstance(tree, Matcher) else self.rule.expression.excerpt(tree)
        return self.parsed.expr.location(tree.span.begin), f"`{text}`{rest}"


def contexts(attempt: Attempt, installation: Installation) -> Iterator[Context]:
    """Yields a context for each rule that compiles; once for a rule that aliases repeat."""
    rules = all_rules(attempt)
    situations = Situations(rules)
    for group, parsed, rule in {id(compiled[2]): compiled for compiled in attempt.compiled}.values():
        yield Context(group, parsed, rule, rules, situations, installation)
