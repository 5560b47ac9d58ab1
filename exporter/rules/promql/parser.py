"""Expressions parsed, and where they cannot be, the place."""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import Any, Final

import promql_parser as promql

from exporter.rules.promql import lexer

_NO_PLACE: Final = "invalid promql query"
"""All that the parser says of a fault in the grammar."""

_OF_GRAMMAR: Final = ("invalid", "unexpected", "bad", "trailing", "unclosed")
"""How the parser begins to say that words stand in the wrong place; else it is their types that are wrong."""

_COMPLETIONS: Final = ("", "a", "1", "(a) a", "(a) (a)", '="b"', '"b"', "5m")
_AFTERWARDS: Final = ("", " a", " (a)")
"""What can make a whole of an expression that is good as far as it goes."""


_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_ENDS: Final = frozenset({"", ")", ",", "and", "or", "unless"})
"""What stands after a number that is over."""

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
    count = sum(1 for _ in lexer.words(text))
    if count > MOST_WORDS:
        raise ValueError(f"the expression has {count:,} words; more than {MOST_WORDS:,} are not supported")
    checked = lexer.checked(text)
    try:
        return _parsed(checked)
    except ValueError as error:
        if str(error) != _NO_PLACE:
            raise _in_own_words(str(error), text) from None
    raise _fault(text)


def _parsed(text: str) -> Any:
    try:
        return promql.parse(text)
    except BaseException as error:
        # A fault of the parser itself (a Rust panic) is no Exception: it must not end the process that reloads.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise ValueError(" ".join(str(error).split())) from None
        raise


def _in_own_words(said: str, text: str) -> ValueError:
    opens = next((start for start, end in lexer.words(text) if text[start:end] == "["), None)
    if "binary expression must contain only" in said and opens is not None:
        why = "a range cannot be compared, and is not supported: rules see the present only"
        return lexer.Misplaced(why, text, opens)
    if "must use BOOL" in said:
        return ValueError(f"{said}; an alert compares series that carry participant with a number")
    return ValueError(said)


def _fault(text: str) -> lexer.Misplaced:
    """Returns where the grammar no longer allows for what is written, found by trying to go on from each word."""
    places = list(lexer.words(text))
    found = [text[start:end] for start, end in places]
    good = bisect_left(places, True, key=lambda place: not _can_go_on(lexer.rewritten(text[: place[1]])))
    for number in range(1, min(good + 1, len(places))):
        after = found[number + 1] if number + 1 < len(found) else ""
        if found[number] == "%" and _NUMBER.fullmatch(found[number - 1]) and after in _ENDS:
            percent = found[number - 1]
            share = f"{float(percent) / 100:g}"
            why = f"`{percent}%` is no number; write {percent} (of a percentage) or {share} (of a share)"
            return lexer.Misplaced(why, text, places[number - 1][0])
    if good == len(places):
        return lexer.Misplaced("unexpected end", text, len(text.rstrip()))
    return lexer.Misplaced(f"unexpected `{found[good]}`{_hint(found, good)}", text, places[good][0])


def _hint(words: list[str], number: int) -> str:
    before = words[number - 1].lower() if number else ""
    if words[number] == "=":
        return "; a comparison is written ==, >=, <= or !="
    if before in {"by", "without", "on", "ignoring", "group_left", "group_right"}:
        return f"; labels stand in brackets: {before} ({words[number]})"
    return ""


def _can_go_on(begun: str) -> bool:
    closing = lexer.closing(begun)
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
