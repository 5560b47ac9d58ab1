"""YAML as Go's decoder reads it into strings, with the line of everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from exporter.config import shallow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Entry:
    """A node of a document: its line (from 1) and what it is."""

    line: int
    node: Any

    @property
    def is_null(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self.node.tag == "tag:yaml.org,2002:null"

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
        if not isinstance(self.node, yaml.ScalarNode):
            raise ValueError(f"expected text, found a {self.node.id}")  # noqa: TRY004 - of the file, not of a caller
        return "" if self.is_null else str(self.node.value)

    def scalar(self, name: str) -> str:
        """Returns a mapping's scalar of that name, or nothing, whatever else is wrong."""
        pairs = self.node.value if isinstance(self.node, yaml.MappingNode) else ()
        found = (value for key, value in pairs if key.value == name and isinstance(value, yaml.ScalarNode))
        return next((str(value.value) for value in found), "")

    def items(self) -> Iterator[Entry]:
        """Yields the entries of a list; null is empty. Raises ValueError."""
        if self.is_null:
            return
        if not isinstance(self.node, yaml.SequenceNode):
            raise ValueError(f"expected a list, found a {self.node.id}")  # noqa: TRY004
        for node in self.node.value:
            yield Entry(node.start_mark.line + 1, node)


@dataclass(frozen=True, slots=True)
class Key:
    """A key's line, and its value."""

    line: int
    value: Entry


def parse(text: str) -> Entry | None:
    """Returns the document's root, None where it is empty. Raises YamlInvalid."""
    try:
        node = yaml.compose(shallow(text), Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise YamlInvalid(line, " ".join(filter(None, (error.context, error.problem)))) from None
    except yaml.YAMLError as error:
        raise YamlInvalid(1, str(error)) from None
    return None if node is None else Entry(node.start_mark.line + 1, node)


class YamlInvalid(Exception):
    """The text is not YAML, or not one document."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def fields(entry: Entry, known: frozenset[str] | None, wrong: Callable[[int, str], None]) -> Mapping[str, Key]:
    """Returns a mapping's keys; ``wrong`` hears of lines with unknown or repeated ones."""
    if entry.is_null:
        return {}
    if not isinstance(entry.node, yaml.MappingNode):
        wrong(entry.line, f"expected a mapping, found a {entry.node.id}")
        return {}
    found: dict[str, Key] = {}
    for key_node, value_node in entry.node.value:
        line, name = key_node.start_mark.line + 1, str(key_node.value)
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
            wrong(line, "only plain keys are supported")
        elif name in found:
            wrong(line, f"{name} is given twice")
        elif known is not None and name not in known:
            wrong(line, f"unknown field {name}")
        else:
            found[name] = Key(line, Entry(value_node.start_mark.line + 1, value_node))
    return found
