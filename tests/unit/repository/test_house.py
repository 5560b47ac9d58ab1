"""The house: modules that fit on a few screens, and the field's words."""

from __future__ import annotations

import ast
import logging
import re
from functools import cache
from typing import TYPE_CHECKING, Final

from tests.support.program import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE_LINES: Final = 300
FUNCTION_LINES: Final = 60
CONSTRUCTOR_PARAMETERS: Final = 7

MODULES: Final = [file for file in sorted((ROOT / "exporter").rglob("*.py")) if "stubs" not in file.parts]

RIDDLES: Final = frozenset(
    # of the domain and Prometheus; of reliability; of history; everywhere
    re.findall(
        r"\w+",
        """
    hold named_by owners orphans apart had_series looked_for gone came behind
    suspects suspect stalled bury doubtful resolve_doubt settle outcome claims carries distrust lost_touch
    go_on_from begins_after forget stand standing settled
    whose showing spreading pieces piece clocks explained explaining told gaps_told beginning_told taken_apart
    joined cut past begun
    made given found wanted place asked admits spare spoil noisier
    """,
    )
)
"""Names that say nothing to a reader who knows Prometheus and PostgreSQL but not this program."""

PHRASES: Final = ("likewise", "what of", "so many", "afresh", "for good", "by itself", "whoever", "nobody")
"""In docstrings: say the thing."""

MAY_SAY: Final = {"exporter/demo/servers.py": {"nobody"}}
"""``nobody`` is an account of the system."""


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def names(file: Path) -> Iterator[str]:
    """Yields the names that a module gives: its own, those of what it defines, and of variables."""
    yield file.stem
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def docstrings(file: Path) -> Iterator[str]:
    """Yields those of the module, of its definitions, and of its constants."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def test_no_module_is_longer_than_a_few_screens() -> None:
    lines = {file.relative_to(ROOT).as_posix(): file.read_text("utf-8").count("\n") for file in MODULES}

    assert {file: count for file, count in lines.items() if count > MODULE_LINES} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    functions = {
        f"{file.relative_to(ROOT).as_posix()}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file in MODULES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert {name: count for name, count in functions.items() if count > FUNCTION_LINES} == {}


def test_no_constructor_asks_for_more_than_one_thing_needs() -> None:
    constructors = {
        f"{file.relative_to(ROOT).as_posix()}:{node.lineno}": len(node.args.args) + len(node.args.kwonlyargs) - 1
        for file in MODULES
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef) and node.name == "__init__"
    }

    assert {name: count for name, count in constructors.items() if count > CONSTRUCTOR_PARAMETERS} == {}


def test_no_name_is_a_riddle() -> None:
    riddles = {
        f"{file.relative_to(ROOT).as_posix()}: {name}"
        for file in MODULES
        for name in names(file)
        if name.strip("_").lower() in RIDDLES
    }

    assert riddles == set()


def test_docstrings_say_the_thing() -> None:
    said = {
        f"{path}: {phrase}"
        for file in MODULES
        for path in [file.relative_to(ROOT).as_posix()]
        for text in docstrings(file)
        for phrase in set(PHRASES) - MAY_SAY.get(path, set())
        if f" {phrase} " in f" {' '.join(text.lower().replace(',', ' ').replace('.', ' ').split())} "
    }

    assert said == set()


def test_no_field_of_a_log_line_hides_an_attribute_of_its_record() -> None:
    """`logging` raises KeyError for such a field, where the line is written."""
    attributes = vars(logging.makeLogRecord({})).keys() | {"message", "asctime"}
    clashes = {
        f"{file.relative_to(ROOT).as_posix()}: {key.value}"
        for file in MODULES
        for fields in log_fields(file)
        for key in fields.keys
        if isinstance(key, ast.Constant) and key.value in attributes
    }

    assert clashes == set()


def log_fields(file: Path) -> Iterator[ast.Dict]:
    """Yields what is given as ``extra``, or is called ``fields``, and is written as a dictionary."""
    for node in ast.walk(tree(file)):
        named = isinstance(node, ast.Assign) and any(getattr(name, "id", "") == "fields" for name in node.targets)
        if (named or (isinstance(node, ast.keyword) and node.arg == "extra")) and isinstance(node.value, ast.Dict):
            yield node.value
