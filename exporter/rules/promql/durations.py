"""Durations within an expression: those of ranges, steps and offsets, which can be computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal, cast

from exporter.rules.promql.lexer import DURATION, NUMBER, Token
from exporter.rules.promql.tokens import Tokens
from exporter.rules.promql.tree import Duration, DurationOperation, Number

_PRECEDENCE: Final = {"+": 1, "-": 1, "*": 2, "/": 2, "%": 2, "^": 3}
_POWER: Final = _PRECEDENCE["^"]
_SIGNS: Final = ("+", "-")
_LONGEST_SECONDS: Final = 2.0**63 / 1e9
"""What Go counts in 64 bits of nanoseconds."""

_EXPECTED: Final = "a duration is written as 5m or 300"


def positive_duration(tokens: Tokens) -> Duration:
    """Takes the duration of a range or a step. Raises ParseError."""
    duration = _duration(tokens, 0)
    tokens.peek()
    if isinstance(duration, Number) and duration.value <= 0:
        tokens.fail("a duration of a range or a step is greater than 0", duration.span.begin)
    return duration


def offset_duration(tokens: Tokens) -> Duration:
    """Takes what stands behind ``offset``: -2^2 is taken as far as -2, but (2)^2 is taken whole. Raises ParseError."""
    token = tokens.peek()
    if token.kind in {NUMBER, DURATION, "step", "range", "min_of", "max_of"}:
        return _operand(tokens)
    if token.kind not in _SIGNS:
        return _duration(tokens, 0)
    sign = tokens.take()
    if tokens.peek().kind in _SIGNS:
        return _operations(tokens, _signed(tokens, sign, _duration(tokens, _POWER)), 0)
    literal = tokens.peek().kind in {NUMBER, DURATION}
    return _signed(tokens, sign, tokens.number() if literal else _operand(tokens))


def _duration(tokens: Tokens, least: int) -> Duration:
    return _operations(tokens, _operand(tokens), least)


def _operations(tokens: Tokens, left: Duration, least: int) -> Duration:
    """Takes the operators, of a precedence of ``least`` or higher, that follow an operand."""
    while (precedence := _PRECEDENCE.get(tokens.peek().kind, 0)) >= max(least, 1):
        operator = tokens.take()
        right = _duration(tokens, precedence if precedence == _POWER else precedence + 1)
        if operator.kind in {"/", "%"} and isinstance(right, Number) and right.value == 0:
            tokens.fail("a duration is divided by zero", operator.span.begin)
        left = DurationOperation(
            cast("Literal['+', '-', '*', '/', '%', '^']", operator.kind), left, right, span=left.span.to(right.span)
        )
    return left


def _operand(tokens: Tokens) -> Duration:
    if tokens.peek().kind in {NUMBER, DURATION}:
        number = tokens.number()
        return _in_range(tokens, number, number.span.begin)
    token = tokens.expect(*_SIGNS, "(", "step", "range", "min_of", "max_of", hint=_EXPECTED)
    if token.kind in _SIGNS:
        # A sign binds as loosely as a product: -2^2 is -4.
        return _signed(tokens, token, _duration(tokens, _POWER))
    if token.kind == "(":
        duration = _duration(tokens, 0)
        span = token.span.to(tokens.expect(")").span)
        # Prometheus looks at the value of a number in parentheses only when it is used.
        return replace(duration, span=span) if isinstance(duration, DurationOperation) else _used(duration, token)
    return _call(tokens, token)


def _used(number: Number, opening: Token) -> DurationOperation:
    return DurationOperation("+", None, number, span=opening.span.to(number.span))


def _call(tokens: Tokens, function: Token) -> DurationOperation:
    tokens.expect("(")
    left = right = None
    if function.kind in {"min_of", "max_of"}:
        left = _duration(tokens, 0)
        tokens.expect(",")
        right = _duration(tokens, 0)
    span = function.span.to(tokens.expect(")").span)
    return DurationOperation(
        cast("Literal['step', 'range', 'min_of', 'max_of']", function.kind), left, right, span=span
    )


def _signed(tokens: Tokens, sign: Token, duration: Duration) -> Duration:
    span = sign.span.to(duration.span)
    if isinstance(duration, Number):
        value = -duration.value if sign.kind == "-" else duration.value
        return _in_range(tokens, Number(value, span=span), sign.span.begin)
    if sign.kind == "+":
        return duration
    return DurationOperation("-", None, duration, span=span)


def _in_range(tokens: Tokens, number: Number, position: int) -> Number:
    if abs(number.value) > _LONGEST_SECONDS:
        tokens.fail("the duration is too long; the longest is 292y", position)
    return number
