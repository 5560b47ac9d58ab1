"""What a check sees: one rule, and what it needs of the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, METRIC_NAMES, PARTICIPANT_GAUGE_BY_NAME, BucketCounter
from exporter.rules.files.loading import Attempt
from exporter.rules.files.parser import ParsedGroup, ParsedRule
from exporter.rules.finding import Location
from exporter.rules.promql.series import METRIC_NAME, PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import selectors, written_labels
from exporter.rules.promql.tree import Selector, Tree
from exporter.rules.rule import AnyCompiledRule, CompiledRecordingRule

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
    file and line of every rule of the same name and labels, this one among them. ``recording`` are the rules that
    record, by name, ``recorded`` their expressions, and ``recorded_labels`` the labels that their series can have.
    """

    group: ParsedGroup
    parsed: ParsedRule
    rule: AnyCompiledRule
    alert_labels: frozenset[str]
    alert_names: KeysView[str]
    same_identity: Sequence[tuple[str, int]]
    recording: Mapping[str, Sequence[CompiledRecordingRule]]
    recorded: Mapping[str, Sequence[Tree]]
    recorded_labels: Mapping[str, frozenset[str]]

    @cached_property
    def selected(self) -> Sequence[Selector]:
        return list(selectors(self.rule.expression.tree))

    @cached_property
    def metrics(self) -> frozenset[str]:
        return frozenset(selected.metric for selected in self.selected)

    @cached_property
    def looked_at(self) -> frozenset[str]:
        """The metrics that it selects, and those that what it selects is made of."""
        return self._made_of(self.metrics)

    @cached_property
    def labels(self) -> frozenset[str]:
        """The labels that any series of the expression can have."""
        written = written_labels(self.rule.expression.tree)
        return frozenset({METRIC_NAME, *written}).union(*map(self.labels_of, self.metrics))

    @property
    def is_unknown(self) -> bool:
        """Whether it selects what a rule records that does not compile: nothing is known of its labels."""
        return any(
            metric not in METRIC_NAMES and metric not in ALERT_SERIES and metric not in self.recording
            for metric in self.looked_at
        )

    def labels_of(self, metric: str) -> frozenset[str]:
        """Returns the labels that series of a metric can have."""
        if metric in self.recording:
            return self.recorded_labels[metric]
        return self.alert_labels if metric in ALERT_SERIES else _shown_labels(metric)

    def _made_of(self, metrics: Iterable[str]) -> frozenset[str]:
        reached: set[str] = set()
        ahead = list(metrics)
        while ahead:
            metric = ahead.pop()
            if metric not in reached:
                reached.add(metric)
                rules = self.recording.get(metric, ())
                ahead += (selected.metric for rule in rules for selected in selectors(rule.expression.tree))
        return frozenset(reached)

    def about(self, tree: Tree, rest: str) -> tuple[Location, str]:
        """Returns where a part of the expression stands, and the sentence that begins with it."""
        return self.parsed.expr.location(tree.span.begin), f"`{self.rule.expression.excerpt(tree)}`{rest}"


def _shown_labels(metric: str) -> frozenset[str]:
    """Returns the labels that series of what polls show can have."""
    of_buckets = BUCKET_METRIC_BY_NAME.get(metric)
    if of_buckets is not None:
        more = {of_buckets.label} if isinstance(of_buckets, BucketCounter) else set[str]()
        return SCRAPED_LABELS | {PARTICIPANT, POLICY} | more
    gauge = PARTICIPANT_GAUGE_BY_NAME.get(metric)
    return SCRAPED_LABELS | {PARTICIPANT, *(gauge.label_names if gauge else ())}


def _recorded_labels(
    recording: Mapping[str, Sequence[CompiledRecordingRule]], alert_labels: frozenset[str]
) -> dict[str, frozenset[str]]:
    """Returns the labels that recorded series can have, by name: from few to more, until no rule adds any."""
    labels = dict.fromkeys(recording, frozenset[str]())
    selected = {id(r): {s.metric for s in selectors(r.expression.tree)} for rules in recording.values() for r in rules}

    def labels_of(metric: str) -> frozenset[str]:
        known = labels.get(metric)
        return known if known is not None else alert_labels if metric in ALERT_SERIES else _shown_labels(metric)

    def of_rule(rule: CompiledRecordingRule) -> frozenset[str]:
        of_result = frozenset(written_labels(rule.expression.tree)).union(*map(labels_of, selected[id(rule)]))
        return (of_result | rule.labels.keys()) - {name for name, text in rule.labels.items() if not text}

    before: dict[str, frozenset[str]] = {}
    while labels != before:
        before = dict(labels)
        for name, rules in recording.items():
            labels[name] = labels[name].union(*map(of_rule, rules))
    return labels


def contexts(attempt: Attempt) -> Iterator[Context]:
    """Yields a context for each rule that compiles; once for a rule that aliases repeat."""
    lines: dict[object, list[tuple[str, int]]] = defaultdict(list)
    names: dict[str, None] = {}
    alert_labels: set[str] = {*_ALERT_LABELS}
    for group in attempt.groups:
        for parsed in group.rules:
            if not parsed.is_recording:
                names[parsed.name] = None
                alert_labels.update(parsed.labels)
            lines[_identity(parsed)].append((group.file, parsed.line))
    recording: dict[str, list[CompiledRecordingRule]] = defaultdict(list)
    for rule in attempt.rule_set.rules:
        alert_labels.update(written_labels(rule.expression.tree))
        if rule.kind == "recording":
            alert_labels.update(rule.labels)
            recording[rule.name].append(rule)
    labels = frozenset(alert_labels)
    recorded = {name: [rule.expression.tree for rule in rules] for name, rules in recording.items()}
    recorded_labels = _recorded_labels(recording, labels)
    for group, parsed, rule in {id(compiled[2]): compiled for compiled in attempt.compiled}.values():
        same_identity = lines[_identity(parsed)]
        yield Context(group, parsed, rule, labels, names.keys(), same_identity, recording, recorded, recorded_labels)


def _identity(rule: ParsedRule) -> tuple[bool, str, frozenset[tuple[str, str]]]:
    labels = frozenset((name, text.text) for name, text in rule.labels.items() if text.text)
    return rule.is_recording, rule.name, labels
