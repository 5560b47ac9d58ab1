"""What a check sees: one rule, what it needs of the others, and where they are to run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from exporter.buckets.catalog import POLICIES
from exporter.buckets.gauges import METRIC_NAMES
from exporter.rules.files.loading import Attempt
from exporter.rules.files.parser import ParsedGroup, ParsedRule
from exporter.rules.finding import Location
from exporter.rules.lint.all_rules import AllRules, all_rules, identity
from exporter.rules.lint.presence import Situation
from exporter.rules.promql.series import METRIC_NAME
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import selectors
from exporter.rules.promql.tree import Matcher, Selector, Tree
from exporter.rules.rule import AnyCompiledRule

Problems: TypeAlias = "Iterator[tuple[Location, str]]"
"""What a check found: where in the file, and a message."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where rules are to run: whose buckets are polled (none: any participant's), and which policies there are.

    ``policies`` are those that are published, and those seen; ``are_seen``: what was seen is among them. None: a
    policy may have any name.
    """

    participants: frozenset[str] = frozenset()
    policies: frozenset[str] | None = frozenset(POLICIES)
    are_seen: bool = False
    poll_interval_seconds: float = 15.0
    max_range_seconds: float = math.inf


ANY_INSTALLATION: Final = Installation()


@dataclass(frozen=True)
class Context:
    """One rule that compiles, and all others."""

    group: ParsedGroup
    parsed: ParsedRule
    rule: AnyCompiledRule
    rules: AllRules
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

    @property
    def is_unknown(self) -> bool:
        """Whether it selects what a rule records that does not compile: nothing is known of its labels."""
        return any(
            metric not in METRIC_NAMES and metric not in ALERT_SERIES and metric not in self.rules.recording
            for metric in self.looked_at
        )

    def labels(self, tree: Tree) -> frozenset[str]:
        """Returns the labels that series of a part of the expression can have, the metric's name among them."""
        return self.rules.label_names.of(tree) | {METRIC_NAME}

    def situation(self, *, up: bool, figures: bool, alert: Mapping[str, str] | None = None) -> Situation:
        """Returns a situation in which `presence` judges the rule."""
        return Situation(up, figures, self.rules.recording, self.rules.label_values, alert)

    def about(self, tree: Tree | Matcher, rest: str) -> tuple[Location, str]:
        """Returns where a part of the expression stands, and the sentence that begins with it."""
        text = str(tree) if isinstance(tree, Matcher) else self.rule.expression.excerpt(tree)
        return self.parsed.expr.location(tree.span.begin), f"`{text}`{rest}"


def contexts(attempt: Attempt, installation: Installation) -> Iterator[Context]:
    """Yields a context for each rule that compiles; once for a rule that aliases repeat."""
    rules = all_rules(attempt)
    for group, parsed, rule in {id(compiled[2]): compiled for compiled in attempt.compiled}.values():
        yield Context(group, parsed, rule, rules, installation)
