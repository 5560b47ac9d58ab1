"""Go's template syntax, first half: text told from actions, and actions split into words.

Positions are those that Go would tell: bytes from the start of the text, after
the definitions that Prometheus puts in front of it.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = (
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
)

_WORD: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<raw>`[^`]*`)
      | (?P<declare>:=)
      | (?P<number>[+-]?(?:[0-9]|\.[0-9])[0-9a-zA-Z_.]*(?:(?<=[eE])[+-][0-9_]+)?)
      | (?P<variable>\$\w*)
      | (?P<field>\.\w+)
      | (?P<name>[^\W\d]\w*)
      | (?P<sign>[.()|,=])""",
    re.VERBOSE,
)
_TRIM_LEFT: Final = re.compile(r"-[ \t\r\n]")
_END_OF_COMMENT: Final = re.compile(r"(?:[ \t\r\n]-)?(?=\}\})")
_INTEGER: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]*|0[xX][0-9a-fA-F]+)")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]+)?")
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\\"])|x(?P<x>[0-7][0-9a-fA-F])|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"
    r"|(?P<octal>[01][0-7]{2})|(?P<bad>.))",
    re.DOTALL,
)
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}

_SPACE: Final = " \t\r\n"

_MOST_DIGITS: Final = 20
"""So many have the longest integers, with their sign."""


class TemplateRefused(Exception):
    """A template is not Go's, or uses what rules may not."""


@dataclass(frozen=True, slots=True)
class Action:
    """What stands between two braces, without them and their trim markers."""

    inside: str
    position: int


@dataclass(frozen=True, slots=True)
class Word:
    """``kind``: space, string, raw, number, variable, field, name, sign, or end (of the action)."""

    kind: str
    text: str
    position: int


def split(text: str) -> Iterator[str | Action]:
    """Yields text and actions; trim markers have done their work, comments are gone. Raises TemplateRefused."""
    place, trimmed = 0, False
    counted, position = 0, len(PREFIX)
    while True:
        start = text.find("{{", place)
        plain = text[place:] if start < 0 else text[place:start]
        if trimmed:
            plain = plain.lstrip(_SPACE)
        inside_at = start + 2
        if start >= 0 and _TRIM_LEFT.match(text, inside_at):
            plain = plain.rstrip(_SPACE)
            inside_at += 2
        if plain:
            yield plain
        if start < 0:
            return
        end = _end_of_action(text, inside_at)
        inside = text[inside_at:end]
        trimmed = len(inside) > 1 and inside[-1] == "-" and inside[-2] in _SPACE
        counted, position = inside_at, position + len(text[counted:inside_at].encode())
        if not inside.startswith("/*"):
            yield Action(inside.removesuffix("-") if trimmed else inside, position)
        place = end + 2


def words(action: Action) -> list[Word]:
    """Returns the words of an action, the last of kind end. Raises TemplateRefused."""
    found: list[Word] = []
    place, position = 0, action.position
    while place < len(action.inside):
        match = _WORD.match(action.inside, place)
        if match is None:
            raise TemplateRefused(f"unexpected `{action.inside[place]}` in command")
        if match.lastgroup == "declare":
            raise TemplateRefused("variables of one's own are not supported")
        found.append(Word(match.lastgroup or "", match[0], position))
        place, position = match.end(), position + len(match[0].encode())
    return [*found, Word("end", "", position)]


def constant(word: Word) -> str | float | int | bool:
    """Returns the value of a string, a number, or a truth value. Raises TemplateRefused."""
    if word.kind == "raw":
        return word.text[1:-1].replace("\r", "")
    if word.kind == "string":
        return _ESCAPE.sub(_unescaped, word.text[1:-1])
    if word.kind == "name":
        return word.text == "true"
    return _number(word.text)


def _number(text: str) -> float | int:
    number: float | int = math.inf
    if _INTEGER.fullmatch(text) and len(text) <= _MOST_DIGITS:
        number = int(text, 0)
    elif _FLOAT.fullmatch(text):
        number = float(text)
    if math.isinf(number) or (isinstance(number, int) and not -(2**63) <= number < 2**63):
        raise TemplateRefused(f"`{text}` is not a number that is supported")
    return number


def _end_of_action(text: str, place: int) -> int:
    if text.startswith("/*", place):
        end = text.find("*/", place + 2)
        if end < 0:
            raise TemplateRefused("unclosed comment")
        closed = _END_OF_COMMENT.match(text, end + 2)
        if closed is None:
            raise TemplateRefused("a comment ends before the closing braces")
        return closed.end()
    while place < len(text):
        if text.startswith("}}", place):
            return place
        match = _WORD.match(text, place)
        if match:
            place = match.end()
        elif text[place] in '"`':
            raise TemplateRefused("a quoted string is not closed")
        elif text[place] == "'":
            raise TemplateRefused("a character in single quotes is not supported")
        else:
            place += 1
    raise TemplateRefused("unclosed action")


def _unescaped(match: re.Match[str]) -> str:
    if match["simple"]:
        return _SIMPLE[match["simple"]]
    if match["bad"]:
        raise TemplateRefused(f"`\\{match['bad']}` is not an escape of a string that is supported")
    code = int(match["octal"], 8) if match["octal"] else int(match["x"] or match["u"] or match["U"], 16)
    if not code or 0xD800 <= code < 0xE000 or code > sys.maxunicode:
        raise TemplateRefused(f"`{match[0]}` is not a character that is supported")
    return chr(code)
