"""YAML as Go's decoder reads it into strings, with the line of everything."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import yaml

from exporter.yaml_text import NULL, Mapping, Texts, compose, line_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_STANDARD: Final = "tag:yaml.org,2002:"
_TEXT: Final = f"{_STANDARD}str"
_BINARY: Final = f"{_STANDARD}binary"
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})

MOST_NODES: Final = 300_000
"""A rule has about 20. What has more than this, all aliases followed, is a slip, and loading it would take minutes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A node of a document: its line (from 1) and what it is."""

    line: int
    node: Any

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == NULL

    @property
    def first_line(self) -> int | None:
        """The file's line where a text's first line is; None where the text is folded from several."""
        if not isinstance(self.node, yaml.ScalarNode) or self.node.style == ">":
            return None
        if self.node.style == "|":
            return self.line + 1
        return self.line if self.node.start_mark.line == self.node.end_mark.line else None

    def text(self) -> str:
        """Returns a scalar as written; null is empty. Raises ValueError."""
        node = self.node
        if not isinstance(node, yaml.ScalarNode):
            raise ValueError(f"expected text, found a {node.id}")  # noqa: TRY004 - of the file, not of a caller
        if node.tag == NULL and node.value in _NULLS:
            return ""
        if node.tag == _BINARY:
            return _decoded(node.value)
        if node.tag.startswith(_STANDARD) and node.tag != _TEXT:
            raise ValueError(f"expected text, found what is tagged !!{node.tag.removeprefix(_STANDARD)}")
        return str(node.value)

    def scalar(self, name: str) -> str:
        """Returns a mapping's scalar of that name, or nothing, whatever else is wrong."""
        pairs = self.node.value if isinstance(self.node, Mapping) else ()
        found = (value for key, value in pairs if key.value == name and isinstance(value, yaml.ScalarNode))
        return next((str(value.value) for value in found), "")

    def items(self) -> Iterator[Entry]:
        """Yields the entries of a list but for those that are null; null is empty. Raises ValueError."""
        if self.is_null:
            return
        if not isinstance(self.node, yaml.SequenceNode):
            raise ValueError(f"expected a list, found a {self.node.id}")  # noqa: TRY004
        for node in self.node.value:
            entry = Entry(line_of(node), node)
            if not entry.is_null:
                yield entry


@dataclass(frozen=True, slots=True)
class Key:
    """A key's line, and its value."""

    line: int
    value: Entry


def _decoded(text: str) -> str:
    try:
        return b64decode(text, validate=True).decode()
    except ValueError:
        raise ValueError("expected text, found what is tagged !!binary and is no text in base64") from None


def parse(text: str) -> Entry | None:
    """Returns the document's root, None where there is none. Raises YamlInvalid."""
    node = compose(text, most_nodes=MOST_NODES, loader=Texts)
    return None if node is None else Entry(line_of(node), node)


def fields(entry: Entry, known: frozenset[str] | None, wrong: Callable[[int, str], None]) -> dict[str, Key]:
    """Returns a mapping's keys, merged ones too; ``wrong`` hears of lines with unknown or repeated ones."""
    if entry.is_null:
        return {}
    if not isinstance(entry.node, Mapping):
        wrong(entry.line, f"expected a mapping, found a {entry.node.id}")
        return {}
    for repeated in entry.node.repeated:
        wrong(repeated.line, str(repeated))
    found: dict[str, Key] = {}
    for key_node, value_node in entry.node.value:
        line, name = line_of(key_node), str(key_node.value)
        if not isinstance(key_node, yaml.ScalarNode):
            wrong(line, "only plain keys are supported")
        elif known is not None and name not in known:
            wrong(line, f"unknown field {name}")
        elif name not in found:
            found[name] = Key(line, Entry(line_of(value_node), value_node))
    return found
