"""What can follow an operand: a range, ``offset``, ``@``, ``anchored`` and ``smoothed``."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final, Literal, cast

from exporter.rules.promql.durations import offset_duration, positive_duration
from exporter.rules.promql.lexer import Token
from exporter.rules.promql.tokens import Tokens
from exporter.rules.promql.tree import At, Number, Range, Selector, Subquery, Tree

_MOST_SECONDS: Final = 2.0**63
_SHORTEST_SECONDS: Final = 0.5e-9
"""Half a nanosecond: an offset that is shorter is none."""


def take_modifiers(tokens: Tokens, operand: Tree) -> Tree:
    """Takes all that follows an operand, and returns the operand with it. Raises ParseError."""
    while token := tokens.take_if("[", "offset", "@", "anchored", "smoothed"):
        if token.kind == "[":
            operand = _range(tokens, operand, token)
        elif token.kind == "offset":
            operand = _offset(tokens, operand)
        elif token.kind == "@":
            operand = _at(tokens, operand)
        else:
            operand = _mode(tokens, operand, token.kind)
    return operand


def _range(tokens: Tokens, operand: Tree, bracket: Token) -> Tree:
    duration = positive_duration(tokens)
    if tokens.expect(":", "]").kind == ":":
        step = None if tokens.peek().kind == "]" else positive_duration(tokens)
        return Subquery(operand, duration, step, span=operand.span.to(tokens.expect("]").span))
    if not isinstance(operand, Selector):
        tokens.fail("a range can only be that of a selector; [5m:1m] is a subquery", bracket.span.begin)
    if operand.offset is not None or operand.at is not None:
        tokens.fail("offset and @ stand behind the range", bracket.span.begin)
    return Range(operand, duration, span=operand.span.to(tokens.previous.span))


def _offset(tokens: Tokens, operand: Tree) -> Tree:
    duration = offset_duration(tokens)
    selecting = _selecting(tokens, operand, "offset")
    if selecting.offset is not None:
        tokens.fail("offset is given twice", operand.span.begin)
    moves = not isinstance(duration, Number) or not abs(duration.value) < _SHORTEST_SECONDS
    return _changed(operand, replace(selecting, offset=duration if moves else None), tokens.previous)


def _at(tokens: Tokens, operand: Tree) -> Tree:
    if word := tokens.take_if("start", "end"):
        tokens.expect("(")
        span = word.span.to(tokens.expect(")").span)
        at = At(None, cast("Literal['start', 'end']", word.kind), span=span)
    else:
        sign = tokens.take_if("+", "-")
        number = tokens.number()
        seconds = -number.value if sign and sign.kind == "-" else number.value
        if math.isnan(seconds) or abs(seconds) >= _MOST_SECONDS:
            tokens.fail("the time of @ is out of bounds", operand.span.begin)
        at = At(seconds, span=number.span)
    selecting = _selecting(tokens, operand, "@")
    if selecting.at is not None:
        tokens.fail("@ is given twice", operand.span.begin)
    return _changed(operand, replace(selecting, at=at), tokens.previous)


def _mode(tokens: Tokens, operand: Tree, word: str) -> Tree:
    selector = operand.selector if isinstance(operand, Range) else operand
    if not isinstance(selector, Selector):
        tokens.fail(f"{word} can only follow a selector or its range", operand.span.begin)
    if selector.mode not in {None, word}:
        tokens.fail("anchored and smoothed exclude each other", operand.span.begin)
    mode = cast("Literal['anchored', 'smoothed']", word)
    # As in Prometheus, the word is not within the span.
    moded = replace(selector, mode=mode)
    return replace(operand, selector=moded) if isinstance(operand, Range) else moded


def _selecting(tokens: Tokens, operand: Tree, word: str) -> Selector | Subquery:
    """Returns what has the ``offset`` and ``@`` of an operand."""
    if isinstance(operand, Range):
        return operand.selector
    if isinstance(operand, Selector | Subquery):
        return operand
    return tokens.fail(f"{word} can only follow a selector, a range or a subquery", operand.span.begin)


def _changed(operand: Tree, selecting: Selector | Subquery, last: Token) -> Tree:
    """Returns an operand with another selector, or itself changed; it reaches to the last token."""
    span = operand.span.to(last.span)
    if isinstance(operand, Range) and isinstance(selecting, Selector):
        return replace(operand, selector=selecting, span=span)
    return replace(selecting, span=span)
