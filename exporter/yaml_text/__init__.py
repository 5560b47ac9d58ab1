"""YAML as people write it, read strictly: each key once, one document, and no larger than such a file needs to be.

Merge keys (``<<``) are resolved: a mapping's own keys go before those it merges, and of a list of mappings
the first one that has a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from exporter.errors import YamlInvalid
from exporter.yaml_text.nodes import MAX_NODES, NULL, Composer, Mapping, Repeated, all_repeated, is_merge, line_of

_NOT_UTF8: Final = "it holds what is not text in UTF-8"

_MEANINGS: Final = (
    ("mapping values are not allowed", "a text that holds `: ` is written in quotes, or this line is indented too far"),
    ("did not find expected node content", "a [ or { is not closed, or a text that begins so is not in quotes"),
    ("did not find expected ',' or", "a [ or { is not closed, or a text that begins so is not in quotes"),
    ("could not find expected ':'", "a key without its colon, or a text of several lines that is not in quotes"),
    ("did not find expected key", "this line is not indented as those that it belongs to"),
    ("did not find expected '-' indicator", "this line is not indented as those that it belongs to"),
    ("found unexpected end of stream", "a quote is not closed"),
    ("found unknown escape character", 'a \\ in "..." that escapes nothing; write it twice, or use single quotes'),
)
"""How libyaml's message begins, and what that means."""


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

    def repeated(self) -> list[str]:
        """Returns line, key and what to do of each repeated key, to follow a file's name and a colon."""
        paths: dict[Repeated, tuple[str, ...]] = {}  # once, however often it is merged
        for path, repeated in _repeated_within(self.root, ()):
            paths.setdefault(repeated, path)
        return [
            f"{key.line}: {'.'.join((*path, key.name))}: is given twice, first in line {key.first_line}; keep one"
            for key, path in paths.items()
        ]


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
            raise YamlInvalid(_NOT_UTF8, line, message=f"is not YAML: line {line}: {_NOT_UTF8}") from None
    root = compose(text)
    return Document(construct(root), root)


def compose(text: str, *, max_nodes: int = MAX_NODES, loader: type[Loader] = Loader) -> yaml.Node | None:
    """Returns the root of the one document that is not empty; its mappings are `Mapping`. Raises YamlInvalid.

    Repeated keys are for the caller to report.
    """
    try:
        return Composer(text, loader, max_nodes).root()
    except yaml.YAMLError as error:
        raise _translated(error, text) from None


def construct(root: yaml.Node | None, loader: type[Loader] = Loader) -> Any:
    """Returns the plain values of a node. Raises YamlInvalid."""
    if root is None:
        return None
    try:
        return loader("").construct_document(root)
    except yaml.YAMLError as error:
        raise _translated(error) from None


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


def _translated(error: yaml.YAMLError, text: str = "") -> YamlInvalid:
    """Returns PyYAML's error without any value of ``text``: one of them may be a secret."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return YamlInvalid(_NOT_UTF8, message=f"is not YAML: {_NOT_UTF8}")
    problem = _in_own_words(problem, text, mark)
    if "is not closed" in problem:
        mark = getattr(error, "context_mark", None) or mark
    line, column = mark.line + 1, mark.column + 1
    return YamlInvalid(problem, line, column=column, message=f"is not YAML: line {line}, column {column}: {problem}")


def _in_own_words(problem: str, text: str, mark: Any) -> str:
    if problem.startswith("found character that cannot start any token"):
        line = (text.splitlines() or [""])[mark.line : mark.line + 1]
        character = line[0][mark.column : mark.column + 1] if line else ""
        if character == "\t":
            return "a tab cannot indent; write spaces"
        return f"a text that begins with {character} is written in quotes"
    for beginning, meaning in _MEANINGS:
        if problem.startswith(beginning):
            return meaning
    # Quoted text may be a part of a secret.
    return re.sub(r"'([^']*)'", lambda quoted: quoted[0] if len(quoted[1]) < 2 else "'...'", problem)
