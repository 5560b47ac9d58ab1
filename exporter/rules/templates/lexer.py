"""Go's template syntax: text split from actions, and actions into tokens."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from exporter.errors import DictRateLimitError

_ACTION: Final = re.compile(
    r"""\{\{(?P<trim>-[ \t\r\n])?+
        (?:(?P<comment>/\*(?:(?!\*/).)*+\*/(?:[ \t\r\n]-)?)
         | (?!/\*)(?P<inside>(?:[^"`}]|"(?:[^"\\\n]|\\.)*+"|`[^`]*+`|\}(?!\}))*+))
        \}\}""",
    re.VERBOSE | re.DOTALL,
)
_TRIMMED: Final = re.compile(r"[ \t\r\n]-\Z")
_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<raw>`[^`]*`)
      | (?P<number>[+-]?(?:[0-9]|\.[0-9])[0-9a-zA-Z_.]*(?:(?<=[eE])[+-][0-9_]+)?)
      | (?P<reference>\$\w*(?:\.\w+)*|(?:\.\w+)+|\.)
      | (?P<name>[^\W\d]\w*+(?=[ \t\r\n.,|:()]|\Z))
      | (?P<sign>[()|,=]|:=)""",
    re.VERBOSE,
)
_INTEGER: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][+-]?[0-9]+)?")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"'}
_SPACE: Final = " \t\r\n"


class TemplateRefused(DictRateLimitError):
    """A template is not Go's, or uses what rules may not."""


@dataclass(frozen=True, slots=True)
class Token:
    """``kind``: string, raw, number, reference, name, sign, or end (of the action)."""

    kind: str
    text: str
    before_space: bool


def split(template: str) -> Iterator[str | list[Token]]:
    """Yields text, and each action's tokens; trim markers are applied, comments left out. Raises TemplateRefused."""
    position, trimmed = 0, False
    while True:
        start = template.find("{{", position)
        text = template[position:] if start < 0 else template[position:start]
        if trimmed:
            text = text.lstrip(_SPACE)
        action = _ACTION.match(template, start) if start >= 0 else None
        if action is not None and action["trim"]:
            text = text.rstrip(_SPACE)
        if text:
            yield text
        if start < 0:
            return
        if action is None:
            is_comment = template.startswith(("{{/*", "{{- /*"), start)
            raise TemplateRefused("unclosed comment" if is_comment else "unclosed action, or unclosed quotes in it")
        content = action["comment"] or action["inside"]
        trimmed = _TRIMMED.search(content) is not None
        if not action["comment"]:
            yield _tokens(content.removesuffix("-") if trimmed else content)
        position = action.end()


def _tokens(action: str) -> list[Token]:
    """Returns the tokens of an action, the last of kind end. Raises TemplateRefused."""
    result: list[Token] = []
    position = 0
    while position < len(action):
        match = _TOKEN.match(action, position)
        if match is None:
            character = action[position]
            hint = ": text stands in double quotes, not in single quotes" if character == "'" else ""
            raise TemplateRefused(f"unexpected `{character}` in command{hint}")
        if match[0] == ":=":
            raise TemplateRefused("variables of one's own are not supported")
        position = match.end()
        if match.lastgroup != "space":
            result.append(Token(match.lastgroup or "", match[0], action[position : position + 1] in _SPACE))
    return [*result, Token("end", "", before_space=False)]


def constant(token: Token) -> str | float | int | bool:
    """Returns the value of a string, a number, true or false. Raises TemplateRefused."""
    text = token.text
    if token.kind == "raw":
        return text[1:-1].replace("\r", "")
    if token.kind == "string":
        return re.sub(r"\\(.)", _unescape, text[1:-1])
    if token.kind == "name":
        return text == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(value := float(text)):
        return value
    raise TemplateRefused(f"`{text}` is not a number that is supported")


def _unescape(match: re.Match[str]) -> str:
    if match[1] not in _ESCAPES:
        raise TemplateRefused(f"`{match[0]}` is not an escape of a string that is supported")
    return _ESCAPES[match[1]]
