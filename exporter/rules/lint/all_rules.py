"""The rules of all files together: what one of them can select of another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from exporter.buckets.gauges import BUCKET_METRIC_BY_NAME, PARTICIPANT_GAUGE_BY_NAME, BucketCounter
from exporter.rules.files.loading import Attempt
from exporter.rules.files.parser import ParsedRule
from exporter.rules.lint.label_names import LabelNames
from exporter.rules.lint.label_values import LabelValues
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERT_SERIES
from exporter.rules.promql.traversal import selectors, written_labels
from exporter.rules.rule import CompiledAlertingRule, CompiledRecordingRule

SCRAPED_LABELS: Final = frozenset({"job", "instance"})
"""Labels that a scrape adds: in Prometheus every series has them, here none."""

_ALERT_LABELS: Final = SCRAPED_LABELS.union(
    ("alertname", "alertstate", "severity", PARTICIPANT, POLICY, "psp_category", "previous_psp_category")
)


@dataclass(frozen=True)
class AllRules:
    """``alerting`` are those that compile, by name, ``recording`` too. ``alert_names`` are of all that alert.

    ``alert_labels`` are those that alerts of any rule can have, ``written`` those that rules and their expressions
    write. ``same_identity`` are file and line of every rule, by what makes its alerts or series its own.
    """

    alerting: Mapping[str, Sequence[CompiledAlertingRule]]
    recording: Mapping[str, Sequence[CompiledRecordingRule]]
    alert_names: frozenset[str]
    alert_labels: frozenset[str]
    written: frozenset[str]
    same_identity: Mapping[object, Sequence[tuple[str, int]]]

    @cached_property
    def label_names(self) -> LabelNames:
        return LabelNames(self.labels_of)

    @cached_property
    def label_values(self) -> LabelValues:
        return LabelValues(self.recording)

    def labels_of(self, metric: str) -> frozenset[str]:
        """Returns the labels that series of a metric can have."""
        if metric in self.recording:
            return self._recorded_labels[metric]
        return self.alert_labels if metric in ALERT_SERIES else _shown_labels(metric)

    def made_of(self, metrics: Iterable[str]) -> frozenset[str]:
        """Returns metrics, and those that what is recorded of them is made of."""
        reached: set[str] = set()
        ahead = list(metrics)
        while ahead:
            metric = ahead.pop()
            if metric not in reached:
                reached.add(metric)
                rules = self.recording.get(metric, ())
                ahead += (selected.metric for rule in rules for selected in selectors(rule.expression.tree))
        return frozenset(reached)

    @cached_property
    def _recorded_labels(self) -> Mapping[str, frozenset[str]]:
        """The labels that recorded series can have, by name: from few to more, until no rule adds any."""
        labels = dict.fromkeys(self.recording, frozenset[str]())

        def labels_of(metric: str) -> frozenset[str]:
            known = labels.get(metric)
            return known if known is not None else self.labels_of(metric)

        def of_rule(rule: CompiledRecordingRule) -> frozenset[str]:
            of_result = LabelNames(labels_of).of(rule.expression.tree)
            return (of_result | rule.labels.keys()) - {name for name, text in rule.labels.items() if not text}

        before: dict[str, frozenset[str]] = {}
        while labels != before:
            before = dict(labels)
            for name, rules in self.recording.items():
                labels[name] = labels[name].union(*map(of_rule, rules))
        return labels


def identity(rule: ParsedRule) -> object:
    labels = frozenset((name, text.text) for name, text in rule.labels.items() if text.text)
    return rule.is_recording, rule.name, labels


def all_rules(attempt: Attempt) -> AllRules:
    names: set[str] = set()
    alert_labels: set[str] = {*_ALERT_LABELS}
    lines: dict[object, list[tuple[str, int]]] = defaultdict(list)
    for group in attempt.groups:
        for parsed in group.rules:
            if not parsed.is_recording:
                names.add(parsed.name)
                alert_labels.update(parsed.labels)
            lines[identity(parsed)].append((group.file, parsed.line))
    alerting: dict[str, list[CompiledAlertingRule]] = defaultdict(list)
    recording: dict[str, list[CompiledRecordingRule]] = defaultdict(list)
    written: set[str] = set()
    for rule in attempt.rule_set.rules:
        written.update(rule.labels, written_labels(rule.expression.tree))
        if rule.kind == "recording":
            recording[rule.name].append(rule)
        else:
            alerting[rule.name].append(rule)
    return AllRules(
        dict(alerting), dict(recording), frozenset(names), frozenset(alert_labels | written), frozenset(written), lines
    )


def _shown_labels(metric: str) -> frozenset[str]:
    """Returns the labels that series of what polls show can have."""
    of_buckets = BUCKET_METRIC_BY_NAME.get(metric)
    if of_buckets is not None:
        more = {of_buckets.label} if isinstance(of_buckets, BucketCounter) else set[str]()
        return SCRAPED_LABELS | {PARTICIPANT, POLICY} | more
    gauge = PARTICIPANT_GAUGE_BY_NAME.get(metric)
    return SCRAPED_LABELS | {PARTICIPANT, *(gauge.label_names if gauge else ())}
