"""Groups as written, compiled into rules that can be evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from exporter.alerts.alert import Severity
from exporter.rules.files.parser import ParsedGroup, ParsedRule, Text
from exporter.rules.finding import Finding
from exporter.rules.promql.expression import Expression, ExpressionRefused, Problem, compile_rule
from exporter.rules.promql.selectors import AlertNames
from exporter.rules.promql.series import PARTICIPANT, POLICY
from exporter.rules.promql.sources import LatestSource
from exporter.rules.rule import CompiledRule, unexpanded_labels
from exporter.rules.templates.lexer import TemplateRefused
from exporter.rules.templates.template import Template
from exporter.structures import did_you_mean

SEVERITY: Final = "severity"

_MOST_QUOTED: Final = 500
"""Characters of an expression's line."""


def compile_group(
    group: ParsedGroup, alerts: AlertNames, sources: LatestSource, findings: list[Finding]
) -> list[tuple[ParsedRule, CompiledRule]]:
    """Returns the group's rules that compile, each beside itself as written; ``findings`` takes the errors."""
    compiler = _Compiler(group, alerts, sources, findings)
    compiled = {id(rule): compiler.rule(rule) for rule in {id(rule): rule for rule in group.rules}.values()}
    compiler.unexpanded |= unexpanded_labels(rule for rule in compiled.values() if rule is not None)
    return [(written, rule) for written in group.rules if (rule := compiled[id(written)]) is not None]


class _Compiler:
    """Compiles the rules of one group."""

    def __init__(self, group: ParsedGroup, alerts: AlertNames, sources: LatestSource, findings: list[Finding]) -> None:
        self.unexpanded: dict[tuple[str, str, Severity], Mapping[str, str]] = {}
        self._group = group
        self._sources = sources
        self._findings = findings
        # Each text is compiled once: whole files are made of a few expressions.
        self._expression = cache(lambda text: _expression(text, alerts))

    def rule(self, rule: ParsedRule) -> CompiledRule | None:
        def report(line: int, message: str) -> None:
            self._findings.append(Finding(self._group.file, line, self._group.name, rule.name, message))

        before = len(self._findings)
        expression = self._expression(rule.expr.text)
        if not isinstance(expression, Expression):
            for problem in expression:
                report(*_located(problem, rule.expr))
        severity = _severity(rule, report)
        if PARTICIPANT in rule.labels:
            report(rule.labels[PARTICIPANT].line, "a rule may not set the label participant")
        labels = _templates("label", rule.labels, report)
        annotations = _templates("annotation", rule.annotations, report)
        if not isinstance(expression, Expression) or severity is None or len(self._findings) > before:
            return None
        own_policy = rule.labels.get(POLICY)
        return CompiledRule(
            group=self._group.name,
            name=rule.name,
            expression=expression,
            for_seconds=rule.for_seconds,
            keep_firing_for_seconds=rule.keep_firing_for_seconds,
            severity=severity,
            per_policy=bool(own_policy.text) if own_policy is not None else expression.vector.carries_policy,
            labels=labels,
            annotations=annotations,
            file=self._group.file,
            line=rule.line,
            unexpanded=self.unexpanded,
            sources=self._sources,
        )


def _expression(text: str, alerts: AlertNames) -> Expression | tuple[Problem, ...]:
    try:
        return compile_rule(text, alerts)
    except ExpressionRefused as refused:
        return refused.problems
    except RecursionError:
        return (Problem("the expression is nested too deeply", ""),)


def _located(problem: Problem, expr: Text) -> tuple[int, str]:
    """Returns the line in the file of what is wrong, and a sentence that quotes that line of the expression alone."""
    location = expr.locate(problem.position) if problem.position is not None else None
    if problem.position is None or location is None:
        return expr.line_of(problem.fragment), problem.message
    line, column = location
    begin = expr.text.rfind("\n", 0, problem.position) + 1
    quoted = expr.text[begin:].lstrip("\n").partition("\n")[0].strip()
    if len(quoted) > _MOST_QUOTED:
        quoted = f"{quoted[:_MOST_QUOTED]}..."
    return line, f"`{quoted}` cannot be parsed, column {column}: {problem.reason}"


def _severity(rule: ParsedRule, report: Callable[[int, str], None]) -> Severity | None:
    severities = ", ".join(Severity)
    label = rule.labels.get(SEVERITY)
    if label is None:
        report(rule.line, f"a rule needs the label severity ({severities})")
        return None
    try:
        return Severity(label.text)
    except ValueError:
        report(label.line, f"severity `{label.text}` is none of {severities}{did_you_mean(label.text, list(Severity))}")
        return None


def _templates(kind: str, texts: Mapping[str, Text], report: Callable[[int, str], None]) -> dict[str, Template]:
    templates: dict[str, Template] = {}
    for name, text in texts.items():
        try:
            templates[name] = Template(text.text)
        except TemplateRefused as refused:
            report(text.line, f"{kind} {name}: {refused}")
        except RecursionError:
            report(text.line, f"{kind} {name}: the template is nested too deeply")
    return templates
