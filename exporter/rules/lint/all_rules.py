"""The rules of all files together: what one of them can select of another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Final, TypeAlias

from exporter.buckets.gauges import METRIC_NAMES
from exporter.rules.files.compiler import in_order
from exporter.rules.files.loading import Attempt
from exporter.rules.files.parser import ParsedRule
from exporter.rules.lint.comparisons import Comparisons
from exporter.rules.lint.label_names import LabelNames, shown_labels
from exporter.rules.lint.label_values import LabelValues
from exporter.rules.promql.series import PARTICIPANT
from exporter.rules.promql.sources import ALERT_SERIES, ALERTS
from exporter.rules.promql.traversal import selected_alerts, selectors, written_labels
from exporter.rules.promql.tree import Selector
from exporter.rules.rule import AnyCompiledRule, CompiledAlertingRule, CompiledRecordingRule

SCRAPED_LABELS: Final = frozenset({"job", "instance"})
"""Labels that a scrape adds: in Prometheus every series has them, here none."""

_OF_ALL_ALERTS: Final = frozenset({"alertname", "alertstate", "severity", PARTICIPANT})

MOST_ALERTS: Final = 50
"""Of how many names of alerts it is looked at what they have in common."""

_MOST_ROUNDS: Final = 20
"""Rules that select each other in a chain longer than that may have any labels."""

Recording: TypeAlias = "Mapping[str, Sequence[CompiledRecordingRule]]"


@dataclass(frozen=True)
class AllRules:
    """``alerting`` and ``recording`` are those that compile, by name; a record comes after those it is made of.

    ``refused`` are kind and name of rules that do not compile: nothing is known of what else of that name there is.
    ``alert_names`` are of all rules that alert. ``written`` are the labels that rules and their expressions write.
    ``same_identity`` are file and line of every rule, by what makes its alerts or series its own.
    """

    alerting: Mapping[str, Sequence[CompiledAlertingRule]]
    recording: Recording
    refused: frozenset[tuple[str, str]]
    alert_names: frozenset[str]
    written: frozenset[str]
    same_identity: Mapping[object, Sequence[tuple[str, int]]]
    comparisons: Comparisons = field(default_factory=Comparisons)
    have_condition: dict[str, bool] = field(default_factory=dict)
    """Of records, whether a check found that they do."""
    _alerts_of: dict[tuple[tuple[str, str], ...], Sequence[str]] = field(default_factory=dict)

    @cached_property
    def label_names(self) -> LabelNames:
        return LabelNames(self.labels_of)

    @cached_property
    def label_values(self) -> LabelValues:
        known = {name: rules for name, rules in self.recording.items() if ("recording", name) not in self.refused}
        return LabelValues(known, self.labels_of)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Where a record stands among those that it is made of."""
        return {name: index for index, name in enumerate(self.recording)}

    @cached_property
    def alerts_through(self) -> Mapping[str, frozenset[str]]:
        """The names of alerts that records are made of, by the record's name."""
        through: dict[str, frozenset[str]] = {}
        for name, selected in (*self._selected.items(), *self._selected.items()):  # twice: some are made of each other
            own = (self.alerts_of(one) for one in selected if one.metric in ALERT_SERIES)
            through[name] = frozenset[str]().union(*own, *(through.get(one.metric, ()) for one in selected))
        return through

    def is_unknown(self, selector: Selector) -> bool:
        """Returns whether what a selector selects may come from a rule that does not compile, or from none."""
        metric = selector.metric
        if metric in ALERT_SERIES:
            return self._is_of_refused_alert(selector)
        return metric in self._unknown_records or (metric not in METRIC_NAMES and metric not in self.recording)

    def labels_of(self, selector: Selector) -> frozenset[str]:
        """Returns the labels that the series of a selector can have."""
        return self._labels_of(selector, self._labels)

    def alerts_of(self, selector: Selector) -> Sequence[str]:
        """Returns the names of rules whose alerts a selector of alerts selects; of many `MOST_ALERTS` and one."""
        key = tuple((m.operator, m.value) for m in selector.conditions if m.label == "alertname")
        names = self._alerts_of.get(key)
        if names is None:
            names = self._alerts_of[key] = tuple(islice(selected_alerts(selector, self.alert_names), MOST_ALERTS + 1))
        return names

    def made_of(self, metrics: Iterable[str]) -> frozenset[str]:
        """Returns metrics, and those that what is recorded of them is made of."""
        reached: set[str] = set()
        ahead = list(metrics)
        while ahead:
            metric = ahead.pop()
            if metric not in reached:
                reached.add(metric)
                ahead += self._directly_of.get(metric, ())
        return frozenset(reached)

    def _is_of_refused_alert(self, selector: Selector) -> bool:
        is_of_alerts = selector.metric in ALERT_SERIES
        return is_of_alerts and any(("alerting", name) in self.refused for name in self.alerts_of(selector))

    @cached_property
    def _unknown_records(self) -> frozenset[str]:
        unknown = {name for kind, name in self.refused if kind == "recording"}
        for name, selected in self._selected.items():
            if any(one.metric in unknown for one in selected) or any(map(self._is_of_refused_alert, selected)):
                unknown.add(name)
        return frozenset(unknown)

    @cached_property
    def _selected(self) -> Mapping[str, Sequence[Selector]]:
        """The selectors of what records are made of."""
        return {name: list(_selectors(rules)) for name, rules in self.recording.items()}

    @cached_property
    def _directly_of(self) -> Mapping[str, frozenset[str]]:
        return {name: frozenset(one.metric for one in selected) for name, selected in self._selected.items()}

    @cached_property
    def _any_labels(self) -> frozenset[str]:
        shown = frozenset[str]().union(*map(shown_labels, METRIC_NAMES))
        return _OF_ALL_ALERTS | SCRAPED_LABELS | shown | self.written

    @cached_property
    def _labels(self) -> Mapping[tuple[str, str], frozenset[str]]:
        """The labels of alerts and recorded series, by kind and name: from few to more, until no rule adds any."""
        labels = {("recording", name): frozenset[str]() for name in self.recording}
        labels |= {("alerting", name): _OF_ALL_ALERTS for name in self.alerting}
        rules: list[AnyCompiledRule] = [rule for of_name in self.recording.values() for rule in of_name]
        rules += [rule for of_name in self.alerting.values() for rule in of_name]
        for _ in range(_MOST_ROUNDS):
            before = dict(labels)
            for rule in rules:
                of_result = LabelNames(lambda selector: self._labels_of(selector, labels)).of(rule.expression.tree)
                labels[rule.kind, rule.name] |= (of_result | rule.labels.keys()) - _removed(rule)
            if labels == before:
                return labels
        return dict.fromkeys(labels, self._any_labels)

    def _labels_of(self, selector: Selector, labels: Mapping[tuple[str, str], frozenset[str]]) -> frozenset[str]:
        metric = selector.metric
        if metric in METRIC_NAMES:
            return SCRAPED_LABELS | shown_labels(metric)
        if self.is_unknown(selector):
            return self._any_labels
        if metric in self.recording:
            return labels["recording", metric]
        names = self.alerts_of(selector) if pins_alert(selector) else ()
        are_few = 0 < len(names) <= MOST_ALERTS
        of_names = frozenset[str]().union(*(labels["alerting", n] for n in names)) if are_few else self._any_labels
        return of_names if metric == ALERTS else of_names - ({"alertstate"} - self.written)


def _removed(rule: AnyCompiledRule) -> set[str]:
    """Returns the labels that a rule removes."""
    fixed = rule.labels if rule.kind == "recording" else rule.fixed_labels
    return {name for name, text in fixed.items() if not text}


def pins_alert(selector: Selector) -> bool:
    """Returns whether a selector of alerts asks for their name."""
    return any(matcher.label == "alertname" for matcher in selector.conditions)


def _selectors(rules: Iterable[AnyCompiledRule]) -> Iterator[Selector]:
    return (selected for rule in rules for selected in selectors(rule.expression.tree))


def identity(rule: ParsedRule) -> object:
    labels = frozenset((name, text.text) for name, text in rule.labels.items() if text.text)
    return rule.is_recording, rule.name, labels


def all_rules(attempt: Attempt) -> AllRules:
    names: set[str] = set()
    written: set[str] = set()
    lines: dict[object, list[tuple[str, int]]] = defaultdict(list)
    for group in attempt.groups:
        for parsed in group.rules:
            written.update(parsed.labels)
            if not parsed.is_recording:
                names.add(parsed.name)
            lines[identity(parsed)].append((group.file, parsed.line))
    alerting: dict[str, list[CompiledAlertingRule]] = defaultdict(list)
    recording: dict[str, list[CompiledRecordingRule]] = defaultdict(list)
    for rule in attempt.rule_set.rules:
        written.update(written_labels(rule.expression.tree))
        if rule.kind == "recording":
            recording[rule.name].append(rule)
        else:
            alerting[rule.name].append(rule)
    compiled = {id(parsed) for _, parsed, _ in attempt.compiled}
    refused = frozenset(
        ("recording" if parsed.is_recording else "alerting", parsed.name)
        for group in attempt.groups
        for parsed in group.rules
        if id(parsed) not in compiled
    )
    made_of = {name: [selected.metric for selected in _selectors(rules)] for name, rules in recording.items()}
    in_turn = {name: recording[name] for name in in_order(made_of)}
    return AllRules(dict(alerting), in_turn, refused, frozenset(names), frozenset(written), lines)
