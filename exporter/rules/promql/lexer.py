"""The words of an expression: what Prometheus 2.42 would not read is refused before the parser sees it.

The parser knows some of Prometheus 3's grammar too, and its tree no longer shows
where that was used.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from exporter.rules.promql.regexes import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<raw>`[^`]*`)
      | (?P<duration>(?:[0-9]+(?:ms|[smhdwy]))+(?![0-9A-Za-z_]))
      | (?P<number>0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<sign>==|!=|=~|!~|>=|<=|[-+*/%^=<>(){}\[\],@])
      | (?P<unknown>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\'\"])|x(?P<x>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})"
    r"|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<bad>.))",
    re.DOTALL,
)
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MATCHES: Final = frozenset({"=", "!=", "=~", "!~"})
_COMPARES: Final = frozenset({"==", "!=", ">", "<", ">=", "<="})
_WORDS: Final = {"&": "and", "|": "or", "!": "unless"}
"""Of other languages, and of this one."""

_GROUPING: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_CLOSES: Final = {"(": ")", "{": "}", "[": "]"}


def checked(text: str) -> str:
    """Returns the text to parse, its strings written the one way that the parser reads as Go does.

    Raises ValueError, a sentence with line and column, where it holds what
    Prometheus 2.42 does not know.
    """
    made: list[str] = []
    reading = _Reading()
    for match in _TOKEN.finditer(text):
        kind, word = match.lastgroup or "", match[0]
        if kind == "space":
            made.append(word)
            continue
        try:
            reading.take(kind, word, match.start())
            made.append(_rewritten(kind, word))
        except ValueError as error:
            raise Misplaced(str(error), text, match.start()) from None
    if reading.opened:
        bracket, _, position = reading.opened[-1]
        raise Misplaced(f"`{bracket}` is not closed", text, position)
    return "".join(made)


def rewritten(text: str) -> str:
    """Returns the text, of which it is known that it can be read so far, with its strings as `checked` has them."""
    return "".join(_rewritten(match.lastgroup or "", match[0]) for match in _TOKEN.finditer(text))


def _rewritten(kind: str, word: str) -> str:
    if kind not in {"string", "raw"}:
        return word
    return _quoted(word[1:-1] if kind == "raw" else _unescaped(word))


class Misplaced(ValueError):
    """What is wrong at a place of an expression: ``fault`` at ``position``."""

    def __init__(self, fault: str, text: str, position: int) -> None:
        super().__init__(f"{place(text, position)}: {fault}")
        self.fault = fault
        self.position = position


def words(text: str) -> Iterator[tuple[int, int]]:
    """Yields where each word begins and ends."""
    return (match.span() for match in _TOKEN.finditer(text) if match.lastgroup != "space")


def find(text: str, construct: str) -> int | None:
    """Returns where a part of an expression stands in its text, as the parser writes it: as much of it as is there."""
    wanted = [_plain(construct[start:end]) for start, end in words(construct)]
    places = [(start, _plain(text[start:end])) for start, end in words(text)]
    best, found = 0, None
    for number in range(len(places)):
        alike = 0
        for (_, word), sought in zip(places[number:], wanted, strict=False):
            if word != sought:
                break
            alike += 1
        if alike > best:
            best, found = alike, places[number][0]
    return found


def _plain(word: str) -> str:
    return word[1:-1] if word[0] in "\"'`" else word.lower()


def closing(text: str) -> str:
    """Returns the brackets that close those that are open at the end of a text."""
    opened: list[str] = []
    for start, end in words(text):
        word = text[start:end]
        if word in _CLOSES:
            opened.append(_CLOSES[word])
        elif opened and word == opened[-1]:
            opened.pop()
    return "".join(reversed(opened))


def place(text: str, position: int) -> str:
    """Returns ``line:column`` within the expression, both from 1."""
    before = text[:position]
    return f"{before.count(chr(10)) + 1}:{position - (before.rfind(chr(10)) + 1) + 1}"


class _Reading:
    """Where a reader has come: the brackets that are open, each with the word before it and its position."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, str, int]] = []
        self._words: list[str] = []

    def take(self, kind: str, word: str, position: int) -> None:
        """Raises ValueError where Prometheus 2.42 would not expect the word, a sentence without a place."""
        before = self._words[-1] if self._words else ""
        bracket, keyword, _ = self.opened[-1] if self.opened else ("", "", 0)
        if kind == "unknown":
            raise ValueError(f"unexpected {_described(word)}")
        if kind in {"string", "raw"}:
            self._refuse_quoted_name(word, before, bracket, keyword)
            self._refuse_text(word, before, bracket)
        elif kind == "word" and bracket == "{" and before in _MATCHES:
            raise ValueError(f'`{word}` is a text: write it in quotes, {self._words[-2]}{before}"{word}"')
        elif kind == "duration":
            if bracket != "[" and not self._after_offset():
                raise ValueError(f"`{word}`: a duration is not a number; write the seconds")
        elif kind == "number" or word.lower() in {"inf", "nan"}:
            self._refuse_number(word, written=kind == "number", is_duration=bracket == "[" or self._after_offset())
        elif word == "@":
            raise ValueError("`@` is not supported: rules see the present only")
        elif word in _CLOSES:
            self.opened.append((word, before.lower(), position))
        elif word in _CLOSES.values() and (not self.opened or _CLOSES[self.opened.pop()[0]] != word):
            raise ValueError(f"unexpected `{word}`")
        self._words.append(word)

    def _refuse_number(self, word: str, *, written: bool, is_duration: bool) -> None:
        if written and not word.lower().startswith("0x") and math.isinf(float(word)):
            raise ValueError(f"`{word}` is too large a number")
        if is_duration:
            raise ValueError(f"`{word}` is not a duration")

    def _after_offset(self) -> bool:
        return [word.lower() for word in self._words[-2:] if word not in "+-"][-1:] == ["offset"]

    def _refuse_text(self, word: str, before: str, bracket: str) -> None:
        if bracket == "{" and before in {"=~", "!~"}:
            try:
                compiled(word[1:-1] if word[0] == "`" else _unescaped(word))
            except ValueError as error:
                raise ValueError(f"{word} is not a regular expression: {error}") from None
        if bracket != "{" and before in _COMPARES:
            raise ValueError(f"`{word}` is a text, and is compared with a number: write it without quotes")

    def _refuse_quoted_name(self, word: str, before: str, bracket: str, keyword: str) -> None:
        names_metric_or_label = bracket == "{" and before in {"{", ","}
        names_label = bracket == "(" and keyword in _GROUPING
        if names_metric_or_label or names_label:
            raise ValueError(f"a quoted name ({word}) is not supported")


def _described(character: str) -> str:
    if character in _WORDS:
        return f"character `{character}`; write `{_WORDS[character]}`"
    return "end of a string that is not closed" if character in "\"'`" else f"character `{character}`"


def _unescaped(word: str) -> str:
    quote = word[0]

    def replaced(match: re.Match[str]) -> str:
        simple = match["simple"]
        if match["bad"] or (simple in {'"', "'"} and simple != quote):
            raise ValueError(f"`{match[0]}` in {word} is not an escape; a backslash is written twice")
        if simple:
            return _SIMPLE.get(simple, simple)
        code = int(match["octal"], 8) if match["octal"] else int(match["x"] or match["u"] or match["U"], 16)
        if code > 0x7F and not (match["u"] or match["U"]):
            raise ValueError(f"`{match[0]}` in {word} is a part of a character; write the character")
        return chr(code)

    return _ESCAPE.sub(replaced, word[1:-1])


def _quoted(content: str) -> str:
    return '"' + content.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
