"""The types of an expression: what Prometheus refuses of an expression that is grammatical, in Prometheus' order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from exporter.rules.promql.series import METRIC_NAME
from exporter.rules.promql.signatures import AGGREGATIONS, SIGNATURES, Signature, ValueType
from exporter.rules.promql.tree import (
    COMPARISONS,
    SET_OPERATORS,
    Aggregation,
    Binary,
    Call,
    Selector,
    Subquery,
    Text,
    Tree,
    Unary,
)

TypeErrors: TypeAlias = "Iterator[tuple[str, int]]"
"""What is wrong, and at which character."""

_COMPUTED: Final = frozenset({ValueType.SCALAR, ValueType.VECTOR})


def type_errors(node: Tree, text: str) -> TypeErrors:
    """Yields what is wrong with the types of an expression, whose text is needed for the places of its operators."""
    if isinstance(node, Call):
        yield from _call(node, text)
        return
    if isinstance(node, Aggregation):
        yield from _aggregation(node, text)
        return
    for operand in node.operands:
        yield from type_errors(operand, text)
    match node:
        case Binary():
            yield from _operator(node, text)
            yield from _sides(node)
        case Unary() if node.type not in _COMPUTED:
            yield f"a sign cannot stand before {_a(node.type)}", node.span.begin
        case Subquery() if node.expression.type is not ValueType.VECTOR:
            yield f"a subquery is that of an instant vector, not of {_a(node.expression.type)}", node.span.begin
        case Selector():
            yield from _selector(node)
        case _:
            pass


def _checked(node: Tree, expected: ValueType, where: str, text: str) -> TypeErrors:
    yield from type_errors(node, text)
    if node.type is not expected:
        yield f"{where} must be {_a(expected)}, and is {_a(node.type)}", node.span.begin


def _aggregation(node: Aggregation, text: str) -> TypeErrors:
    parameter = AGGREGATIONS[node.operator]
    first = f"{node.operator}, whose parameter comes first," if parameter is not None else node.operator
    yield from _checked(node.expression, ValueType.VECTOR, f"what is aggregated by {first}", text)
    if node.parameter is not None and parameter is not None:
        yield from _checked(node.parameter, parameter, f"the first argument of {node.operator}", text)


def _operator(node: Binary, text: str) -> TypeErrors:
    left, operator = node.left, node.operator
    after_left = text[left.span.end :]
    position = left.span.end + len(after_left) - len(after_left.lstrip(" \t\r\n"))
    if node.as_bool and operator not in COMPARISONS:
        yield f"bool is for comparisons, and {operator} is none", position
    if node.filters and node.type is ValueType.SCALAR:
        why = "an alert compares series that carry participant with a number"
        yield f"{operator} compares two numbers, which Prometheus takes with bool only; {why}", position
    if node.labels is not None and node.labels.word == "on":
        for label in node.labels.names:
            if label in node.include:
                yield f"the label {label} cannot be listed both by on and by group_{node.many}", position


def _sides(node: Binary) -> TypeErrors:
    operator, begin, types = node.operator, node.span.begin, {node.left.type, node.right.type}
    for side in (node.left, node.right):
        if side.type not in _COMPUTED:
            yield _not_computed(side, operator), side.span.begin
    if types != {ValueType.VECTOR}:
        if node.labels is not None and node.labels.names:
            yield f"{node.labels.word} is for two instant vectors", begin
    elif operator in SET_OPERATORS and node.many is not None:
        yield f"{operator} cannot have group_{node.many}", begin
    if operator in SET_OPERATORS and ValueType.SCALAR in types:
        yield f"{operator} is for instant vectors, not for numbers", begin


def _not_computed(side: Tree, operator: str) -> str:
    if isinstance(side, Text):
        hint = ": write it without quotes" if side.value.replace(".", "", 1).isdigit() else ""
        return f'"{side.value}" is a text, where a number or an instant vector must be{hint}'
    return f"{operator} is for numbers and instant vectors, not for {_a(side.type)}"


def _call(node: Call, text: str) -> TypeErrors:
    signature = SIGNATURES[node.function]
    if not _fits(signature, len(node.arguments)):
        yield f"{node.function} takes {_arguments(signature)}, and has {len(node.arguments)}", node.span.begin
    for index, argument in enumerate(node.arguments):
        if index >= len(signature.arguments) and not signature.optional:
            break
        expected = signature.argument(index)
        yield from _checked(argument, expected, f"argument {index + 1} of {node.function}", text)


def _fits(signature: Signature, count: int) -> bool:
    least = len(signature.arguments) - signature.optional
    return least <= count and (signature.most is None or count <= signature.most)


def _arguments(signature: Signature) -> str:
    least, most = len(signature.arguments) - signature.optional, signature.most
    if most is None:
        return f"{least} arguments or more"
    return f"{least} to {most} arguments" if least < most else f"{most} argument{'' if most == 1 else 's'}"


def _selector(node: Selector) -> TypeErrors:
    begin = node.span.begin
    if node.name:
        for matcher in node.matchers:
            if matcher.label == METRIC_NAME:
                yield f"the metric's name is given twice: {node.name} and {matcher.value}", begin
    elif all(matcher.predicate()("") for matcher in node.matchers):
        yield "a selector needs a name, or a matcher that an absent label does not satisfy", begin


def _a(type_: ValueType) -> str:
    return f"an {type_}" if type_ is ValueType.VECTOR else f"a {type_}"
