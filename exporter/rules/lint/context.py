"""What a check sees: one rule, and what it needs of the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, KeysView, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from exporter.rules.files.loading import Attempt
from exporter.rules.files.parser import ParsedGroup, ParsedRule
from exporter.rules.finding import Location
from exporter.rules.promql.series import METRIC_NAME, PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERT_SERIES, BUCKET_GAUGE_BY_NAME, PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.promql.traversal import selectors, written_labels
from exporter.rules.promql.tree import Selector, Tree
from exporter.rules.rule import CompiledRule

SCRAPED_LABELS: Final = frozenset({"job", "instance"})
"""Labels that a scrape adds: in Prometheus every series has them, here none."""

_ALERT_LABELS: Final = SCRAPED_LABELS.union(
    ("alertname", "alertstate", "severity", PARTICIPANT, POLICY, "psp_category", "previous_psp_category")
)


Problems: TypeAlias = "Iterator[tuple[Location, str]]"
"""What a check found: where in the file, and a message."""


@dataclass(frozen=True)
class Context:
    """One rule that compiles.

    ``alert_labels`` are those that alerts of any rule can have, ``alert_names`` their names. ``same_identity`` are
    file and line of every rule of the same name and labels, this one among them.
    """

    group: ParsedGroup
    parsed: ParsedRule
    rule: CompiledRule
    alert_labels: frozenset[str]
    alert_names: KeysView[str]
    same_identity: Sequence[tuple[str, int]]

    @cached_property
    def selected(self) -> Sequence[Selector]:
        return list(selectors(self.rule.expression.tree))

    @cached_property
    def metrics(self) -> frozenset[str]:
        return frozenset(selected.metric for selected in self.selected)

    @cached_property
    def labels(self) -> frozenset[str]:
        """The labels that any series of the expression can have."""
        written = written_labels(self.rule.expression.tree)
        return frozenset({METRIC_NAME, *written}).union(*map(self.labels_of, self.metrics))

    def labels_of(self, metric: str) -> frozenset[str]:
        if metric in ALERT_SERIES:
            return self.alert_labels
        if metric in BUCKET_GAUGE_BY_NAME:
            return SCRAPED_LABELS | {PARTICIPANT, POLICY}
        gauge = PARTICIPANT_GAUGE_BY_NAME.get(metric)
        return SCRAPED_LABELS | {PARTICIPANT, *(gauge.label_names if gauge else ())}

    def about(self, tree: Tree, rest: str) -> tuple[Location, str]:
        """Returns where a part of the expression stands, and the sentence that begins with it."""
        return self.parsed.expr.location(tree.span.begin), f"`{self.rule.expression.excerpt(tree)}`{rest}"


def contexts(attempt: Attempt) -> Iterator[Context]:
    """Yields a context for each rule that compiles; once for a rule that aliases repeat."""
    lines: dict[object, list[tuple[str, int]]] = defaultdict(list)
    names: dict[str, None] = {}
    alert_labels: set[str] = {*_ALERT_LABELS}
    for group in attempt.groups:
        for parsed in group.rules:
            names[parsed.name] = None
            alert_labels.update(parsed.labels)
            lines[_identity(parsed)].append((group.file, parsed.line))
    labels = frozenset(alert_labels)
    for group, parsed, rule in {id(compiled[2]): compiled for compiled in attempt.compiled}.values():
        yield Context(group, parsed, rule, labels, names.keys(), lines[_identity(parsed)])


def _identity(rule: ParsedRule) -> tuple[str, frozenset[tuple[str, str]]]:
    return rule.name, frozenset((name, text.text) for name, text in rule.labels.items())
