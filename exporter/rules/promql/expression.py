"""PromQL expressions, parsed with the real grammar and compiled once: the subset that rules may use.

The tree is turned into closures; what is outside the subset is refused by name. Compiling
also finds out whether every series of the result carries ``participant``, and whether the
expression would look across participants, which a rule may not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import promql_parser as promql

from exporter.errors import DictRateLimitError
from exporter.rules.promql import functions, nodes, unsupported
from exporter.rules.promql.lexer import ParseError
from exporter.rules.promql.nodes import Instant, Node, Scalar
from exporter.rules.promql.parser import parse
from exporter.rules.promql.selectors import AlertNames, matchers_of, select
from exporter.rules.promql.series import METRIC_NAME, PARTICIPANT
from exporter.rules.promql.traversal import grouping_of, matching_of
from exporter.rules.promql.vector_matching import SET_OPERATORS, Match, operation

_MOST_QUOTED: Final = 10_000

_NOTHING: Final = Instant(lambda _: [], nodes.NO_NAME, carries_participant=True, carries_policy=True)
"""Stands for a sub-expression that was refused, so that the others are compiled too."""

_BINARY: Final = SET_OPERATORS | functions.ARITHMETIC.keys() | functions.COMPARISONS.keys()
_MANY: Final[Mapping[int, Literal["left", "right"]]] = {
    int(promql.VectorMatchCardinality.ManyToOne): "left",
    int(promql.VectorMatchCardinality.OneToMany): "right",
}
_UNSUPPORTED: Final = {
    promql.MatrixSelector: f"a range selector is not supported: {unsupported.PRESENT}",
    promql.SubqueryExpr: f"a subquery is not supported: {unsupported.PRESENT}",
    promql.StringLiteral: "a string is not supported here",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an expression is refused: a sentence, and the ``fragment`` that it is about.

    Of an expression that cannot be parsed, ``reason`` is what is wrong at ``position``.
    """

    message: str
    fragment: str
    position: int | None = None
    reason: str = ""


class ExpressionRefused(DictRateLimitError):
    """An expression cannot be parsed, or is not in the subset."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Expression:
    """A rule's expression: its parsed tree, and the vector that it is compiled to."""

    text: str
    tree: Any
    vector: Instant


def compile_rule(text: str, alerts: AlertNames | None) -> Expression:
    """Compiles an alerting rule's expression: a vector whose every series carries ``participant``.

    Raises ExpressionRefused.
    """
    tree, node = _compile(text, alerts)
    if isinstance(node, Scalar):
        raise ExpressionRefused(_problem(tree, "is a number: an alert needs series that carry participant"))
    if not node.carries_participant:
        raise ExpressionRefused(_problem(tree, "gives series that do not carry participant"))
    return Expression(text, tree, node)


def compile_expression(text: str) -> Node:
    """Compiles any expression of the subset. Raises ExpressionRefused."""
    return _compile(text, None)[1]


def _compile(text: str, alerts: AlertNames | None) -> tuple[Any, Node]:
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
    return tree, node


def _problem(tree: Any, why: str) -> Problem:
    text = expression_text(tree)
    return Problem(f"`{text}`{'' if why.startswith(('is ', 'gives ')) else ':'} {why}", text)


def expression_text(tree: Any) -> str:
    """Returns the text of an expression."""
    return _SURPLUS.sub(lambda match: match["text"] or (" " if match["space"] else ""), str(tree))


_SURPLUS: Final = re.compile(r'(?P<text>"(?:[^"\\]|\\.)*")|(?<=[\w:])\{\}|(?P<space> {2,})')
"""What the parser writes and people do not: empty braces after a name, two spaces."""


class Compiler:
    """Compiles one expression; ``problems`` says what was refused.

    ``alerts`` None: those of any alert may be selected.
    """

    def __init__(self, alerts: AlertNames | None) -> None:
        self.problems: list[Problem] = []
        self._alerts = alerts

    def compile(self, tree: Any) -> Node:
        compile_one = _COMPILERS.get(type(tree))
        if compile_one is None:
            return self._refuse(tree, _UNSUPPORTED.get(type(tree), "is not supported"))
        return compile_one(self, tree)

    def _refuse(self, tree: Any, why: str) -> Instant:
        self.problems.append(_problem(tree, why))
        return _NOTHING

    def selector(self, tree: Any) -> Instant:
        if tree.offset is not None:
            return self._refuse(tree, f"offset is not supported: {unsupported.PRESENT}")
        if tree.at is not None:
            return self._refuse(tree, f"@ is not supported: {unsupported.PRESENT}")
        if tree.matchers.or_matchers:
            return self._refuse(tree, "`or` between matchers is not supported")
        matchers = matchers_of(tree)
        name = tree.name
        if name is None:
            names = [m for m in matchers if m.label == METRIC_NAME and m.operator == "="]
            if not names:
                return self._refuse(tree, "a selector must name its metric")
            name = names[0].value
            matchers.remove(names[0])
        try:
            return select(name, matchers, self._alerts)
        except ValueError as error:
            return self._refuse(tree, str(error))

    def negation(self, tree: Any) -> Node:
        operand = self.compile(tree.expr)
        if isinstance(operand, Scalar):
            return nodes.scalar(lambda value: -value, operand)
        return nodes.mapped(operand, lambda value: -value)

    def aggregation(self, tree: Any) -> Instant:
        aggregation = str(tree.op)
        over = self._vector(tree.expr)
        if aggregation not in functions.AGGREGATIONS:
            return self._refuse(tree, unsupported.of_function(aggregation))
        onto = grouping_of(tree)
        if not onto.retains(PARTICIPANT):
            return self._refuse(tree, f"{aggregation} must keep participant: rules do not look across participants")
        return nodes.aggregated(aggregation, over, onto)

    def call(self, tree: Any) -> Node:
        name, arguments = tree.func.name, tree.args
        if name == "time":
            return Scalar(lambda moment: moment.seconds)
        if name == "vector":
            return nodes.plain(self._number(arguments[0]).run)
        if name in functions.LIMITED:
            limits = [self._number(argument) for argument in arguments[1:]]
            return nodes.limited(self._vector(arguments[0]), name, limits or [nodes.constant(1.0)])
        if name in functions.CALENDAR and not arguments:
            read = functions.CALENDAR[name]
            return nodes.plain(lambda moment: read(moment.seconds))
        function = functions.CALENDAR.get(name) or functions.ROUNDING.get(name)
        if function is None:
            return self._refuse(tree, unsupported.of_function(name))
        return nodes.mapped(self._vector(arguments[0]), function)

    def binary(self, tree: Any) -> Node:
        operator, modifier = str(tree.op), tree.modifier
        left, right = self.compile(tree.lhs), self.compile(tree.rhs)
        if operator not in _BINARY:
            return self._refuse(tree, f"{operator} is not supported")
        if _fills(modifier):
            return self._refuse(tree, "fill is not supported")
        as_bool = modifier is not None and modifier.return_bool
        if isinstance(left, Scalar) and isinstance(right, Scalar):
            return nodes.scalar(functions.number_operation(operator), left, right)
        combine = nodes.filtered if operator in functions.COMPARISONS and not as_bool else nodes.computed
        if isinstance(left, Scalar):
            assert isinstance(right, Instant)  # noqa: S101 - two numbers were above
            return combine(operator, right, left, number_first=True)
        if isinstance(right, Scalar):
            return combine(operator, left, right, number_first=False)
        return self._matched(tree, left, right, as_bool=as_bool)

    def _matched(self, tree: Any, left: Instant, right: Instant, *, as_bool: bool) -> Instant:
        try:
            return operation(str(tree.op), left, right, _match(tree), as_bool=as_bool)
        except ValueError as error:
            return self._refuse(tree, str(error))

    def _vector(self, tree: Any) -> Instant:
        node = self.compile(tree)
        return node if isinstance(node, Instant) else self._refuse(tree, "must be an instant vector")

    def _number(self, tree: Any) -> Scalar:
        node = self.compile(tree)
        if isinstance(node, Scalar):
            return node
        self._refuse(tree, "must be a number")
        return nodes.constant(math.nan)


def _match(tree: Any) -> Match:
    on, modifier = matching_of(tree), tree.modifier
    if modifier is None:
        return Match(on)
    return Match(on, _MANY.get(int(modifier.card)), tuple(modifier.group_labels or ()))


def _fills(modifier: Any) -> bool:
    """Whether missing matches are filled in, which Prometheus 2 does not support."""
    values = getattr(modifier, "fill_values", None)
    return values is not None and any(
        getattr(values, name) is not None for name in dir(values) if not name.startswith("_")
    )


_COMPILERS: Final[dict[type, Callable[[Compiler, Any], Node]]] = {
    promql.NumberLiteral: lambda _, tree: nodes.constant(tree.val),
    promql.ParenExpr: lambda compiler, tree: compiler.compile(tree.expr),
    promql.VectorSelector: Compiler.selector,
    promql.UnaryExpr: Compiler.negation,
    promql.AggregateExpr: Compiler.aggregation,
    promql.Call: Compiler.call,
    promql.BinaryExpr: Compiler.binary,
}
