"""The files that docs/rules.md shows load in both engines, and do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import dedent

import pytest

from exporter.rules.files.loading import attempt
from exporter.rules.lint import linter
from exporter.rules.promtool.coverage import Coverage, render
from exporter.rules.promtool.runner import run_tests
from tests.support import promtool

GUIDE = Path(__file__).parents[2] / "docs" / "rules.md"
BLOCK = re.compile(r"^( *)```yaml\n\1# file: (\S+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FILES = {name: dedent(text) for _, name, text in BLOCK.findall(GUIDE.read_text("utf-8"))}
RULES = sorted(name for name in FILES if ".test." not in name)


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_guide_shows_every_recipe() -> None:
    assert RULES == [
        "by-category.yml",
        "draining.yml",
        "hysteresis.yml",
        "own-threshold.yml",
        "quiet-at-night.yml",
        "recording.yml",
        "three-at-once.yml",
    ]


@pytest.mark.parametrize("name", RULES)
def test_a_recipe_has_nothing_to_warn_of(recipes: Path, name: str) -> None:
    assert linter.findings(attempt([str(recipes / name)])) == []


@pytest.mark.prometheus
@pytest.mark.parametrize("name", RULES)
def test_a_recipe_loads_in_prometheus(recipes: Path, name: str) -> None:
    verdict = promtool.check_rules(recipes / name)

    assert verdict.passed, verdict.output


@pytest.mark.prometheus
def test_the_unit_test_passes_on_both_engines(recipes: Path) -> None:
    file = recipes / "hysteresis.test.yml"

    [ours], [theirs] = run_tests([str(file)]), promtool.run_tests([file])

    assert ours.passed, ours.render()
    assert theirs.passed, theirs.output


def test_its_coverage_is_what_the_guide_shows(recipes: Path) -> None:
    shown = re.search(r"hysteresis\.test\.yml --coverage\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    coverage = Coverage()

    run_tests([str(recipes / "hysteresis.test.yml")], coverage=coverage)

    assert dedent(shown[1]).rstrip().endswith(f"SUCCESS\n\n{render(coverage.parts())}".replace(f"{recipes}/", ""))
