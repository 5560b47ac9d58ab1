"""YAML as people write it, read strictly: each key once, one document, and no more of it than such a file has need of.

Merge keys (``<<``) are resolved: what a mapping says itself goes before what it merges, and of a list of mappings
the first one that has a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_NESTED: Final = 50
"""YAML that is nested more deeply is refused: it is read by recursion."""

MOST_NODES: Final = 100_000
"""Keys, values, lists and mappings: what configures something has far fewer, each alias counted as what it is of."""

NULL: Final = "tag:yaml.org,2002:null"
_TEXT: Final = "tag:yaml.org,2002:str"
_MERGE: Final = "tag:yaml.org,2002:merge"
_LONGEST_NAME: Final = 60


class YamlInvalid(Exception):
    """A text is not YAML, or not such as is taken. No value is in the message: one of them may be a secret.

    ``line`` and ``column`` are from 1 (0: not known), ``problem`` is what is wrong there.
    """

    def __init__(self, problem: str, line: int = 1, *, column: int = 0, told: str = "") -> None:
        super().__init__(told or f"line {line}: {problem}")
        self.problem = problem
        self.line = line
        self.column = column

    @property
    def told_at_line(self) -> str:
        """Line and problem, to be told after a file's name and a colon."""
        column = f", column {self.column}" if self.column else ""
        return f"{self.line}: is not YAML{column}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Repeated:
    """A key that a mapping has before, in ``first_line``."""

    name: str
    line: int
    first_line: int

    def __str__(self) -> str:
        return f"{self.name} is given twice, first in line {self.first_line}"


@dataclass(frozen=True, slots=True)
class Document:
    """What a text holds, and where: ``value`` is plain, of a key that is there twice the last one's."""

    value: Any
    root: yaml.Node | None

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """Returns the line of a key, or of a list's item; None where there is none."""
        node, line = self.root, None
        for name in path:
            found = _within(node, name)
            if found is None:
                return None
            line, node = found
        return line

    def repeated(self) -> Iterator[tuple[tuple[str, ...], Repeated]]:
        """Yields each key that is there twice, after the keys that lead to its mapping."""
        return _repeated_within(self.root, ())


class Mapping(yaml.MappingNode):
    """A mapping whose merge keys are resolved.

    ``written`` are its pairs as they stand there, ``<<`` among them; ``repeated`` the keys that it has twice.
    """

    written: Sequence[tuple[yaml.Node, yaml.Node]]
    repeated: Sequence[Repeated]

    @property
    def merges(self) -> bool:
        return self.written is not self.value


class Loader(yaml.CSafeLoader):
    """Makes plain values of nodes."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - its base's
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError):
            raise yaml.MarkedYAMLError(problem="it is not what its form says", problem_mark=node.start_mark) from None


class Texts(Loader):
    """Leaves every plain value the text that it is, but for null, as Go's decoder does where text is wanted."""


Texts.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == NULL]
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}


def read(text: str | bytes) -> Any:
    """Returns what a document of plain YAML holds. Raises YamlInvalid."""
    found = document(text)
    for repeated in all_repeated(found.root):
        raise YamlInvalid(str(repeated), repeated.line)
    return found.value


def document(text: str | bytes) -> Document:
    """Returns a document of plain YAML; keys that are there twice are for the caller to tell. Raises YamlInvalid."""
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise YamlInvalid(_NO_TEXT, line, told=f"is not YAML: line {line}: {_NO_TEXT}") from None
    root = compose(text)
    return Document(construct(root), root)


def compose(text: str, *, most_nodes: int = MOST_NODES, loader: type[Loader] = Loader) -> yaml.Node | None:
    """Returns the root of the one document that is not empty; its mappings are `Mapping`. Raises YamlInvalid.

    Keys that are there twice are for the caller to tell.
    """
    try:
        return _Composer(text, loader, most_nodes).root()
    except yaml.YAMLError as error:
        raise _invalid(error, text) from None


def construct(root: yaml.Node | None, loader: type[Loader] = Loader) -> Any:
    """Returns the plain values of a node. Raises YamlInvalid."""
    if root is None:
        return None
    try:
        return loader("").construct_document(root)
    except yaml.YAMLError as error:
        raise _invalid(error) from None


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


def _within(node: yaml.Node | None, name: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, Mapping):
        pairs = ((key, value) for key, value in reversed(node.value) if key.value == name)
        return next(((line_of(key), value) for key, value in pairs), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(name, int) and name < len(node.value):
        return line_of(node.value[name]), node.value[name]
    return None


def _repeated_within(node: yaml.Node | None, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Repeated]]:
    if isinstance(node, Mapping):
        yield from ((path, repeated) for repeated in node.repeated)
        for key, value in node.written:
            yield from _repeated_within(value, path if is_merge(key) else (*path, str(key.value)))


def line_of(node: yaml.Node) -> int:
    """Returns the line that a node begins in, from 1."""
    return cast("int", node.start_mark.line) + 1


_NO_TEXT: Final = "it holds what is not text in UTF-8"


_OWN_WORDS: Final = (
    (
        "mapping values are not allowed",
        "a text that holds `: ` is written in quotes, or this line is indented too far",
    ),
    ("did not find expected node content", "a [ or { is not closed, or a text that begins so is not in quotes"),
    ("did not find expected ',' or", "a [ or { is not closed, or a text that begins so is not in quotes"),
    ("could not find expected ':'", "a key without its colon, or a text of several lines that is not in quotes"),
    ("did not find expected key", "this line is not indented as those that it belongs to"),
    ("did not find expected '-' indicator", "this line is not indented as those that it belongs to"),
    ("found unexpected end of stream", "a quote is not closed"),
    ("found unknown escape character", 'a \\ in "..." that escapes nothing; write it twice, or use single quotes'),
)
"""What libyaml says, and what that means."""


def _invalid(error: yaml.YAMLError, text: str = "") -> YamlInvalid:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return YamlInvalid(_NO_TEXT, told=f"is not YAML: {_NO_TEXT}")
    problem = _in_own_words(problem, text, mark)
    if "is not closed" in problem:
        mark = getattr(error, "context_mark", None) or mark
    return YamlInvalid(
        problem,
        mark.line + 1,
        column=mark.column + 1,
        told=f"is not YAML: line {mark.line + 1}, column {mark.column + 1}: {problem}",
    )


def _in_own_words(problem: str, text: str, mark: Any) -> str:
    if problem.startswith("found character that cannot start any token"):
        line = (text.splitlines() or [""])[mark.line : mark.line + 1]
        character = line[0][mark.column : mark.column + 1] if line else ""
        return (
            "a tab cannot indent; write spaces"
            if character == "\t"
            else f"a text that begins with {character} is written in quotes"
        )
    for said, meant in _OWN_WORDS:
        if problem.startswith(said):
            return meant
    # What stands in quotes may be a part of a secret.
    return re.sub(r"'([^']*)'", lambda quoted: quoted[0] if len(quoted[1]) < 2 else "'...'", problem)


@dataclass(slots=True)
class _Anchored:
    """What an alias stands for; ``node`` None while it is not yet whole."""

    node: yaml.Node | None = None
    nodes: int = 0
    levels: int = 0


class _Composer:
    """Makes nodes of the parser's events.

    PyYAML's own composer refuses an anchor's name that is used again, takes a node that contains itself,
    and does not count.
    """

    def __init__(self, text: str, loader: type[Loader], most_nodes: int) -> None:
        self._loader = loader(text)
        self._most_nodes = most_nodes
        self._nodes = 0
        self._levels = 0
        self._anchors: dict[str, _Anchored] = {}

    def root(self) -> yaml.Node | None:
        found: yaml.Node | None = None
        documents = 0
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version not in {None, (1, 1)}:
                    raise _fault("only YAML 1.1 is read", event)
                self._anchors = {}
                node = self._node(self._next(), 1)
                documents += 1
                if documents == 1:
                    found = node
                elif node.value and node.tag != NULL:
                    raise _fault("a second document begins, and only the first is read", event)
        return found

    def _next(self) -> Any:
        return self._loader.get_event()

    def _node(self, event: Any, depth: int) -> yaml.Node:
        """Takes the events of one node. ``_levels`` is then how many collections are in one another there."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, depth)
        if depth > MOST_NESTED and not isinstance(event, yaml.ScalarEvent):
            raise _fault(f"more than {MOST_NESTED} levels deep", event)
        before = self._nodes
        self._count(1, event)
        begun = _Anchored()
        if event.anchor is not None:
            self._anchors[event.anchor] = begun
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        begun.node, begun.nodes, begun.levels = node, self._nodes - before, self._levels
        return node

    def _alias(self, event: Any, depth: int) -> yaml.Node:
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            raise _fault("an alias of nothing that is anchored before it", event)
        if anchored.node is None:
            raise _fault("an alias of what it is itself a part of", event)
        if depth - 1 + anchored.levels > MOST_NESTED:
            raise _fault(f"more than {MOST_NESTED} levels deep", event)
        self._count(anchored.nodes, event)
        self._levels = anchored.levels
        return anchored.node

    def _scalar(self, event: Any) -> yaml.Node:
        self._levels = 0
        tag = self._tag(yaml.ScalarNode, event)
        return yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark, event.style)

    def _sequence(self, event: Any, depth: int) -> yaml.Node:
        items: list[yaml.Node] = []
        levels = 0
        while not isinstance(inner := self._next(), yaml.SequenceEndEvent):
            items.append(self._node(inner, depth + 1))
            levels = max(levels, self._levels)
        self._levels = levels + 1
        tag, end_mark = self._tag(yaml.SequenceNode, event), _end_mark(inner)
        return yaml.SequenceNode(tag, items, event.start_mark, end_mark, event.flow_style)

    def _mapping(self, event: Any, depth: int) -> yaml.Node:
        pairs: list[tuple[yaml.Node, yaml.Node]] = []
        lines: list[int] = []
        merged: list[Mapping] = []
        levels = 0
        while not isinstance(inner := self._next(), yaml.MappingEndEvent):
            lines.append(inner.start_mark.line + 1)
            key = self._node(inner, depth + 1)
            levels = max(levels, self._levels)
            if _merges(inner):
                key.tag = _MERGE
            inner = self._next()
            value = self._node(inner, depth + 1)
            levels = max(levels, self._levels)
            if is_merge(key):
                merged += _mapping_or_mappings(value, inner)
            pairs.append((key, value))
        self._levels = levels + 1
        tag, end_mark = self._tag(yaml.MappingNode, event), _end_mark(inner)
        node = Mapping(tag, pairs, event.start_mark, end_mark, event.flow_style)
        node.written = pairs
        node.repeated = [*_repeated(pairs, lines), *(one for mapping in merged for one in mapping.repeated)]
        if merged or any(is_merge(key) for key, _ in pairs):
            node.value = _with_merged(pairs, merged)
        return node

    def _tag(self, kind: type[yaml.Node], event: Any) -> str:
        if event.tag is not None and event.tag != "!":
            return str(event.tag)
        value = getattr(event, "value", None)
        resolved: str = self._loader.resolve(kind, value, event.implicit)  # type: ignore[no-untyped-call]
        return _TEXT if resolved == _MERGE else resolved

    def _count(self, nodes: int, event: Any) -> None:
        self._nodes += nodes
        if self._nodes > self._most_nodes:
            raise _fault(f"more than {self._most_nodes:,} nodes when its aliases are followed", event)


def _merges(event: Any) -> bool:
    """Whether a key is ``<<``; in quotes, or as an alias, it is a key like others."""
    if not isinstance(event, yaml.ScalarEvent) or event.value != "<<":
        return False
    return event.tag == _MERGE or (event.tag in {None, "!"} and bool(event.implicit[0]))


def _end_mark(event: Any) -> Any:
    return event.end_mark


def is_merge(key: yaml.Node) -> bool:
    return key.tag == _MERGE


def _mapping_or_mappings(value: yaml.Node, event: Any) -> list[Mapping]:
    if isinstance(value, Mapping):
        return [value]
    # Of an alias of a list Prometheus' YAML does not take it either.
    own_list = isinstance(value, yaml.SequenceNode) and not isinstance(event, yaml.AliasEvent)
    if own_list and all(isinstance(item, Mapping) for item in value.value):
        return list(value.value)
    raise _fault("<< merges a mapping, or a list of mappings", event)


def _repeated(pairs: Sequence[tuple[yaml.Node, yaml.Node]], lines: Sequence[int]) -> list[Repeated]:
    first: dict[str, int] = {}
    found: list[Repeated] = []
    for (key, _), line in zip(pairs, lines, strict=True):
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in first:
            found.append(Repeated(_shortened(key.value), line, first[key.value]))
        else:
            first[key.value] = line
    return found


def _shortened(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


def _with_merged(
    pairs: Sequence[tuple[yaml.Node, yaml.Node]], merged: Sequence[Mapping]
) -> list[tuple[yaml.Node, yaml.Node]]:
    own = [pair for pair in pairs if not is_merge(pair[0])]
    known = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
    for mapping in merged:
        for key, value in mapping.value:
            if not isinstance(key, yaml.ScalarNode) or key.value not in known:
                own.append((key, value))
        known |= {key.value for key, _ in mapping.value if isinstance(key, yaml.ScalarNode)}
    return own


def _fault(problem: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
