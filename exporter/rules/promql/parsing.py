"""Expressions parsed, and where they cannot be, the place."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

import promql_parser as promql

from exporter.rules.promql import tokens

_NO_PLACE: Final = "invalid promql query"
"""All that the parser says of a fault in the grammar."""

_OF_GRAMMAR: Final = ("invalid", "unexpected", "bad", "trailing", "unclosed")
"""How the parser begins to say that words stand in the wrong place; else it is their types that are wrong."""

_COMPLETIONS: Final = ("", "a", "1", "(a) a", "(a) (a)", '="b"', '"b"', "5m")
_AFTERWARDS: Final = ("", " a", " (a)")
"""What can make a whole of an expression that is good as far as it goes."""


MOST_WORDS: Final = 1000
"""An expression is walked as deep as it is nested; thousands of terms would end the process, not the file."""


MOST_CHARACTERS: Final = 100_000
"""The parser lets nothing else run meanwhile, and takes seconds for millions of characters."""


def parse(text: str) -> Any:
    """Returns the tree of an expression that Prometheus 2.42 can read. Raises ValueError, a sentence."""
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"the expression has {len(text):,} characters; more than {MOST_CHARACTERS:,} are not supported"
        )
    count = sum(1 for _ in tokens.words(text))
    if count > MOST_WORDS:
        raise ValueError(f"the expression has {count:,} words; more than {MOST_WORDS:,} are not supported")
    checked = tokens.checked(text)
    try:
        return _parsed(checked)
    except ValueError as error:
        if str(error) != _NO_PLACE:
            raise
    raise ValueError(_fault(checked))


def _parsed(text: str) -> Any:
    try:
        return promql.parse(text)
    except BaseException as error:
        # A fault of the parser itself (a Rust panic) is no Exception: it must not end the process that reloads.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(str(error)) from None
        raise


def _fault(text: str) -> str:
    """Returns where the grammar no longer allows for what is written, found by trying to go on from each word."""
    places = list(tokens.words(text))
    good = bisect_left(places, True, key=lambda place: not _can_go_on(text[: place[1]]))
    if good < len(places):
        start, end = places[good]
        return f"{tokens.place(text, start)}: unexpected `{text[start:end]}`"
    return f"{tokens.place(text, len(text.rstrip()))}: unexpected end"


def _can_go_on(begun: str) -> bool:
    closing = tokens.closing(begun)
    return any(
        _is_grammar(f"{begun} {completion}{closing}{afterwards}")
        for completion in _COMPLETIONS
        for afterwards in _AFTERWARDS
    )


def _is_grammar(text: str) -> bool:
    try:
        _parsed(text)
    except ValueError as error:
        return not str(error).startswith(_OF_GRAMMAR)
    return True
