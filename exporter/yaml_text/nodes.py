"""The nodes of a document: mappings with their merge keys resolved, and the keys that are repeated in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import yaml

NULL: Final = "tag:yaml.org,2002:null"
TEXT: Final = "tag:yaml.org,2002:str"
MERGE: Final = "tag:yaml.org,2002:merge"
_MAX_NAME: Final = 60

Pairs: TypeAlias = "Sequence[tuple[yaml.Node, yaml.Node]]"


@dataclass(frozen=True, slots=True)
class Repeated:
    """A key that a mapping already has, in ``first_line``."""

    name: str
    line: int
    first_line: int

    def __str__(self) -> str:
        return f"{self.name} is given twice, first in line {self.first_line}"

    def problem(self, path: Sequence[str]) -> str:
        """Returns line, key and what to do, to follow a file's name and a colon; ``path`` leads to the mapping."""
        key = ".".join((*path, self.name))
        return f"{self.line}: {key}: is given twice, first in line {self.first_line}; keep one"


class Mapping(yaml.MappingNode):
    """A mapping whose merge keys are resolved.

    ``written`` are its pairs as in the text, ``<<`` among them; ``repeated`` the keys that it has twice.
    """

    written: Pairs
    repeated: Sequence[Repeated]

    @property
    def merges(self) -> bool:
        return self.written is not self.value


def mappings(root: yaml.Node | None) -> Iterator[Mapping]:
    """Yields every mapping once, in the order of the text, also those that are only merged."""
    seen: set[int] = set()
    left = [] if root is None else [root]
    while left:
        node = left.pop()
        if isinstance(node, yaml.ScalarNode) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Mapping):
            yield node
            left += [part for pair in reversed(node.written) for part in reversed(pair)]
        else:
            left += reversed(node.value)


def all_repeated(root: yaml.Node | None) -> list[Repeated]:
    return [repeated for mapping in mappings(root) for repeated in mapping.repeated]


def line_of(node: yaml.Node) -> int:
    """Returns the line that a node begins in, from 1."""
    return cast("int", node.start_mark.line) + 1


def is_merge(key: yaml.Node) -> bool:
    return key.tag == MERGE


def repeated_keys(pairs: Pairs, lines: Sequence[int]) -> list[Repeated]:
    """Returns the keys that are not the first of their name; ``lines`` are those of the pairs."""
    first: dict[str, int] = {}
    repeated: list[Repeated] = []
    for (key, _), line in zip(pairs, lines, strict=True):
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in first:
            name = " ".join(key.value.split())
            name = name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}..."
            repeated.append(Repeated(name, line, first[key.value]))
        else:
            first[key.value] = line
    return repeated


def merge(pairs: Pairs, merged: Sequence[Mapping]) -> Pairs:
    """Returns a mapping's own pairs, and those of the ``merged`` mappings whose keys it does not have before."""
    result = [pair for pair in pairs if not is_merge(pair[0])]
    names = _names(result)
    for mapping in merged:
        result += [
            (key, value)
            for key, value in mapping.value
            if not isinstance(key, yaml.ScalarNode) or key.value not in names
        ]
        names |= _names(mapping.value)
    return result


def _names(pairs: Pairs) -> set[str]:
    return {key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)}
