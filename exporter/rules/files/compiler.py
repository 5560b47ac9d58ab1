"""Groups as written made into rules that can be evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import Severity
from exporter.rules.finding import Finding
from exporter.rules.promql.compiler import Problem
from exporter.rules.promql.expression import PARTICIPANT, POLICY, Expression, ExpressionRefused, compile_rule
from exporter.rules.promql.unsupported import nearest
from exporter.rules.rule import CompiledRule, unexpanded_labels
from exporter.rules.templates.template import Template, TemplateRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.rules.files.parser import ParsedGroup, ParsedRule, Text
    from exporter.rules.promql.selectors import AlertNames
    from exporter.rules.promql.sources import LatestSource

SEVERITY: Final = "severity"

_MOST_QUOTED: Final = 500
"""Characters of an expression's line."""


def compile_group(
    group: ParsedGroup, alerts: AlertNames, sources: LatestSource, findings: list[Finding]
) -> list[tuple[ParsedRule, CompiledRule]]:
    """Returns the group's rules that compile, as written too; ``findings`` takes what is wrong with the others."""
    compiler = _Compiler(group, alerts, sources, findings)
    made = {id(rule): compiler.rule(rule) for rule in {id(rule): rule for rule in group.rules}.values()}
    compiler.unexpanded |= unexpanded_labels(compiled for compiled in made.values() if compiled is not None)
    return [(rule, compiled) for rule in group.rules if (compiled := made[id(rule)]) is not None]


class _Compiler:
    """Compiles the rules of one group."""

    def __init__(self, group: ParsedGroup, alerts: AlertNames, sources: LatestSource, findings: list[Finding]) -> None:
        self.unexpanded: dict[tuple[str, str, Severity], Mapping[str, str]] = {}
        self._group = group
        self._alerts = alerts
        self._sources = sources
        self._findings = findings
        self._expressions: dict[str, Expression | tuple[Problem, ...]] = {}

    def rule(self, rule: ParsedRule) -> CompiledRule | None:
        def wrong(line: int, message: str) -> None:
            self._findings.append(Finding(self._group.file, line, self._group.name, rule.name, message))

        before = len(self._findings)
        made = self._expression(rule.expr.text)
        expression = made if isinstance(made, Expression) else None
        for problem in () if isinstance(made, Expression) else made:
            wrong(*_placed(problem, rule.expr))
        severity = _severity(rule, wrong)
        if PARTICIPANT in rule.labels:
            wrong(rule.labels[PARTICIPANT].line, "a rule may not set the label participant")
        labels = _templates(rule.name, "label", rule.labels, wrong)
        annotations = _templates(rule.name, "annotation", rule.annotations, wrong)
        if expression is None or severity is None or len(self._findings) > before:
            return None
        own_policy = rule.labels.get(POLICY)
        return CompiledRule(
            group=self._group.name,
            name=rule.name,
            expression=expression,
            for_seconds=rule.for_seconds,
            keep_firing_for_seconds=rule.keep_firing_for_seconds,
            severity=severity,
            per_policy=bool(own_policy.text) if own_policy is not None else expression.carries_policy,
            labels=labels,
            annotations=annotations,
            file=self._group.file,
            line=rule.line,
            data=expression.data,
            unexpanded=self.unexpanded,
            sources=self._sources,
        )

    def _expression(self, text: str) -> Expression | tuple[Problem, ...]:
        """Compiles each text once: whole files are made of a few expressions."""
        made = self._expressions.get(text)
        if made is None:
            made = self._expressions[text] = _expression(text, self._alerts)
        return made


def _expression(text: str, alerts: AlertNames) -> Expression | tuple[Problem, ...]:
    try:
        return compile_rule(text, alerts)
    except ExpressionRefused as refused:
        return refused.problems
    except RecursionError:
        return (Problem("the expression is nested too deeply", ""),)


def _placed(problem: Problem, expr: Text) -> tuple[int, str]:
    """Returns the line in the file of what is wrong, and a sentence that quotes that line of the expression alone."""
    found = expr.place(problem.position) if problem.position is not None else None
    if problem.position is None or found is None:
        return expr.line_of(problem.construct), problem.message
    line, column = found
    begin = expr.text.rfind("\n", 0, problem.position) + 1
    quoted = expr.text[begin:].lstrip("\n").partition("\n")[0].strip()
    return line, f"`{_shortened(quoted)}` cannot be parsed, column {column}: {problem.fault}"


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


def _severity(rule: ParsedRule, wrong: Callable[[int, str], None]) -> Severity | None:
    known = ", ".join(Severity)
    given = rule.labels.get(SEVERITY)
    if given is None:
        wrong(rule.line, f"a rule needs the label severity ({known})")
        return None
    try:
        return Severity(given.text)
    except ValueError:
        wrong(given.line, f"severity `{given.text}` is none of {known}{nearest(given.text, list(Severity))}")
        return None


def _templates(
    alert: str, kind: str, texts: Mapping[str, Text], wrong: Callable[[int, str], None]
) -> dict[str, Template]:
    made: dict[str, Template] = {}
    for name, given in texts.items():
        try:
            made[name] = Template(given.text, alert)
        except TemplateRefused as refused:
            wrong(given.line, f"{kind} {name}: {refused}")
        except RecursionError:
            wrong(given.line, f"{kind} {name}: the template is nested too deeply")
    return made
