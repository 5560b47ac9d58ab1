"""The tokens of an expression: what Prometheus 2.42 would not read is refused before the parser sees it.

The parser knows some of Prometheus 3's grammar too, and its tree no longer shows
where that was used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import takewhile
from typing import Final

from exporter.rules.golang import compile_pattern

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<raw>`[^`]*`)
      | (?P<duration>(?:[0-9]+(?:ms|[smhdwy]))+(?![0-9A-Za-z_]))
      | (?P<number>0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<identifier>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<sign>==|!=|=~|!~|>=|<=|[-+*/%^=<>(){}\[\],@])
      | (?P<unknown>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_MATCH_OPERATORS: Final = frozenset({"=", "!=", "=~", "!~"})
_COMPARISONS: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})
_SET_OPERATORS: Final = {"&": "and", "|": "or", "!": "unless"}
"""Of other languages, and of this one."""

_GROUPING: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_CLOSING: Final = {"(": ")", "{": "}", "[": "]"}


class ParseError(ValueError):
    """What is wrong with an expression: ``reason`` at ``position``."""

    def __init__(self, reason: str, expression: str, position: int) -> None:
        line, column = line_and_column(expression, position)
        super().__init__(f"{line}:{column}: {reason}")
        self.reason = reason
        self.position = position


def tokens(expression: str) -> Iterator[re.Match[str]]:
    """Yields the tokens that are neither white space nor comments."""
    return (match for match in _TOKEN.finditer(expression) if match.lastgroup != "space")


def check(expression: str) -> str:
    """Returns the text to parse, its strings written the one way that the parser reads as Go does.

    Raises ParseError where it holds what Prometheus 2.42 does not know.
    """
    result: list[str] = []
    checker = _Checker()
    for match in _TOKEN.finditer(expression):
        try:
            if match.lastgroup != "space":
                checker.take(match.lastgroup or "", match[0], match.start())
            result.append(_requote_token(match))
        except ValueError as error:
            raise ParseError(str(error), expression, match.start()) from None
    if checker.open_brackets:
        bracket, _, position = checker.open_brackets[-1]
        raise ParseError(f"`{bracket}` is not closed", expression, position)
    return "".join(result)


def requote(expression: str) -> str:
    """Returns the beginning of an expression that passed `check`, with its strings as that writes them."""
    return _TOKEN.sub(_requote_token, expression)


def locate(expression: str, fragment: str) -> int | None:
    """Returns where a fragment, as the parser writes it, begins: at the longest run of its first tokens."""
    sought = [_plain(token) for token in tokens(fragment)]
    present = list(tokens(expression))
    texts = [_plain(token) for token in present]
    pairs = [zip(texts[index:], sought, strict=False) for index in range(len(texts))]
    lengths = [sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], one)) for one in pairs]
    longest = max(lengths, default=0)
    return present[lengths.index(longest)].start() if longest else None


def closing_brackets(beginning: str) -> str:
    """Returns the brackets that close those that are open at the end of a text."""
    stack: list[str] = []
    for token in tokens(beginning):
        if token[0] in _CLOSING:
            stack.append(_CLOSING[token[0]])
        elif stack and token[0] == stack[-1]:
            stack.pop()
    return "".join(reversed(stack))


def _plain(token: re.Match[str]) -> str:
    return token[0][1:-1] if token[0][0] in "\"'`" else token[0].lower()


def line_and_column(text: str, position: int) -> tuple[int, int]:
    """Returns where a character of a text is, both from 1."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def _requote_token(match: re.Match[str]) -> str:
    if match.lastgroup not in {"string", "raw"}:
        return match[0]
    content = _content(match[0])
    return '"' + content.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class _Checker:
    """Takes token after token; ``open_brackets`` are those not closed so far, with the word before and the position."""

    def __init__(self) -> None:
        self.open_brackets: list[tuple[str, str, int]] = []
        self._previous: list[str] = []

    def take(self, kind: str, text: str, position: int) -> None:
        """Raises ValueError where Prometheus 2.42 would not expect the token, a sentence without a position."""
        before = self._previous[-1] if self._previous else ""
        bracket, keyword, _ = self.open_brackets[-1] if self.open_brackets else ("", "", 0)
        if kind == "unknown":
            raise ValueError(f"unexpected {_describe(text)}")
        if kind in {"string", "raw"}:
            _check_string(text, before, bracket, keyword)
        elif kind == "identifier" and bracket == "{" and before in _MATCH_OPERATORS:
            raise ValueError(f'`{text}` is a text: write it in quotes, {self._previous[-2]}{before}"{text}"')
        elif kind in {"duration", "number"} or text.lower() in {"inf", "nan"}:
            words = [word.lower() for word in self._previous[-2:] if word not in "+-"]
            _check_number(kind, text, is_duration=bracket == "[" or words[-1:] == ["offset"])
        elif text == "@":
            raise ValueError("`@` is not supported: rules see the present only")
        elif text in _CLOSING:
            self.open_brackets.append((text, before.lower(), position))
        elif text in _CLOSING.values() and (not self.open_brackets or _CLOSING[self.open_brackets.pop()[0]] != text):
            raise ValueError(f"unexpected `{text}`")
        self._previous.append(text)


def _check_number(kind: str, text: str, *, is_duration: bool) -> None:
    if kind == "duration" and not is_duration:
        raise ValueError(f"`{text}`: a duration is not a number; write the seconds")
    if kind == "number" and not text.lower().startswith("0x") and math.isinf(float(text)):
        raise ValueError(f"`{text}` is too large a number")
    if kind != "duration" and is_duration:
        raise ValueError(f"`{text}` is not a duration")


def _check_string(literal: str, before: str, bracket: str, keyword: str) -> None:
    names_metric_or_label = bracket == "{" and before in {"{", ","}
    names_label = bracket == "(" and keyword in _GROUPING
    if names_metric_or_label or names_label:
        raise ValueError(f"a quoted name ({literal}) is not supported")
    if bracket == "{" and before in {"=~", "!~"}:
        pattern = _content(literal)
        try:
            compile_pattern(pattern)
        except ValueError as error:
            raise ValueError(f"{literal} is not a regular expression: {error}") from None
    if bracket != "{" and before in _COMPARISONS:
        raise ValueError(f"`{literal}` is a text, and is compared with a number: write it without quotes")


def _describe(character: str) -> str:
    if character in _SET_OPERATORS:
        return f"character `{character}`; write `{_SET_OPERATORS[character]}`"
    return "end of a string that is not closed" if character in "\"'`" else f"character `{character}`"


def _content(literal: str) -> str:
    """Returns what a string literal stands for. Raises ValueError."""
    quote = literal[0]

    def unescape(match: re.Match[str]) -> str:
        if match[1] == quote:
            return quote
        if match[1] not in _ESCAPES:
            raise ValueError(
                f"`{match[0]}` in {literal} is not an escape that is supported; a backslash is written twice"
            )
        return _ESCAPES[match[1]]

    return literal[1:-1] if quote == "`" else re.sub(r"\\(.)", unescape, literal[1:-1], flags=re.DOTALL)
