"""PromQL expressions, parsed and compiled once: the subset that rules may use.

Each part of the tree is turned into a closure; what is outside the subset is refused by name. Compiling also finds out
whether every series of the result carries ``participant``, and whether the expression would look across participants,
which a rule may not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from exporter.rules.promql import functions, nodes, ranges, unsupported
from exporter.rules.promql.aggregations import CHOICES, FOLDS
from exporter.rules.promql.calls import ABSENT, CALLS, named, storable, writable
from exporter.rules.promql.lexer import ParseError
from exporter.rules.promql.lookback import looked_at
from exporter.rules.promql.nodes import Instant, Scalar
from exporter.rules.promql.parser import TOO_DEEP, parse
from exporter.rules.promql.pinned import absent, absent_labels, only_of, pin_problems, pinned_participants
from exporter.rules.promql.ranges import NO_SAMPLES, Node, RangeVector, Selection
from exporter.rules.promql.refusal import ExpressionRefused, Problem
from exporter.rules.promql.selectors import RecordedMetrics, predicate, select
from exporter.rules.promql.series import METRIC_NAME, PARTICIPANT, Vector
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.sources import Moment
from exporter.rules.promql.time_shifts import instant_of, positive_length
from exporter.rules.promql.traversal import excerpt
from exporter.rules.promql.tree import (
    SET_OPERATORS,
    Aggregation,
    Binary,
    Call,
    Number,
    Paren,
    Range,
    Selector,
    Subquery,
    Text,
    Tree,
    Unary,
    walk,
    without_parens,
)
from exporter.rules.promql.vector_matching import Match, operation

_MOST_QUOTED: Final = 1000
"""Characters of an expression."""

_NOTHING: Final = Instant(lambda _: [], nodes.NO_NAME, carries_participant=True, carries_policy=True)
_STANDS_FOR: Final[Mapping[ValueType, Node]] = {
    ValueType.SCALAR: nodes.constant(math.nan),
    ValueType.RANGE: RangeVector(lambda _: NO_SAMPLES, nodes.NO_NAME, carries_participant=True, carries_policy=True),
}
"""What stands for a sub-expression that was refused, by its type, so that the others are compiled too."""

MOST_LOOKED_AT: Final = 50_000
"""Samples of a series at each poll: with 31 buckets it takes about a second."""

_Computed: TypeAlias = "Scalar | Instant"

_IS_A_RANGE: Final = "is a range vector: a function, as max_over_time, makes an instant vector of it"

_BINARY: Final = SET_OPERATORS | functions.ARITHMETIC.keys() | functions.COMPARISONS.keys()
_HISTOGRAM_OPERATORS: Final = frozenset({"</", ">/"})


@dataclass(frozen=True, slots=True)
class Expression:
    """A rule's expression: its tree, and the vector that it is compiled to."""

    text: str
    tree: Tree
    vector: Instant
    _nodes: Mapping[int, Node] = field(compare=False, repr=False)

    def running(self, run: Callable[[Moment], Vector]) -> Expression:
        """Returns an expression that has another result."""
        return replace(self, vector=replace(self.vector, run=run))

    def node(self, tree: Tree) -> Node:
        """Returns what a part of the tree is compiled to."""
        return self._nodes[id(tree)]

    def excerpt(self, tree: Tree) -> str:
        """Returns a part of the tree as it is written."""
        return excerpt(self.text, tree.span)


def compile_rule(text: str, recorded: RecordedMetrics = MappingProxyType({})) -> Expression:
    """Compiles a rule's expression: a vector whose every series carries ``participant``.

    ``recorded`` are the series that rules record. Raises ExpressionRefused.
    """
    tree, compiler = _compile(text, recorded)
    node = compiler.nodes[id(tree)]
    if isinstance(node, Scalar):
        compiler.refuse(tree, "is a number: a rule needs series that carry participant")
    elif isinstance(node, RangeVector):
        compiler.refuse(tree, _IS_A_RANGE)
    elif not node.carries_participant:
        compiler.refuse(tree, "gives series that do not carry participant")
    else:
        return Expression(text, tree, node, compiler.nodes)
    raise ExpressionRefused(*compiler.problems)


def compile_expression(text: str, recorded: RecordedMetrics = MappingProxyType({})) -> Scalar | Instant:
    """Compiles any expression of the subset. Raises ExpressionRefused."""
    tree, compiler = _compile(text, recorded)
    node = compiler.nodes[id(tree)]
    if isinstance(node, RangeVector):
        compiler.refuse(tree, _IS_A_RANGE)
        raise ExpressionRefused(*compiler.problems)
    return node


def _compile(text: str, recorded: RecordedMetrics) -> tuple[Tree, Compiler]:
    try:
        tree = parse(text)
    except ParseError as error:
        message = f"`{_shortened(' '.join(text.split()))}`{error.verdict}: {error}"
        raise ExpressionRefused(Problem(message, error.position, error)) from None
    except ValueError as error:
        raise ExpressionRefused(Problem(str(error))) from None
    compiler = Compiler(text, recorded)
    try:
        compiler.compile(tree)
    except RecursionError:
        raise ExpressionRefused(Problem(TOO_DEEP)) from None
    for part, why in pin_problems(tree) if not compiler.problems else ():
        compiler.refuse(part, why)
    if not compiler.problems and (samples := looked_at(tree)) > MOST_LOOKED_AT:
        has_steps = any(isinstance(part, Subquery) for part in walk(tree))
        most = f"{MOST_LOOKED_AT:,} are the most; look back less{', or take larger steps' if has_steps else ''}"
        compiler.refuse(tree, f"looks at {samples:,.0f} samples of a series at each poll: {most}")
    if compiler.problems:
        raise ExpressionRefused(*compiler.problems)
    return tree, compiler


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


class Compiler:
    """Compiles one expression; ``nodes`` are what the parts of its tree are compiled to, by their identity.

    ``problems`` says what was refused.
    """

    def __init__(self, text: str, recorded: RecordedMetrics) -> None:
        self.nodes: dict[int, Node] = {}
        self.problems: list[Problem] = []
        self._text = text
        self._recorded = recorded

    def compile(self, tree: Tree) -> Node:
        """Returns a number for what is one, else a vector: of what was refused, one that stands for it."""
        try:
            node = _COMPILERS[type(tree)](self, tree)
        except ValueError as error:
            node = self.refuse(tree, str(error))
        self.nodes[id(tree)] = node
        return node

    def refuse(self, tree: Tree, why: str) -> Node:
        text = _shortened(excerpt(self._text, tree.span))
        message = f"`{text}`{'' if why.startswith(('is ', 'gives ', 'selects ', 'looks ')) else ':'} {why}"
        self.problems.append(Problem(message, tree.span.begin))
        return _STANDS_FOR.get(tree.type, _NOTHING)

    def selector(self, tree: Selector) -> Node:
        selection = self._selection(tree)
        if tree.mode == "smoothed":
            return ranges.smoothed(selection, instant_of(tree))
        if tree.offset is not None or tree.at is not None:
            return ranges.earlier(selection.vector, instant_of(tree))
        return selection.vector

    def range(self, tree: Range) -> Node:
        selector = tree.selector
        selection, length = self._selection(selector), positive_length(tree.range)
        return ranges.selected_range(selection, length, instant_of(selector), selector.mode)

    def subquery(self, tree: Subquery) -> Node:
        length = positive_length(tree.range)
        step_ms = None if tree.step is None else positive_length(tree.step).ms
        return ranges.subquery(self._vector(tree.expression), length, step_ms, instant_of(tree))

    def _selection(self, tree: Selector) -> Selection:
        """Returns what a selector selects, without its ``offset`` and ``@``. Raises ValueError, a sentence."""
        if not tree.metric:
            raise ValueError("a selector must name its metric")
        if not all(matcher.predicate()(tree.metric) for matcher in tree.matchers if matcher.label == METRIC_NAME):
            raise ValueError("selects nothing: its matchers on __name__ exclude each other")
        selects = predicate(tree.conditions)
        return Selection(tree.metric, selects, select(tree.metric, tree.conditions, selects, self._recorded))

    def signed(self, tree: Unary) -> Node:
        operand = cast("_Computed", self.compile(tree.operand))
        if tree.operator == "+":
            return operand
        if isinstance(operand, Scalar):
            return nodes.scalar(lambda value: -value, operand)
        return nodes.mapped(operand, lambda value: -value)

    def aggregation(self, tree: Aggregation) -> Node:
        operator, onto = tree.operator, tree.onto
        over = self._vector(tree.expression)
        if not onto.retains(PARTICIPANT):
            raise ValueError(f"{operator} must keep participant: rules do not look across participants")
        if tree.parameter is None:
            return nodes.aggregated(FOLDS[operator], over, onto)
        text = without_parens(tree.parameter)
        if isinstance(text, Text):
            return nodes.counted_values(writable(text.value, operator), over, onto)
        parameter = self._number(tree.parameter)
        if operator == "quantile":
            return nodes.quantile(parameter, over, onto)
        return only_of(pinned_participants(tree.parameter), nodes.chosen(CHOICES[operator], parameter, over, onto))

    def call(self, tree: Call) -> Node:
        if tree.function in ABSENT:
            labels = absent_labels(tree.arguments[0])
            for name, value in labels.pairs:
                named(name, tree.function)
                storable(value, tree.function)
            return absent(cast("Instant | RangeVector", self.compile(tree.arguments[0])), labels)
        if tree.function == "timestamp" and isinstance(selector := without_parens(tree.arguments[0]), Selector):
            return ranges.sampled(self._selection(selector), instant_of(selector))
        call = CALLS.get(tree.function)
        if call is None:
            raise ValueError(unsupported.of_function(tree.function))
        arguments = [
            text.value if isinstance(text := without_parens(argument), Text) else self.compile(argument)
            for argument in tree.arguments
        ]
        return call(*arguments)

    def binary(self, tree: Binary) -> Node:
        operator = tree.operator
        left, right = cast("_Computed", self.compile(tree.left)), cast("_Computed", self.compile(tree.right))
        if operator not in _BINARY:
            why = ": rules see no histograms" if operator in _HISTOGRAM_OPERATORS else ""
            raise ValueError(f"{operator} is not supported{why}")
        if isinstance(left, Scalar) and isinstance(right, Scalar):
            return nodes.scalar(functions.number_operation(operator), left, right)
        combine = nodes.filtered if tree.filters else nodes.computed
        if isinstance(left, Scalar):
            assert isinstance(right, Instant)  # noqa: S101 - two numbers were above
            return combine(operator, right, left, number_first=True)
        if isinstance(right, Scalar):
            return combine(operator, left, right, number_first=False)
        return operation(operator, left, right, Match(tree.on, tree.many, tree.include), as_bool=tree.as_bool)

    def _vector(self, tree: Tree) -> Instant:
        return cast("Instant", self.compile(tree))

    def _number(self, tree: Tree) -> Scalar:
        return cast("Scalar", self.compile(tree))


_COMPILERS: Final[dict[type, Callable[[Compiler, Any], Node]]] = {
    Number: lambda _, tree: nodes.constant(tree.value),
    Paren: lambda compiler, tree: compiler.compile(tree.expression),
    Selector: Compiler.selector,
    Unary: Compiler.signed,
    Aggregation: Compiler.aggregation,
    Call: Compiler.call,
    Binary: Compiler.binary,
    Range: Compiler.range,
    Subquery: Compiler.subquery,
    Text: lambda compiler, tree: compiler.refuse(tree, "a string is not supported here"),
}
