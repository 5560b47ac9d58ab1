"""PromQL expressions, parsed with the real grammar and compiled once: the subset that rules may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from exporter.errors import DictRateLimitError
from exporter.rules.promql.compiler import PARTICIPANT, POLICY, Compiler, Problem, expression_text
from exporter.rules.promql.lexer import ParseError
from exporter.rules.promql.nodes import Data, Instant, Node, Scalar
from exporter.rules.promql.parser import parse
from exporter.rules.promql.selectors import AlertNames
from exporter.rules.promql.series import Vector
from exporter.rules.promql.sources import Moment

__all__ = [
    "PARTICIPANT",
    "POLICY",
    "Expression",
    "ExpressionRefused",
    "compile_expression",
    "compile_rule",
    "expression_text",
    "parse",
]


_MOST_QUOTED: Final = 10_000


class ExpressionRefused(DictRateLimitError):
    """An expression cannot be parsed, or is not in the subset."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression and its parsed tree."""

    text: str
    tree: Any
    node: Node

    @property
    def carries_policy(self) -> bool:
        return isinstance(self.node, Instant) and self.node.carries_policy

    @property
    def data(self) -> Data | None:
        return self.node.data if isinstance(self.node, Instant) else None

    def evaluate(self, moment: Moment) -> Vector:
        """Returns the series of a vector. Raises RuleEvaluationFailed."""
        assert isinstance(self.node, Instant)  # noqa: S101 - what rules are compiled to
        return self.node.run(moment)


def compile_rule(text: str, alerts: AlertNames | None) -> Expression:
    """Compiles an alerting rule's expression: a vector whose every series carries ``participant``.

    Raises ExpressionRefused.
    """
    expression = compile_expression(text, alerts)
    if isinstance(expression.node, Scalar):
        raise _refused(expression, "is a number: an alert needs series that carry participant")
    if not expression.node.carries_participant:
        raise _refused(expression, "gives series that do not carry participant")
    return expression


def compile_expression(text: str, alerts: AlertNames | None) -> Expression:
    """Compiles any expression of the subset. Raises ExpressionRefused."""
    try:
        tree = parse(text)
    except ValueError as error:
        line = " ".join(text.split())
        shortened = line if len(line) <= _MOST_QUOTED else f"{line[:_MOST_QUOTED]}..."
        position, reason = (error.position, error.reason) if isinstance(error, ParseError) else (None, "")
        raise ExpressionRefused(Problem(f"`{shortened}` cannot be parsed: {error}", "", position, reason)) from None
    compiler = Compiler(alerts)
    node = compiler.compile(tree)
    if compiler.problems:
        raise ExpressionRefused(*compiler.problems)
    return Expression(text, tree, node)


def _refused(expression: Expression, why: str) -> ExpressionRefused:
    text = expression_text(expression.tree)
    return ExpressionRefused(Problem(f"`{text}` {why}", text))
