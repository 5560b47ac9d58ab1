"""Groups as written made into rules that can be evaluated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import Severity
from exporter.rules.finding import Finding
from exporter.rules.promql.expression import PARTICIPANT, POLICY, ExpressionRefused, compile_rule
from exporter.rules.rule import CompiledRule, unexpanded_labels
from exporter.rules.templates.template import Template, TemplateRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporter.rules.parsing import ParsedGroup, ParsedRule, Text
    from exporter.rules.promql.selecting import AlertNames
    from exporter.rules.promql.sources import LatestSource

SEVERITY: Final = "severity"


def compile_group(
    group: ParsedGroup, alerts: AlertNames, sources: LatestSource, findings: list[Finding]
) -> tuple[CompiledRule, ...]:
    """Returns the group's rules that compile; ``findings`` takes what is wrong with the others."""
    made = [_compile(group, rule, alerts, sources, findings) for rule in group.rules]
    compiled = [rule for rule in made if rule is not None]
    unexpanded = unexpanded_labels(compiled)
    return tuple(replace(rule, unexpanded=unexpanded) for rule in compiled)


def _compile(
    group: ParsedGroup, rule: ParsedRule, alerts: AlertNames, sources: LatestSource, findings: list[Finding]
) -> CompiledRule | None:
    def wrong(line: int, message: str) -> None:
        findings.append(Finding(group.file, line, group.name, rule.name, message))

    before = len(findings)
    expression = None
    try:
        expression = compile_rule(rule.expr.text, alerts)
    except ExpressionRefused as refused:
        for problem in refused.problems:
            wrong(rule.expr.line_of(problem.construct), problem.message)
    except RecursionError:
        wrong(rule.line, "the expression is nested too deeply")
    severity = _severity(rule, wrong)
    if PARTICIPANT in rule.labels:
        wrong(rule.labels[PARTICIPANT].line, "a rule may not set the label participant")
    labels = _templates(rule.name, "label", rule.labels, wrong)
    annotations = _templates(rule.name, "annotation", rule.annotations, wrong)
    if expression is None or severity is None or len(findings) > before:
        return None
    own_policy = rule.labels.get(POLICY)
    return CompiledRule(
        group=group.name,
        name=rule.name,
        expression=expression,
        for_seconds=rule.for_seconds,
        keep_firing_for_seconds=rule.keep_firing_for_seconds,
        severity=severity,
        per_policy=bool(own_policy.text) if own_policy is not None else expression.carries_policy,
        labels=labels,
        annotations=annotations,
        file=group.file,
        line=rule.line,
        data=expression.data,
        sources=sources,
    )


def _severity(rule: ParsedRule, wrong: Callable[[int, str], None]) -> Severity | None:
    known = ", ".join(Severity)
    given = rule.labels.get(SEVERITY)
    if given is None:
        wrong(rule.line, f"a rule needs the label severity ({known})")
        return None
    try:
        return Severity(given.text)
    except ValueError:
        wrong(given.line, f"severity `{given.text}` is none of {known}")
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
