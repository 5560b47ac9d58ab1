"""Reading YAML: documents with their lines, nodes, and plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from exporter.errors import YamlInvalid
from exporter.yaml_text.composer import MAX_NODES, Composer
from exporter.yaml_text.faults import NOT_UTF8, translated
from exporter.yaml_text.nodes import NULL, Mapping, Repeated, all_repeated, is_merge, line_of


@dataclass(frozen=True, slots=True)
class Document:
    """What a text holds, and where. ``value`` is plain; a repeated key has its last value."""

    value: Any
    root: yaml.Node | None

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """Returns the line of a key, or of a list's item; None where there is none."""
        node, line = self.root, None
        for name in path:
            child = _child(node, name)
            if child is None:
                return None
            line, node = child
        return line

    def repeated(self) -> Iterator[tuple[tuple[str, ...], Repeated]]:
        """Yields each repeated key once, however often it is merged, after the keys that lead to its mapping."""
        seen: set[Repeated] = set()
        for path, repeated in _repeated_within(self.root, ()):
            if repeated not in seen:
                seen.add(repeated)
                yield path, repeated


class Loader(yaml.CSafeLoader):
    """Constructs plain values from nodes."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - its base's
        try:
            return super().construct_object(node, deep=deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError):
            raise yaml.MarkedYAMLError(
                problem="it is not of the type that it is written as", problem_mark=node.start_mark
            ) from None


class Texts(Loader):
    """Leaves every plain value but null as text, as Go's decoder does for fields of text."""


Texts.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == NULL]
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}


def read(text: str | bytes) -> Any:
    """Returns what a document of plain YAML holds. Raises YamlInvalid."""
    content = document(text)
    for repeated in all_repeated(content.root):
        raise YamlInvalid(str(repeated), repeated.line)
    return content.value


def document(text: str | bytes) -> Document:
    """Returns a document of plain YAML; repeated keys are for the caller to report. Raises YamlInvalid."""
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise YamlInvalid(NOT_UTF8, line, message=f"is not YAML: line {line}: {NOT_UTF8}") from None
    root = compose(text)
    return Document(construct(root), root)


def compose(text: str, *, max_nodes: int = MAX_NODES, loader: type[Loader] = Loader) -> yaml.Node | None:
    """Returns the root of the one document that is not empty; its mappings are `Mapping`. Raises YamlInvalid.

    Repeated keys are for the caller to report.
    """
    try:
        return Composer(text, loader, max_nodes).root()
    except yaml.YAMLError as error:
        raise translated(error, text) from None


def construct(root: yaml.Node | None, loader: type[Loader] = Loader) -> Any:
    """Returns the plain values of a node. Raises YamlInvalid."""
    if root is None:
        return None
    try:
        return loader("").construct_document(root)
    except yaml.YAMLError as error:
        raise translated(error) from None


def _child(node: yaml.Node | None, name: str | int) -> tuple[int, yaml.Node] | None:
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
