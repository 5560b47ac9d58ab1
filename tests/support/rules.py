"""Rules and expressions for tests."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

from exporter.rules.files.loading import attempt, load
from exporter.rules.lint.known_values import ANY_INSTALLATION
from exporter.rules.lint.linter import warnings
from exporter.rules.promql.expression import compile_expression
from exporter.rules.promql.nodes import Instant
from exporter.rules.promql.refusal import ExpressionRefused
from exporter.rules.promql.series import format_series
from exporter.rules.promql.sources import GaugeSource, Moment
from tests.support.builders import view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exporter.alerts.alert import Alert
    from exporter.alerts.history import History
    from exporter.buckets.observation import View
    from exporter.rules.files.loading import RuleSet
    from exporter.rules.lint.known_values import Installation
    from exporter.rules.promql.series import Vector
    from exporter.rules.rule import CompiledRule


def evaluated(
    expr: str, seen: View | None = None, alerts: Sequence[Alert] = (), history: History | None = None
) -> dict[str, float]:
    """What an expression gives over a view: values by series, as Prometheus writes them."""
    return {format_series(name, labels): value for name, labels, value in vector(expr, seen, alerts, history)}


def vector(expr: str, seen: View | None = None, alerts: Sequence[Alert] = (), history: History | None = None) -> Vector:
    seen = view() if seen is None else seen
    moment = Moment(GaugeSource(seen, history), alerts)
    node = compile_expression(expr)
    assert isinstance(node, Instant)
    return node.run(moment)


def number(expr: str) -> float:
    """The value of an expression without labels."""
    [(_, _, value)] = vector(f"vector({expr})")
    return value


def refusal(expr: str) -> str:
    """Why an expression is refused."""
    try:
        compile_expression(expr)
    except ExpressionRefused as refused:
        return str(refused)
    return ""


def rule_file(folder: Path, *rules: str, name: str = "rules.yml", group: str = "dict") -> str:
    """Writes a rule file of one group; each rule is the text of a YAML mapping."""
    made = "".join(indent(rule.strip("\n"), "      ").replace("      ", "    - ", 1) + "\n" for rule in rules)
    file = folder / name
    file.write_text(f"groups:\n  - name: {group}\n    rules:\n{made}")
    return str(file)


def rule(folder: Path, expr: str, *more: str) -> CompiledRule:
    """One compiled rule; ``more`` are lines of it."""
    own_labels = any(line.startswith("labels:") for line in more)
    lines = "\n".join(more if own_labels else ("labels: {severity: warning}", *more))
    return rules(folder, f"alert: TokensLow\nexpr: {expr}\n{lines}").rules[0]


def rules(folder: Path, *texts: str) -> RuleSet:
    return load([rule_file(folder, *texts)])


def alert_rule(expr: str, *more: str, name: str = "A") -> str:
    """A rule without anything that checks warn of, but for its expression and what the lines ``more`` say."""
    text = expr.replace("'", "''")
    return "\n".join(
        (f"alert: {name}", f"expr: '{text}'", "labels: {severity: info}", "annotations: {runbook_url: x}", *more)
    )


def warned(folder: Path, check: str, *texts: str, installation: Installation = ANY_INSTALLATION) -> list[str]:
    """What a check says of rules."""
    found = warnings(attempt([rule_file(folder, *texts)]), installation)
    return [finding.message for finding in found if finding.check == check]
