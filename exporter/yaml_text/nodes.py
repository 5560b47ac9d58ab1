"""A document's nodes, composed within limits: merge keys are resolved, repeated keys kept, aliases counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import yaml

NULL: Final = "tag:yaml.org,2002:null"
TEXT: Final = "tag:yaml.org,2002:str"
MERGE: Final = "tag:yaml.org,2002:merge"
_MAX_NAME: Final = 60

MAX_DEPTH: Final = 50
"""YAML that is nested more deeply is refused: it is read by recursion."""

MAX_NODES: Final = 100_000
"""Keys, values, lists and mappings: a configuration has far fewer, each alias counted as what it refers to."""

Pairs: TypeAlias = "Sequence[tuple[yaml.Node, yaml.Node]]"


@dataclass(frozen=True, slots=True)
class Repeated:
    """A key that a mapping already has, in ``first_line``."""

    name: str
    line: int
    first_line: int

    def __str__(self) -> str:
        return f"{self.name} is given twice, first in line {self.first_line}"


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
        if isinstance(key, yaml.ScalarNode) and key.value in first:
            name = " ".join(key.value.split())
            name = name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}..."
            repeated.append(Repeated(name, line, first[key.value]))
        elif isinstance(key, yaml.ScalarNode):
            first[key.value] = line
    return repeated


def merge(pairs: Pairs, merged: Sequence[Mapping]) -> Pairs:
    """Returns a mapping's own pairs, and those of the ``merged`` mappings whose keys it does not have before."""
    result = [pair for pair in pairs if not is_merge(pair[0])]
    names = _names(result)
    for mapping in merged:
        result += [pair for pair in mapping.value if not _names([pair]) & names]
        names |= _names(mapping.value)
    return result


def _names(pairs: Pairs) -> set[str]:
    return {key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)}


@dataclass(slots=True)
class _Anchor:
    """What an alias refers to; ``node`` is None while it is not yet complete."""

    node: yaml.Node | None = None
    nodes: int = 0
    levels: int = 0


class Composer:
    """Builds nodes from the parser's events.

    PyYAML's own composer refuses an anchor's name that is used again, accepts a node that contains itself,
    and does not count.
    """

    def __init__(self, text: str, loader: type[yaml.CSafeLoader], max_nodes: int) -> None:
        self._loader = loader(text)
        self._max_nodes = max_nodes
        self._nodes = 0
        self._levels = 0
        self._anchors: dict[str, _Anchor] = {}

    def root(self) -> yaml.Node | None:
        documents: list[yaml.Node] = []
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version not in {None, (1, 1)}:
                    raise _fault("only YAML 1.1 is read", event)
                self._anchors = {}
                documents.append(node := self._node(self._next(), 1))
                if len(documents) > 1 and node.value and node.tag != NULL:
                    raise _fault("a second document begins, and only the first is read", event)
        return documents[0] if documents else None

    def _next(self) -> Any:
        return self._loader.get_event()

    def _node(self, event: Any, depth: int) -> yaml.Node:
        """Takes the events of one node. ``_levels``: how many collections are in one another in its siblings so far."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        is_scalar = isinstance(event, yaml.ScalarEvent)
        if depth > MAX_DEPTH and not is_scalar:
            raise _fault(f"more than {MAX_DEPTH} levels deep", event)
        nodes_before, levels_before = self._nodes, self._levels
        self._count(1, event)
        anchor = _Anchor()
        if event.anchor is not None:
            self._anchors[event.anchor] = anchor
        self._levels = 0
        if is_scalar:
            tag = self._tag(yaml.ScalarNode, event)
            node: yaml.Node = yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark, event.style)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        levels = 0 if is_scalar else self._levels + 1
        self._levels = max(levels, levels_before)
        anchor.node, anchor.nodes, anchor.levels = node, self._nodes - nodes_before, levels
        return node

    def _alias(self, event: Any, depth: int) -> yaml.Node:
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            raise _fault("an alias without an anchor of that name before it", event)
        if anchored.node is None:
            raise _fault("an alias of a node that it is itself part of", event)
        if depth - 1 + anchored.levels > MAX_DEPTH:
            raise _fault(f"more than {MAX_DEPTH} levels deep", event)
        self._count(anchored.nodes, event)
        self._levels = max(self._levels, anchored.levels)
        return anchored.node

    def _sequence(self, event: Any, depth: int) -> yaml.Node:
        items: list[yaml.Node] = []
        while not isinstance(inner := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(inner, depth + 1))
        tag = self._tag(yaml.SequenceNode, event)
        return yaml.SequenceNode(tag, items, event.start_mark, _end_mark(inner), event.flow_style)

    def _mapping(self, event: Any, depth: int) -> yaml.Node:
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        lines: list[int] = []
        merged: list[Mapping] = []
        while not isinstance(inner := self._next(), yaml.MappingEndEvent):
            lines.append(inner.start_mark.line + 1)
            key = self._node(inner, depth + 1)
            if _is_merge(inner):
                key.tag = MERGE
            inner = self._next()
            value = self._node(inner, depth + 1)
            if is_merge(key):
                merged += _merged(value, inner)
            pairs.append((key, value))
        tag = self._tag(yaml.MappingNode, event)
        node = Mapping(tag, pairs, event.start_mark, _end_mark(inner), event.flow_style)
        node.written = pairs
        node.repeated = [*repeated_keys(pairs, lines), *(one for mapping in merged for one in mapping.repeated)]
        if merged or any(is_merge(key) for key, _ in pairs):
            node.value = merge(pairs, merged)
        return node

    def _tag(self, kind: type[yaml.Node], event: Any) -> str:
        if event.tag is not None and event.tag != "!":
            return str(event.tag)
        value = getattr(event, "value", None)
        resolved: str = self._loader.resolve(kind, value, event.implicit)  # type: ignore[no-untyped-call]
        return TEXT if resolved == MERGE else resolved

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > self._max_nodes:
            raise _fault(f"more than {self._max_nodes:,} nodes when its aliases are followed", event)


def _end_mark(event: Any) -> Any:  # its type differs between the stubs' events and nodes
    return event.end_mark


def _is_merge(event: Any) -> bool:
    """Whether a key is ``<<``; in quotes, or as an alias, it is a key like others."""
    if not isinstance(event, yaml.ScalarEvent) or event.value != "<<":
        return False
    return event.tag == MERGE or (event.tag in {None, "!"} and bool(event.implicit[0]))


def _merged(value: yaml.Node, event: Any) -> list[Mapping]:
    if isinstance(value, Mapping):
        return [value]
    # Prometheus' YAML does not accept an alias of a list either.
    own_list = isinstance(value, yaml.SequenceNode) and not isinstance(event, yaml.AliasEvent)
    if own_list and all(isinstance(item, Mapping) for item in value.value):
        return list(value.value)
    raise _fault("<< merges a mapping, or a list of mappings", event)


def _fault(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
