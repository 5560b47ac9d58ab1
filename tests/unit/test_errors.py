"""What errors say."""

from __future__ import annotations

import ast
import builtins
import re
from functools import cache
from pathlib import Path

import exporter
from exporter import errors
from exporter.errors import LONGEST_SENTENCE, ConfigurationError, DatabaseUnavailable
from exporter.rules.finding import Finding

PACKAGE = Path(exporter.__file__).parent


def test_what_quotes_something_very_long_leaves_out_its_middle() -> None:
    said = str(ConfigurationError("web.yml: rate_limit: " + "x" * 3_000_000 + " is not a duration"))

    assert len(said) < LONGEST_SENTENCE + 100
    assert said.startswith("web.yml: rate_limit: xxx")
    assert said.endswith("xxx is not a duration")
    assert "2,998,039 characters" in said


def test_a_finding_is_as_long_as_people_read() -> None:
    assert len(str(Finding("rules.yml", 1, "g", "r", "x" * 3_000_000))) < LONGEST_SENTENCE + 100


def test_an_error_without_a_message_says_what_it_is() -> None:
    assert str(DatabaseUnavailable()) == "PostgreSQL does not answer."


def test_the_tree_in_the_docstring_is_the_tree_that_there_is() -> None:
    assert _drawn() == {name: parent for name, parent in _defined().items() if name not in _signals()}


def test_a_signal_outside_of_the_tree_is_named() -> None:
    outside = {name for name, parent in _defined().items() if _root(parent) != "DictRateLimitError"}

    assert _signals() == outside - {"DictRateLimitError"}


def _drawn() -> dict[str, str]:
    """Returns each error of the drawing with the one that it is below."""
    parents: list[str] = ["Exception"]
    drawn: dict[str, str] = {}
    for line in re.findall(r"^    (?:[│├└─ ]{4})*\w.*$", errors.__doc__ or "", re.MULTILINE):
        tree, name = re.match(r"    ([│├└─ ]*)(\w+)", line).groups()  # type: ignore[union-attr]
        depth = len(tree) // 4 + 1
        drawn[name] = parents[depth - 1]
        parents[depth:] = [name]
    return drawn


def _signals() -> set[str]:
    _, _, below = (errors.__doc__ or "").partition("Signals that")
    return set(re.findall(r"`(\w+)`", below))


@cache
def _defined() -> dict[str, str]:
    """Returns each exception that is defined anywhere in the program, with its base."""
    bases = {
        node.name: ast.unparse(node.bases[0]).rpartition(".")[2]
        for file in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and node.bases
    }

    def is_exception(name: str) -> bool:
        built_in = getattr(builtins, name, None)
        return (
            issubclass(built_in, BaseException) if isinstance(built_in, type) else is_exception(bases.get(name, "str"))
        )

    return {name: base for name, base in bases.items() if is_exception(base)}


def _root(name: str) -> str:
    defined = _defined()
    while name != "DictRateLimitError" and name in defined:
        name = defined[name]
    return name
