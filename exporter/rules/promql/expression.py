"""PromQL, parsed with the real grammar and compiled once: the subset that rules may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from exporter.rules.promql.compiler import PARTICIPANT, POLICY, Compiler, Problem, written
from exporter.rules.promql.lexer import Misplaced
from exporter.rules.promql.nodes import Data, Instant, Node, Scalar
from exporter.rules.promql.parser import parse

if TYPE_CHECKING:
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
    "parse",
    "written",
]


_MOST_SHOWN: Final = 10_000


class ExpressionRefused(Exception):
    """An expression cannot be parsed, or is not in the subset."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression and the tree that it was made from."""

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
    made = compile_expression(text, alerts)
    if isinstance(made.node, Scalar):
        raise _refused(made, "is a number: an alert needs series that carry participant")
    if not made.node.carries_participant:
        raise _refused(made, "gives series that do not carry participant")
    return made


def compile_expression(text: str, alerts: AlertNames | None) -> Expression:
    """Compiles any expression of the subset. Raises ExpressionRefused."""
    try:
        tree = parse(text)
    except ValueError as error:
        quoted = f"`{_beginning(' '.join(text.split()))}` cannot be parsed"
        position, fault = (error.position, error.fault) if isinstance(error, Misplaced) else (None, "")
        raise ExpressionRefused(Problem(f"{quoted}: {error}", "", position, fault)) from None
    compiler = Compiler(alerts)
    node = compiler.compile(tree)
    if compiler.problems:
        raise ExpressionRefused(*compiler.problems)
    return Expression(text, tree, node)


def _beginning(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def _refused(made: Expression, why: str) -> ExpressionRefused:
    text = written(made.tree)
    return ExpressionRefused(Problem(f"`{text}` {why}", text))
