"""Rules compiled: what a group's file says of each, with everything that is wrong."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from typing import Final, TypeAlias

from exporter.alerts.alert import Severity
from exporter.durations import Duration
from exporter.rules.files.parser import ParsedGroup, ParsedRule, Text
from exporter.rules.finding import Finding, Location
from exporter.rules.promql.expression import Expression, compile_rule
from exporter.rules.promql.lexer import opening
from exporter.rules.promql.lookback import ALL_MS, lookback_ms, looks_back
from exporter.rules.promql.nodes import combine
from exporter.rules.promql.refusal import ExpressionRefused, Problem
from exporter.rules.promql.selectors import RecordedMetric
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.sources import ALERT_SERIES, LOOKBACK_MS
from exporter.rules.promql.traversal import selected_alerts, selectors
from exporter.rules.promql.tree import Tree
from exporter.rules.promql.unsupported import OWN
from exporter.rules.rule import AnyCompiledRule, CompiledAlertingRule, CompiledRecordingRule, CompiledRule
from exporter.rules.templates.lexer import TemplateRefused
from exporter.rules.templates.template import Template
from exporter.rules.templates.values import NOTHING_EXTERNAL, External
from exporter.structures import did_you_mean

_Report: TypeAlias = "Callable[..., None]"
"""Takes the line and the message of an error, and its column."""

_OWN_METRICS: Final = (OWN, "process_", "python_")
"""How names begin that `/metrics` has, or may have in another release."""

_WORD: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)
"""What can be the name of a series, in quotes or not."""

_MOST_QUOTED: Final = 500
"""Characters of an expression's line."""


@dataclass(frozen=True, slots=True)
class Options:
    """A rule that looks back further than ``max_range_seconds`` is an error; ``external`` is what templates know.

    So is a field that is not known, unless ``ignore_unknown_fields``.
    """

    max_range_seconds: float = math.inf
    ignore_unknown_fields: bool = False
    external: External = NOTHING_EXTERNAL


DEFAULTS: Final = Options()


class Compiler:
    """Compiles the rules of ``groups``; ``findings`` takes the errors.

    ``unexpanded`` is to take the rules' labels that are templates.
    """

    def __init__(self, options: Options, groups: Sequence[ParsedGroup], findings: list[Finding]) -> None:
        self.unexpanded: dict[tuple[str, Severity], Sequence[Mapping[str, str]]] = {}
        self._options = options
        self._query_offsets = _query_offsets(groups)
        self._findings = findings
        # Each text is compiled once: whole files are made of a few expressions.
        self._expression = cache(self._compile)
        recording: dict[str, list[ParsedRule]] = defaultdict(list)
        for rule in (rule for group in groups for rule in group.rules if rule.is_recording):
            recording[rule.name].append(rule)
        self._recorded = dict.fromkeys(recording, RecordedMetric())
        words = {
            name: [w for rule in rules for w in _WORD.findall(rule.expr.text)] for name, rules in recording.items()
        }
        for name in in_order(words):
            self._recorded[name] = _any_of([self._recorded_by(rule) for rule in recording[name]])

    def rule(self, group: ParsedGroup, rule: ParsedRule) -> AnyCompiledRule | None:
        """Returns None where the rule does not compile."""

        def report(line: int, message: str, column: int = 0) -> None:
            name = "" if group.has_label_at(line) else rule.name
            self._findings.append(Finding(group.file, line, group.name, name, message, column=column))

        before = len(self._findings)
        common = self._common(group, rule, report)
        if PARTICIPANT in rule.labels:
            report(rule.labels[PARTICIPANT].line, "a rule may not set the label participant")
        compile_kind = self._recording if rule.is_recording else self._alerting
        compiled = compile_kind(common, rule, report)
        return compiled if len(self._findings) == before else None

    def _alerting(self, common: CompiledRule | None, rule: ParsedRule, report: _Report) -> AnyCompiledRule | None:
        severity = _severity(rule, report)
        labels = _templates("label", rule.labels, report)
        annotations = _templates("annotation", rule.annotations, report)
        if common is None or severity is None:
            return None
        policy = rule.labels.get(POLICY)
        return common.as_a(
            CompiledAlertingRule,
            for_seconds=rule.for_seconds,
            keep_firing_for_seconds=rule.keep_firing_for_seconds,
            severity=severity,
            per_policy=bool(policy.text) if policy is not None else common.expression.vector.carries_policy,
            labels=labels,
            annotations=annotations,
            external=self._options.external,
            unexpanded=self.unexpanded,
        )

    def _recording(self, common: CompiledRule | None, rule: ParsedRule, report: _Report) -> AnyCompiledRule | None:
        name = rule.name
        if name in ALERT_SERIES or (":" not in name and name.startswith(_OWN_METRICS)):
            hint = f"a colon makes it another, as in participant:{name}:max"
            report(rule.line, f"`{name}` is a name for series of this program's own; {hint}")
        if common is None:
            return None
        return common.as_a(CompiledRecordingRule, labels={label: text.text for label, text in rule.labels.items()})

    def _common(self, group: ParsedGroup, rule: ParsedRule, report: _Report) -> CompiledRule | None:
        """Returns what rules of both kinds have; None where the expression is refused."""
        query_offset_ms = round(group.query_offset_seconds * 1000)
        expression = self._expression(rule.expr.text)
        if not isinstance(expression, Expression):
            for problem in expression:
                location, message = _located(problem, rule.expr)
                report(location.line, message, location.column)
            return None
        by_time = self._sees_alerts_by_time(expression.tree, group)
        for tree, why in self._too_far(expression.tree, query_offset_ms, by_time=by_time):
            location = rule.expr.location(tree.span.begin)
            report(location.line, f"`{expression.excerpt(tree)}` {why}", location.column)
        return CompiledRule(
            group=group.name,
            name=rule.name,
            expression=expression,
            lookback_ms=self._lookback_ms(expression, query_offset_ms, by_time=by_time),
            file=group.file,
            line=rule.line,
            limit=group.limit,
            query_offset_ms=query_offset_ms,
            sees_alerts_by_time=by_time,
            unexpanded=self.unexpanded,
        )

    def _compile(self, text: str) -> Expression | tuple[Problem, ...]:
        try:
            return compile_rule(text, self._recorded)
        except ExpressionRefused as refused:
            return refused.problems

    def _recorded_by(self, rule: ParsedRule) -> RecordedMetric:
        """Returns what is known of the series that a rule records; of what was not compiled yet, nothing is."""
        expression = self._expression(rule.expr.text)
        if not isinstance(expression, Expression):
            return RecordedMetric()
        policy = rule.labels.get(POLICY)
        carries_policy = bool(policy.text) if policy is not None else expression.vector.carries_policy
        return RecordedMetric(carries_policy, expression.vector.data)

    def _sees_alerts_by_time(self, tree: Tree, group: ParsedGroup) -> bool:
        """Returns whether an expression may select alerts of a group with another offset."""
        offsets, own = self._query_offsets, {group.query_offset_seconds}
        of_alerts = [selector for selector in selectors(tree) if selector.metric in ALERT_SERIES] if offsets else []
        return any(offsets[name] != own for one in of_alerts for name in selected_alerts(one, offsets.keys()))

    def _too_far(self, tree: Tree, query_offset_ms: int, *, by_time: bool) -> Iterator[tuple[Tree, str]]:
        """Yields what looks back further than anything is kept."""
        most_seconds = self._options.max_range_seconds
        for look in looks_back(tree, query_offset_ms, alerts_by_time=by_time):
            # Samples are seen for five minutes more: they come on top.
            if most_seconds * 1000 + LOOKBACK_MS < look.back_ms < ALL_MS:
                back, kept = Duration(look.back_ms / 1000), Duration(most_seconds)
                offset = Duration(query_offset_ms / 1000)
                of_group = f" ({offset} of it are the group's query_offset)" if query_offset_ms else ""
                yield (
                    look.tree,
                    f"looks {back} back{of_group}, and rules.max_range is {kept}: raise it, or look back less",
                )

    def _lookback_ms(self, expression: Expression, query_offset_ms: int, *, by_time: bool) -> Mapping[str, int]:
        looked_ms = lookback_ms(expression.tree, query_offset_ms, alerts_by_time=by_time)
        if math.isinf(self._options.max_range_seconds):
            return looked_ms
        kept_ms = round(self._options.max_range_seconds * 1000) + LOOKBACK_MS
        return {metric: min(ms, kept_ms) for metric, ms in looked_ms.items()}


def _query_offsets(groups: Sequence[ParsedGroup]) -> Mapping[str, frozenset[float]]:
    """Returns the offsets of the groups that raise alerts of a name, in seconds; nothing where all have the same."""
    offsets: dict[str, set[float]] = defaultdict(set)
    for group in groups:
        for rule in (rule for rule in group.rules if not rule.is_recording):
            offsets[rule.name].add(group.query_offset_seconds)
    are_same = len({group.query_offset_seconds for group in groups if group.rules}) < 2
    return {} if are_same else {name: frozenset(of_name) for name, of_name in offsets.items()}


def in_order(made_of: Mapping[str, Iterable[str]]) -> Iterable[str]:
    """Returns the names of what rules record, each after those that it is made of, as far as that can be."""
    others = {name: made_of.keys() & set(names) - {name} for name, names in made_of.items()}
    try:
        return list(TopologicalSorter(others).static_order())
    except CycleError:
        return made_of


def _any_of(rules: Sequence[RecordedMetric]) -> RecordedMetric:
    """Returns what is known of series that several rules record."""
    return RecordedMetric(any(rule.carries_policy for rule in rules), combine("any", *(rule.data for rule in rules)))


def _located(problem: Problem, expr: Text) -> tuple[Location, str]:
    """Returns where in the file something is wrong, and a sentence that quotes that line of the expression alone."""
    if problem.position is None:
        return Location(expr.line), problem.message
    location = expr.location(problem.position)
    error = problem.error
    if error is None or not location.column:
        return location, problem.message
    opened = expr.location(error.opened) if error.opened is not None else None
    also = "" if opened is None else opening(opened.line, opened.column)
    begin = expr.text.rfind("\n", 0, min(problem.position, len(expr.text.rstrip()))) + 1
    quoted = expr.text[begin:].lstrip("\n").partition("\n")[0].strip()
    if len(quoted) > _MOST_QUOTED:
        quoted = f"{quoted[:_MOST_QUOTED]}..."
    return location, f"`{quoted}`{error.verdict}: {error.reason}{also}"


def _severity(rule: ParsedRule, report: _Report) -> Severity | None:
    severities = ", ".join(Severity)
    label = rule.labels.get("severity")
    if label is None:
        report(rule.line, f"a rule needs the label severity ({severities})")
        return None
    try:
        return Severity(label.text)
    except ValueError:
        report(label.line, f"severity `{label.text}` is none of {severities}{did_you_mean(label.text, list(Severity))}")
        return None


def _templates(kind: str, texts: Mapping[str, Text], report: _Report) -> dict[str, Template]:
    templates: dict[str, Template] = {}
    for name, text in texts.items():
        try:
            templates[name] = Template(text.text)
        except TemplateRefused as refused:
            report(text.line, f"{kind} {name}: {refused}")
        except RecursionError:
            report(text.line, f"{kind} {name}: the template is nested too deeply")
    return templates
