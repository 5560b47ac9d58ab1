"""Go's template syntax, first half: text told from actions, and actions split into words.

Positions are those that Go would tell: bytes from the start of the text, after
the definitions that Prometheus puts in front of it.
"""

from __future__ import annotations

import re
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
_COMMENT: Final = re.compile(r"[ \t\r\n]?/\*.*?\*/(?:[ \t\r\n]+-)?(?=\}\})", re.DOTALL)
_INTEGER: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]*|0[xX][0-9a-fA-F]+)")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]+)?")
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\\"])|x(?P<x>[0-7][0-9a-fA-F])|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})"
    r"|(?P<octal>[01][0-7]{2})|(?P<bad>.))",
    re.DOTALL,
)
_SIMPLE: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}

_SPACE: Final = " \t\r\n"


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
    while True:
        start = text.find("{{", place)
        plain = text[place:] if start < 0 else text[place:start]
        if trimmed:
            plain = plain.lstrip(_SPACE)
        inside_at = start + 2
        if start >= 0 and re.match(r"-[ \t\r\n]", text[inside_at:]):
            plain = plain.rstrip(_SPACE)
            inside_at += 1
        if plain:
            yield plain
        if start < 0:
            return
        end = _end_of_action(text, inside_at)
        inside = text[inside_at:end]
        trimmed = re.search(r"[ \t\r\n]-\Z", inside) is not None
        if not inside.lstrip(_SPACE).startswith("/*"):
            yield Action(inside.removesuffix("-") if trimmed else inside, _position(text, inside_at))
        place = end + 2


def words(action: Action) -> list[Word]:
    """Returns the words of an action, the last of kind end. Raises TemplateRefused."""
    found: list[Word] = []
    place = 0
    while place < len(action.inside):
        match = _WORD.match(action.inside, place)
        if match is None:
            raise TemplateRefused(f"unexpected `{action.inside[place]}` in command")
        if match.lastgroup == "declare":
            raise TemplateRefused("variables of one's own are not supported")
        found.append(Word(match.lastgroup or "", match[0], action.position + len(action.inside[:place].encode())))
        place = match.end()
    return [*found, Word("end", "", action.position + len(action.inside.encode()))]


def constant(word: Word) -> str | float | int | bool:
    """Returns the value of a string, a number, or a truth value. Raises TemplateRefused."""
    if word.kind == "raw":
        return word.text[1:-1].replace("\r", "")
    if word.kind == "string":
        return _ESCAPE.sub(_unescaped, word.text[1:-1])
    if word.kind == "name":
        return word.text == "true"
    if _INTEGER.fullmatch(word.text):
        return int(word.text, 0)
    if _FLOAT.fullmatch(word.text):
        return float(word.text)
    raise TemplateRefused(f"`{word.text}` is not a number that is supported")


def _end_of_action(text: str, place: int) -> int:
    comment = _COMMENT.match(text, place)
    if comment:
        return comment.end()
    if text[place:].lstrip(_SPACE).startswith("/*"):
        raise TemplateRefused("unclosed comment")
    while place < len(text):
        if text.startswith("}}", place):
            return place
        match = _WORD.match(text, place)
        if match and match.lastgroup in {"string", "raw"}:
            place = match.end()
        elif text[place] in '"`':
            raise TemplateRefused("a quoted string is not closed")
        elif text[place] == "'":
            raise TemplateRefused("a character in single quotes is not supported")
        else:
            place += 1
    raise TemplateRefused("unclosed action")


def _position(text: str, place: int) -> int:
    return len(PREFIX) + len(text[:place].encode())


def _unescaped(match: re.Match[str]) -> str:
    if match["simple"]:
        return _SIMPLE[match["simple"]]
    if match["bad"]:
        raise TemplateRefused(f"`\\{match['bad']}` is not an escape of a string that is supported")
    return chr(int(match["octal"], 8)) if match["octal"] else chr(int(match["x"] or match["u"] or match["U"], 16))
