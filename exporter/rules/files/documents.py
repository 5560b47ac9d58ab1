"""YAML as Go's decoder reads it into strings, with the line of everything."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from exporter.rules.promql.lexer import line_and_column
from exporter.structures import did_you_mean
from exporter.yaml_text import Texts, compose
from exporter.yaml_text.nodes import NULL, Mapping, line_of

_STANDARD: Final = "tag:yaml.org,2002:"
_TEXT: Final = f"{_STANDARD}str"
_BINARY: Final = f"{_STANDARD}binary"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

_KINDS: Final = {"mapping": "keys with values", "sequence": "a list", "scalar": "a text"}
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*\s+)*")
"""An anchor and a tag, which stand before a node."""

_ESCAPED_SPACE: Final = "ntr 0abefvNLP_\n"

MOST_NODES: Final = 300_000
"""A rule has about 20. What has more than this, all aliases followed, is a slip, and loading it would take minutes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A node of a document: its line, or that of its key (from 1), what it is, and the whole document's text."""

    line: int
    node: Any
    source: str = ""

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == NULL

    def locate(self, offset: int) -> tuple[int, int] | None:
        """Returns line and column, from 1, of a character of a scalar's text; None where that is not clear.

        However a text is folded, quoted and indented, its characters but for white space come in the same order.
        """
        if not isinstance(self.node, yaml.ScalarNode):
            return None
        last = begin = self.node.start_mark.index
        characters = _characters(self.source, begin, self.node.style)
        for position, character in enumerate(str(self.node.value)):
            if character.isspace():
                continue
            last, in_source = next(characters, (-1, ""))
            if in_source != character:
                return None
            if position >= offset:
                return line_and_column(self.source, last)
        return line_and_column(self.source, last + 1)

    def text(self) -> str:
        """Returns a scalar as written; null is empty. Raises ValueError."""
        node = self.node
        if not isinstance(node, yaml.ScalarNode):
            raise ValueError(f"expected text, found {_KINDS[node.id]}{self._in_quotes()}")  # noqa: TRY004 - of the file
        if node.tag == NULL and node.value in _NULLS:
            return ""
        text = str(node.value)
        if node.tag == _BINARY:
            try:
                text = b64decode(text, validate=True).decode()
            except ValueError:
                raise ValueError("expected text, found what is tagged !!binary and is no text in base64") from None
        elif node.tag.startswith(_STANDARD) and node.tag != _TEXT:
            raise ValueError(f"expected text, found what is tagged !!{node.tag.removeprefix(_STANDARD)}")
        if "\0" in text:
            raise ValueError("a NUL character is not supported: the database does not take it")
        return text

    def _in_quotes(self) -> str:
        """Returns how a list or a mapping in brackets is written where text was meant: most often a template."""
        source = self.source[self.node.start_mark.index : self.node.end_mark.index]
        if not self.node.flow_style or "\n" in source:
            return ""
        return f"; where a text is meant, write it in quotes: {quoted(source)}"

    def scalar(self, name: str) -> str:
        """Returns a mapping's scalar of that name, or nothing, whatever else is wrong."""
        pairs = self.node.value if isinstance(self.node, Mapping) else ()
        scalars = (value for key, value in pairs if key.value == name and isinstance(value, yaml.ScalarNode))
        return next((str(scalar.value) for scalar in scalars), "")

    def items(self) -> Iterator[Entry]:
        """Yields the entries of a list but for those that are null; null is empty. Raises ValueError."""
        if self.is_null:
            return
        if not isinstance(self.node, yaml.SequenceNode):
            raise ValueError(f"expected a list, found {_KINDS[self.node.id]}")  # noqa: TRY004
        for node in self.node.value:
            entry = Entry(line_of(node), node, self.source)
            if not entry.is_null:
                yield entry


ABSENT: Final = Entry(0, yaml.ScalarNode(NULL, ""))
"""Stands for the value of a key that is not there: null."""


def quoted(text: str) -> str:
    """Returns a text as YAML has it in quotes."""
    if '"' not in text and "\\" not in text:
        return f'"{text}"'
    return "'" + text.replace("'", "''") + "'"


def _characters(source: str, begin: int, style: str | None) -> Iterator[tuple[int, str]]:
    """Yields position and character, but for white space, from where a scalar begins; escapes are replaced."""
    properties = _PROPERTIES.match(source, begin)
    position = properties.end() if properties else begin
    if style in {"|", ">"}:
        position = source.find("\n", begin) + 1 or len(source)
    elif style in {"'", '"'}:
        position += 1
    while position < len(source):
        character, after = source[position], source[position + 1 : position + 2]
        if style == '"' and character == "\\" and after:
            if after in '"\\/':
                yield position, after
            elif after not in _ESCAPED_SPACE:
                return
            position += 2
            continue
        if not character.isspace():
            yield position, character
        position += 2 if style == "'" and character + after == "''" else 1


def parse(text: str) -> Entry | None:
    """Returns the document's root, None where there is none. Raises YamlInvalid."""
    node = compose(text, max_nodes=MOST_NODES, loader=Texts)
    return None if node is None else Entry(line_of(node), node, text)


def fields(entry: Entry, allowed: frozenset[str] | None, report: Callable[[int, str], None]) -> dict[str, Entry]:
    """Returns a mapping's values, merged ones too. ``report`` gets the line of a repeated or unknown key."""
    if entry.is_null:
        return {}
    if not isinstance(entry.node, Mapping):
        report(line_of(entry.node), f"expected keys with values, found {_KINDS[entry.node.id]}")
        return {}
    for repeated in entry.node.repeated:
        report(repeated.line, str(repeated))
    values: dict[str, Entry] = {}
    for key_node, value_node in entry.node.value:
        line, name = line_of(key_node), str(key_node.value)
        if not isinstance(key_node, yaml.ScalarNode):
            report(line, "only plain keys are supported")
        elif allowed is not None and name not in allowed:
            report(line, f"unknown field {name}{did_you_mean(name, allowed)}")
        elif name not in values:
            values[name] = Entry(line, value_node, entry.source)
    return values
