"""Expressions parsed; of one that cannot be, where it stops making sense."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final

import promql_parser as promql

from exporter.rules.promql import lexer
from exporter.rules.promql.lexer import ParseError

_GRAMMAR_ERROR: Final = "invalid promql query"
"""All that the parser says of a fault in the grammar."""

_GRAMMAR_ERRORS: Final = ("invalid", "unexpected", "bad", "trailing", "unclosed")
"""How the parser begins to say that tokens stand in the wrong order; else it is their types that are wrong."""

_COMPLETIONS: Final = ("", "a", "1", "(a) a", "(a) (a)", '="b"', '"b"', "5m")
_AFTERWARDS: Final = ("", " a", " (a)")
"""What can complete an expression that is right as far as it goes."""

_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_AFTER_OPERAND: Final = frozenset({"", ")", ",", "and", "or", "unless"})

MOST_TOKENS: Final = 1000
"""An expression is walked as deep as it is nested; thousands of terms would end the process, not the file."""

MOST_CHARACTERS: Final = 100_000
"""The parser lets nothing else run meanwhile, and takes seconds for millions of characters."""


def parse(expression: str) -> Any:
    """Returns the tree of an expression that Prometheus 2.42 can read. Raises ValueError, a sentence."""
    if len(expression) > MOST_CHARACTERS:
        raise ValueError(
            f"the expression has {len(expression):,} characters; more than {MOST_CHARACTERS:,} are not supported"
        )
    count = sum(1 for _ in lexer.tokens(expression))
    if count > MOST_TOKENS:
        raise ValueError(f"the expression has {count:,} words; more than {MOST_TOKENS:,} are not supported")
    checked = lexer.check(expression)
    try:
        return _parse(checked)
    except ValueError as error:
        if str(error) != _GRAMMAR_ERROR:
            raise _type_error(str(error), expression) from None
    raise _grammar_error(expression)


def _parse(text: str) -> Any:
    try:
        return promql.parse(text)
    except BaseException as error:
        # A fault of the parser itself (a Rust panic) is no Exception: it must not end the process that reloads.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(" ".join(str(error).split())) from None
        raise


def _type_error(message: str, expression: str) -> ValueError:
    bracket = next((token for token in lexer.tokens(expression) if token[0] == "["), None)
    if "binary expression must contain only" in message and bracket is not None:
        reason = "a range cannot be compared, and is not supported: rules see the present only"
        return ParseError(reason, expression, bracket.start())
    if "must use BOOL" in message:
        return ValueError(f"{message}; an alert compares series that carry participant with a number")
    return ValueError(message)


def _grammar_error(expression: str) -> ParseError:
    """Returns the error of the first token that the grammar does not allow, found by completing what is before it."""
    tokens = list(lexer.tokens(expression))
    texts = [token[0] for token in tokens]
    wrong = bisect_left(tokens, True, key=lambda token: not _can_be_completed(lexer.requote(expression[: token.end()])))
    for index in range(1, min(wrong + 1, len(tokens))):
        number, after = texts[index - 1], texts[index + 1] if index + 1 < len(texts) else ""
        if texts[index] == "%" and _NUMBER.fullmatch(number) and after in _AFTER_OPERAND:
            share = f"{float(number) / 100:g}"
            reason = f"`{number}%` is no number; write {number} (of a percentage) or {share} (of a share)"
            return ParseError(reason, expression, tokens[index - 1].start())
    if wrong == len(tokens):
        return ParseError("unexpected end", expression, len(expression.rstrip()))
    return ParseError(f"unexpected `{texts[wrong]}`{_hint(texts, wrong)}", expression, tokens[wrong].start())


def _hint(texts: Sequence[str], wrong: int) -> str:
    before = texts[wrong - 1].lower() if wrong else ""
    if texts[wrong] == "=":
        return "; a comparison is written ==, >=, <= or !="
    if before in {"by", "without", "on", "ignoring", "group_left", "group_right"}:
        return f"; labels stand in brackets: {before} ({texts[wrong]})"
    return ""


def _can_be_completed(beginning: str) -> bool:
    closing = lexer.closing_brackets(beginning)
    return any(
        _is_grammatical(f"{beginning} {completion}{closing}{afterwards}")
        for completion in _COMPLETIONS
        for afterwards in _AFTERWARDS
    )


def _is_grammatical(text: str) -> bool:
    try:
        _parse(text)
    except ValueError as error:
        return not str(error).startswith(_GRAMMAR_ERRORS)
    return True
