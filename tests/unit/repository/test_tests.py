"""Where tests lie, and what they may lean on."""

from __future__ import annotations

import ast
import tomllib
from functools import cache
from typing import TYPE_CHECKING

from tests.support.program import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

TESTS = ROOT / "tests"
UNIT = TESTS / "unit"
UNIT_TESTS = sorted(UNIT.rglob("*.py"))
ABOUT_NO_MODULE = UNIT / "repository"
MARKERS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
SERVERS = {marker.partition(":")[0] for marker in MARKERS}
SERVERS_MODULES = {
    f"tests.support.{name}" for name in ("broker", "guarded", "postgres", "prometheus", "promtool", "releases")
}


@cache
def nodes(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_text())))


def imported(file: Path) -> set[str]:
    """Returns what a file imports, as dotted names: modules, and what is taken from them."""
    names: set[str] = set()
    for node in nodes(file):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def importing(files: Iterable[Path], *packages: str) -> dict[str, set[str]]:
    """Returns the files that import any of ``packages``, with what they import of it."""
    found = {
        file.relative_to(ROOT).as_posix(): {
            name for name in imported(file) for package in packages if f"{name}.".startswith(f"{package}.")
        }
        for file in files
    }
    return {file: names for file, names in found.items() if names}


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in nodes(file) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def services() -> set[str]:
    """Returns the fixtures of tests/support, each a server or something on one."""
    return {
        function.name
        for file in TESTS.glob("support/**/*.py")
        for function in functions(file)
        if any("fixture" in ast.unparse(decorator) for decorator in function.decorator_list)
    }


def test_a_unit_test_lies_where_the_module_lies_that_it_is_about() -> None:
    strays = []
    for test in UNIT_TESTS:
        module = ROOT / "exporter" / test.relative_to(UNIT).with_name(test.stem.removeprefix("test_"))
        is_about_one = test.stem.startswith("test_") and (module.with_suffix(".py").exists() or module.is_dir())
        if not is_about_one and not test.is_relative_to(ABOUT_NO_MODULE):
            strays.append(test.relative_to(ROOT).as_posix())

    assert strays == []


def test_tests_share_through_support_alone() -> None:
    folders = [f"tests.{folder.name}" for folder in TESTS.iterdir() if folder.is_dir() and folder.name != "support"]

    assert importing(TESTS.rglob("*.py"), *folders) == {}


def test_tests_and_benchmarks_know_nothing_of_each_other() -> None:
    assert importing((ROOT / "benchmarks").rglob("*.py"), "tests") == {}
    assert importing(TESTS.rglob("*.py"), "benchmarks") == {}


def test_a_unit_test_has_no_marker_of_a_server() -> None:
    marked = {
        (file.name, ast.unparse(node))
        for file in UNIT_TESTS
        for node in nodes(file)
        if isinstance(node, ast.Attribute) and node.attr in SERVERS and ast.unparse(node.value) == "pytest.mark"
    }

    assert marked == set()


def test_a_unit_test_asks_for_no_server() -> None:
    servers = services()
    asked = {
        (file.name, argument.arg)
        for file in UNIT_TESTS
        for function in functions(file)
        if function.name.startswith("test_") or function.decorator_list
        for argument in function.args.args
        if argument.arg in servers
    }

    assert {"database_dsn", "broker"} <= servers
    assert asked == set()
    assert importing(UNIT_TESTS, *SERVERS_MODULES) == {}
