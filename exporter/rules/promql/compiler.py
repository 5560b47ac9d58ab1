"""The parsed tree of an expression turned into closures; what is outside the subset is refused by name.

Compiling also finds out whether every series of the result carries
``participant``, and whether the expression would look across participants,
which a rule may not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import promql_parser as promql

from exporter.rules.promql import aggregation, arithmetic, elementwise, functions, unsupported, vector_matching
from exporter.rules.promql.nodes import Instant, Node, Scalar, combine
from exporter.rules.promql.selectors import AlertNames, matchers_of, select
from exporter.rules.promql.series import METRIC_NAME, grouping
from exporter.rules.promql.vector_matching import Cardinality, Match

PARTICIPANT: Final = "participant"
POLICY: Final = "policy"

_EVERYTHING: Final = grouping(frozenset(), keep=False)
_NO_NAME: Final = frozenset([""])

_NOTHING: Final = Instant(lambda _: [], _NO_NAME, carries_participant=True, carries_policy=True)
"""Stands for a sub-expression that was refused, so that the others are compiled too."""

_SET_OPERATORS: Final = frozenset({"and", "or", "unless"})
_BINARY: Final = _SET_OPERATORS | arithmetic.ARITHMETIC.keys() | arithmetic.COMPARISONS.keys()
_CARDINALITIES: Final = {
    int(promql.VectorMatchCardinality.ManyToOne): Cardinality.MANY_TO_ONE,
    int(promql.VectorMatchCardinality.OneToMany): Cardinality.ONE_TO_MANY,
}
_UNSUPPORTED: Final = {
    promql.MatrixSelector: f"a range selector is not supported: {unsupported.PRESENT}",
    promql.SubqueryExpr: "a subquery is not supported: rules see the present only",
    promql.StringLiteral: "a string is not supported here",
}


def expression_text(tree: Any) -> str:
    """Returns the text of an expression."""
    return _SURPLUS.sub(lambda match: match["text"] or (" " if match["space"] else ""), str(tree))


_SURPLUS: Final = re.compile(r'(?P<text>"(?:[^"\\]|\\.)*")|(?<=[\w:])\{\}|(?P<space> {2,})')
"""What the parser writes and people do not: empty braces after a name, two spaces."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an expression is refused: a sentence, and the ``fragment`` that it is about.

    Of an expression that cannot be parsed, ``reason`` is what is wrong at ``position``.
    """

    message: str
    fragment: str
    position: int | None = None
    reason: str = ""


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
        text = expression_text(tree)
        self.problems.append(Problem(f"`{text}`{'' if why.startswith('is ') else ':'} {why}", text))
        return _NOTHING

    def selector(self, tree: Any) -> Instant:
        if tree.offset is not None:
            return self._refuse(tree, "offset is not supported: rules see the present only")
        if tree.at is not None:
            return self._refuse(tree, "@ is not supported: rules see the present only")
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
            return elementwise.scalar(lambda value: -value, operand)
        return elementwise.mapped(operand, lambda value: -value)

    def aggregation(self, tree: Any) -> Instant:
        operator = str(tree.op)
        over = self._vector(tree.expr)
        if operator not in aggregation.AGGREGATIONS:
            return self._refuse(tree, unsupported.of_function(operator))
        keep = tree.modifier is None or tree.modifier.type == promql.AggModifierType.By
        onto = grouping(frozenset(tree.modifier.labels if tree.modifier is not None else ()), keep=keep)
        if not onto.retains(PARTICIPANT):
            return self._refuse(tree, f"{operator} must keep participant: rules do not look across participants")
        return Instant(
            aggregation.aggregate(operator, over, onto),
            over.names if onto.keeps_metric_name else _NO_NAME,
            carries_participant=over.carries_participant,
            carries_policy=over.carries_policy and onto.retains(POLICY),
            can_fail=over.can_fail,
            data=over.data,
        )

    def call(self, tree: Any) -> Node:
        name, arguments = tree.func.name, tree.args
        if name == "time":
            return Scalar(lambda moment: moment.seconds)
        if name == "vector":
            return elementwise.plain(self._number(arguments[0]).run)
        if name in elementwise.LIMITED:
            limits = [self._number(argument) for argument in arguments[1:]]
            return elementwise.limited(self._vector(arguments[0]), name, limits or [elementwise.constant(1.0)])
        if name in functions.CLOCK and not arguments:
            read = functions.CLOCK[name]
            return elementwise.plain(lambda moment: read(moment.seconds))
        function = functions.CLOCK.get(name) or functions.ROUNDING.get(name)
        if function is None:
            return self._refuse(tree, unsupported.of_function(name))
        return elementwise.mapped(self._vector(arguments[0]), function)

    def binary(self, tree: Any) -> Node:
        operator, modifier = str(tree.op), tree.modifier
        left, right = self.compile(tree.lhs), self.compile(tree.rhs)
        if operator not in _BINARY:
            return self._refuse(tree, f"{operator} is not supported")
        if _fills(modifier):
            return self._refuse(tree, "fill is not supported")
        as_bool = modifier is not None and modifier.return_bool
        if isinstance(left, Scalar) and isinstance(right, Scalar):
            return elementwise.scalar(elementwise.number_operation(operator), left, right)
        combine = elementwise.filtered if operator in arithmetic.COMPARISONS and not as_bool else elementwise.computed
        if isinstance(left, Scalar):
            assert isinstance(right, Instant)  # noqa: S101 - two numbers were above
            return combine(operator, right, left, number_first=True)
        if isinstance(right, Scalar):
            return combine(operator, left, right, number_first=False)
        return self._matched(tree, left, right, as_bool=as_bool)

    def _vector(self, tree: Any) -> Instant:
        node = self.compile(tree)
        return node if isinstance(node, Instant) else self._refuse(tree, "must be an instant vector")

    def _number(self, tree: Any) -> Scalar:
        node = self.compile(tree)
        if isinstance(node, Scalar):
            return node
        self._refuse(tree, "must be a number")
        return elementwise.constant(math.nan)

    def _matched(self, tree: Any, left: Instant, right: Instant, *, as_bool: bool) -> Instant:
        operator, match = str(tree.op), _match(tree.modifier)
        problem = _across_participants(operator, left, right, match)
        if problem:
            return self._refuse(tree, problem)
        if operator in _SET_OPERATORS:
            return _set_operation(operator, left, right, match)
        filters = operator in arithmetic.COMPARISONS and not as_bool
        return Instant(
            vector_matching.binary_operation(operator, left, right, match, as_bool=as_bool),
            _names(left, right, match, filters=filters, as_bool=as_bool),
            carries_participant=match.sides(left, right)[0].carries_participant,
            carries_policy=_carries_policy(left, right, match),
            can_fail=True,
            data=combine("all", left.data, right.data),
        )


def _match(modifier: Any) -> Match:
    if modifier is None:
        return Match(_EVERYTHING)
    on = _EVERYTHING
    if modifier.matching is not None:
        keep = modifier.matching.type == promql.LabelModifierType.Include
        on = grouping(frozenset(modifier.matching.labels), keep=keep)
    cardinality = _CARDINALITIES.get(int(modifier.card), Cardinality.ONE_TO_ONE)
    return Match(on, cardinality, tuple(modifier.group_labels or ()))


def _fills(modifier: Any) -> bool:
    """Whether missing matches are filled in, which Prometheus 2 does not support."""
    values = getattr(modifier, "fill_values", None)
    return values is not None and any(
        getattr(values, name) is not None for name in dir(values) if not name.startswith("_")
    )


def _across_participants(operator: str, left: Instant, right: Instant, match: Match) -> str:
    """Returns why the two may not be combined, or nothing."""
    matched = match.on.retains(PARTICIPANT)
    if left.carries_participant and right.carries_participant:
        return "" if matched else f"{operator} must match on participant: rules do not look across participants"
    if operator in _SET_OPERATORS:
        if operator == "or" and left.carries_participant != right.carries_participant:
            return "only one side of or carries participant"
        return f"only the right side of {operator} carries participant" if right.carries_participant else ""
    many, one = match.sides(left, right)
    one_to_one = match.cardinality is Cardinality.ONE_TO_ONE
    if one.carries_participant or (many.carries_participant and one_to_one and not matched):
        return f"{operator} loses participant: use group_left or group_right towards the side that carries it"
    if many.carries_participant and PARTICIPANT in match.include:
        return f"{operator} loses participant: the side that should give it does not carry it"
    return ""


def _set_operation(operator: str, left: Instant, right: Instant, match: Match) -> Instant:
    union = operator == "or"
    data = left.data if operator == "unless" else combine("any" if union else "all", left.data, right.data)
    return Instant(
        vector_matching.set_operation(operator, left, right, match),
        left.names | right.names if union else left.names,
        carries_participant=left.carries_participant,
        carries_policy=left.carries_policy or (union and right.carries_policy),
        can_fail=left.can_fail or right.can_fail,
        data=data,
    )


def _names(left: Instant, right: Instant, match: Match, *, filters: bool, as_bool: bool) -> frozenset[str]:
    """Returns the metric names that the result can have."""
    many, one = match.sides(left, right)
    if METRIC_NAME in match.include and not as_bool:
        return one.names
    kept = match.cardinality is not Cardinality.ONE_TO_ONE or match.on.retains(METRIC_NAME)
    return many.names if filters and kept else _NO_NAME


def _carries_policy(left: Instant, right: Instant, match: Match) -> bool:
    many, one = match.sides(left, right)
    if match.cardinality is Cardinality.ONE_TO_ONE:
        return many.carries_policy and match.on.retains(POLICY)
    return one.carries_policy if POLICY in match.include else many.carries_policy


_COMPILERS: Final[dict[type, Callable[[Compiler, Any], Node]]] = {
    promql.NumberLiteral: lambda _, tree: elementwise.constant(tree.val),
    promql.ParenExpr: lambda compiler, tree: compiler.compile(tree.expr),
    promql.VectorSelector: Compiler.selector,
    promql.UnaryExpr: Compiler.negation,
    promql.AggregateExpr: Compiler.aggregation,
    promql.Call: Compiler.call,
    promql.BinaryExpr: Compiler.binary,
}
