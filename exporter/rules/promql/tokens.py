"""The tokens of an expression for a parser: one ahead, and what literals stand for."""

from __future__ import annotations

from typing import Final, NoReturn

from exporter.durations import parse_duration
from exporter.rules.promql.lexer import (
    DURATION,
    DURATION_WORDS,
    END,
    IDENTIFIER,
    KEYWORDS,
    METRIC,
    NUMBER,
    STRING,
    Lexer,
    ParseError,
    Token,
)
from exporter.rules.promql.literals import number_value
from exporter.rules.promql.signatures import AGGREGATIONS
from exporter.rules.promql.tree import SET_OPERATORS, Number

FUNCTIONS: Final = DURATION_WORDS | {IDENTIFIER, "start", "end"}
_NOT_METRICS: Final = frozenset({"bool", "on", "ignoring", "group_left", "group_right", "atan2"})
METRICS: Final = FUNCTIONS | AGGREGATIONS.keys() | {METRIC} | (KEYWORDS - _NOT_METRICS)
LABELS: Final = (METRICS | _NOT_METRICS) - {"without"}
OPERANDS: Final = METRICS | {NUMBER, DURATION, STRING, "(", "{", "+", "-"}
"""Kinds of tokens that can be a function, a metric or a label, or begin an operand: most keywords can be names, too."""

_UNITS: Final = frozenset(["ms", "s", "m", "h", "d", "w", "y"])
_MEANT: Final = {
    "=": "a comparison is written ==, >=, <= or !=",
    "for": "how long it must be true is a key of the rule: for: 5m",
    "in": 'one of several is written {policy=~"A|B"}',
}
_MEANT_BEFORE: Final = {"not": "what must not be true is written unless"}


class Tokens:
    """Looks one token ahead, and reads that no sooner than it is asked for: the first fault is the one that is told."""

    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._lexer = Lexer(expression)
        self._next: Token | None = None
        self._taken: list[Token] = []

    @property
    def previous(self) -> Token:
        """The token that was taken last."""
        return self._taken[-1]

    def peek(self) -> Token:
        if self._next is None:
            self._next = self._lexer.next()
        return self._next

    def take(self) -> Token:
        token = self.peek()
        self._taken.append(token)
        self._next = None
        return token

    def take_if(self, *kinds: str) -> Token | None:
        return self.take() if self.peek().kind in kinds else None

    def expect(self, *kinds: str, hint: str | None = None) -> Token:
        """Raises ParseError where the next token is none of these kinds."""
        return self.take_if(*kinds) or self.unexpected(hint)

    def unexpected(self, hint: str | None = None) -> NoReturn:
        """Raises ParseError about the next token; by default with what was probably meant."""
        token = self.peek()
        what = "end" if token.kind == END else f"`{token.text}`"
        meant = self._meant() if hint is None else hint
        self.fail(f"unexpected {what}{meant and f'; {meant}'}", token.span.begin)

    def _meant(self) -> str:
        token, before = self.peek(), self._taken[-1] if self._taken else None
        if before is not None and before.text.lower() in _MEANT_BEFORE:
            return _MEANT_BEFORE[before.text.lower()]
        if before is not None and before.kind == NUMBER:
            if token.kind == ",":
                return "a number has a point, 1.5, and nothing between thousands, or 1_000"
            if token.text in _UNITS:
                return f"a duration is written without a space: {before.text}{token.text}"
        if before is not None and (before.kind, token.kind) == ("<", ">"):
            return "what is not equal is written !="
        return _MEANT.get(token.text.lower()) or self._meant_by_percent()

    def _meant_by_percent(self) -> str:
        before = self._taken[:-1] if self._taken and self._taken[-1].kind in SET_OPERATORS else self._taken
        if len(before) > 1 and before[-1].kind == "%" and before[-2].kind == NUMBER:
            number = number_value(before[-2].text)
            return f"`{number:g}%` is no number: write {number:g} (of a percentage) or {number / 100:g} (of a share)"
        return ""

    def fail(self, reason: str, position: int) -> NoReturn:
        raise ParseError(reason, self._expression, position)

    def number(self) -> Number:
        """Takes a number or a duration, which is its seconds."""
        token = self.expect(NUMBER, DURATION)
        try:
            value = parse_duration(token.text) if token.kind == DURATION else number_value(token.text)
        except ValueError as error:
            self.fail(str(error), token.span.begin)
        return Number(value, span=token.span)
