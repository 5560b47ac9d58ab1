"""Expressions parsed as Prometheus 3.16 parses them: what it refuses is refused at the same character."""

from __future__ import annotations

from typing import Final, Literal, cast

from exporter.rules.promql.lexer import DURATION, END, NUMBER, STRING, ParseError, Token
from exporter.rules.promql.literals import string_value
from exporter.rules.promql.matchers import take_label_list, take_label_names, take_matchers
from exporter.rules.promql.modifiers import take_modifiers
from exporter.rules.promql.signatures import AGGREGATIONS, BEHIND_A_FLAG, SIGNATURES
from exporter.rules.promql.tokens import FUNCTIONS, OPERANDS, Tokens
from exporter.rules.promql.tree import Aggregation, Binary, Call, Number, Paren, Selector, Text, Tree, Unary
from exporter.rules.promql.type_check import type_errors
from exporter.structures import did_you_mean

_PRECEDENCE: Final = {
    **dict.fromkeys(("or",), 1),
    **dict.fromkeys(("and", "unless"), 2),
    **dict.fromkeys(("==", "!=", ">", "<", ">=", "<=", ">/", "</"), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%", "atan2"), 5),
    "^": 6,
}
_POWER: Final = _PRECEDENCE["^"]

TOO_DEEP: Final = "the expression is nested too deeply"


def parse(text: str) -> Tree:
    """Returns the tree of an expression. Raises ParseError; ValueError, a sentence, where it is too large or deep."""
    try:
        expression = _Parser(text).whole()
        error = next(type_errors(expression, text), None)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    if error is not None:
        reason, position = error
        raise ParseError(reason, text, position, verdict="")
    return expression


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = Tokens(text)

    def whole(self) -> Tree:
        tokens = self._tokens
        if tokens.peek().kind == END:
            tokens.fail("there is no expression", 0)
        expression = self._expression(0)
        after = tokens.peek()
        if after.kind != END:
            tokens.unexpected()
        return expression

    def _expression(self, least: int) -> Tree:
        """Takes an operand, and the operators of a precedence of ``least`` or higher that follow it."""
        tokens = self._tokens
        left = self._operand()
        while (precedence := _PRECEDENCE.get(tokens.peek().kind, 0)) >= max(least, 1):
            left = self._binary(left, tokens.take(), precedence)
        return left

    def _binary(self, left: Tree, operator: Token, precedence: int) -> Binary:
        tokens = self._tokens
        as_bool = tokens.take_if("bool") is not None
        labels = take_label_list(tokens, "on", "ignoring")
        many: Literal["left", "right"] | None = None
        include: tuple[str, ...] = ()
        if labels is not None and (group := tokens.take_if("group_left", "group_right")):
            many = "left" if group.kind == "group_left" else "right"
            if tokens.peek().kind == "(":
                include = take_label_names(tokens)
        filled = self._filled()
        right = self._expression(precedence if precedence == _POWER else precedence + 1)
        if filled:
            tokens.fail("fill is behind a feature flag in Prometheus, and is not supported", left.span.begin)
        return Binary(operator.kind, left, right, as_bool, labels, many, include, span=left.span.to(right.span))

    def _filled(self) -> bool:
        """Takes the values for series that have no match, one for both sides or one for each."""
        tokens, other = self._tokens, {"fill_left": "fill_right", "fill_right": "fill_left"}
        first = tokens.take_if("fill", "fill_left", "fill_right")
        if first is None:
            return False
        self._fill_value()
        if first.kind in other and tokens.take_if(other[first.kind]):
            self._fill_value()
        return True

    def _fill_value(self) -> None:
        tokens = self._tokens
        tokens.expect("(")
        tokens.take_if("+", "-")
        tokens.number()
        tokens.expect(")")

    def _operand(self) -> Tree:
        tokens = self._tokens
        if tokens.peek().kind not in OPERANDS:
            tokens.unexpected()
        if sign := tokens.take_if("+", "-"):
            return _signed(sign, self._expression(_POWER))
        return take_modifiers(tokens, self._plain())

    def _plain(self) -> Tree:
        """Takes an operand without its sign, its range and its modifiers."""
        tokens = self._tokens
        kind, begin = tokens.peek().kind, tokens.peek().span
        if kind in {NUMBER, DURATION}:
            return tokens.number()
        if kind == "{":
            return Selector("", take_matchers(tokens), span=begin.to(tokens.previous.span))
        token = tokens.take()
        if kind == STRING:
            return Text(string_value(token.text), span=begin)
        if kind == "(":
            inside = self._expression(0)
            return Paren(inside, span=begin.to(tokens.expect(")").span))
        return self._named(token)

    def _named(self, name: Token) -> Aggregation | Call | Selector:
        tokens = self._tokens
        after = tokens.peek().kind
        if name.kind in AGGREGATIONS and after in {"(", "by", "without"}:
            return self._aggregation(name)
        if name.kind in FUNCTIONS and after == "(":
            return self._call(name)
        matchers = take_matchers(tokens) if after == "{" else ()
        return Selector(name.text, matchers, span=name.span.to(tokens.previous.span))

    def _aggregation(self, operator: Token) -> Aggregation:
        tokens = self._tokens
        labels = take_label_list(tokens, "by", "without")
        arguments = self._arguments()
        end = tokens.previous.span
        if labels is None:
            labels = take_label_list(tokens, "by", "without")
            end = tokens.previous.span if labels is not None else end
        begin, takes = operator.span.begin, 1 if AGGREGATIONS[operator.kind] is None else 2
        if operator.kind in BEHIND_A_FLAG and arguments:
            tokens.fail(_behind_a_flag(operator.kind), begin)
        if len(arguments) != takes:
            tokens.fail(f"{operator.kind} takes {_arguments(takes)}, and has {len(arguments)}", begin)
        parameter = arguments[0] if takes == 2 else None
        return Aggregation(operator.kind, arguments[-1], parameter, labels, span=operator.span.to(end))

    def _call(self, function: Token) -> Call:
        tokens, name = self._tokens, function.text
        arguments = self._arguments()
        if name in BEHIND_A_FLAG:
            tokens.fail(_behind_a_flag(name), function.span.begin)
        if name not in SIGNATURES:
            tokens.fail(f"there is no function {name}{did_you_mean(name, SIGNATURES)}", function.span.begin)
        return Call(name, arguments, span=function.span.to(tokens.previous.span))

    def _arguments(self) -> tuple[Tree, ...]:
        tokens = self._tokens
        tokens.expect("(")
        arguments: list[Tree] = []
        if tokens.take_if(")"):
            return ()
        arguments.append(self._expression(0))
        while comma := tokens.take_if(","):
            if tokens.peek().kind not in OPERANDS:
                tokens.fail("unexpected `,`: no argument follows it", comma.span.begin)
            arguments.append(self._expression(0))
        tokens.expect(")")
        return tuple(arguments)


def _signed(sign: Token, operand: Tree) -> Tree:
    span = sign.span.to(operand.span)
    if isinstance(operand, Number):
        return Number(-operand.value if sign.kind == "-" else operand.value, span=span)
    return Unary(cast("Literal['+', '-']", sign.kind), operand, span=span)


def _behind_a_flag(name: str) -> str:
    return f"{name} is behind a feature flag in Prometheus, and is not supported"


def _arguments(count: int) -> str:
    return "1 argument" if count == 1 else f"{count} arguments"
