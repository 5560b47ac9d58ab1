"""What the tests of Prometheus' own engine know: samples, expressions, results. Both engines pass them."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.rules.promtool.files import read
from exporter.rules.promtool.runner import run_tests
from tests.support import promtool

FOLDER = Path(__file__).parent / "engine"
FACTS = sorted(FOLDER.glob("*.test.yml"))
FAILURES = FOLDER / "failures.yml"
WITH_LIMITK = "--enable-feature=promql-experimental-functions"
"""Prometheus has ``limitk`` behind this flag, and rules here do without."""


def count(file: Path) -> int:
    """Returns how many expressions are tested."""
    return sum(len(scenario.expression_tests) for scenario in read(str(file)).scenarios)


def test_there_are_facts() -> None:
    assert len(FACTS) == 20
    assert sum(count(file) for file in FACTS) > 1300


@pytest.mark.prometheus
@pytest.mark.parametrize("file", FACTS, ids=lambda file: file.name.removesuffix(".test.yml"))
def test_prometheus_confirms_the_facts(file: Path) -> None:
    flags = [WITH_LIMITK] if file.name == "limits.test.yml" else []

    [theirs] = promtool.run_tests([file], *flags)

    assert theirs.passed, theirs.output


@pytest.mark.parametrize("file", FACTS, ids=lambda file: file.name.removesuffix(".test.yml"))
def test_the_facts_hold_here(file: Path) -> None:
    [ours] = run_tests([str(file)])

    assert ours.passed, ours.render()


@pytest.mark.prometheus
def test_what_fails_in_prometheus_fails_here() -> None:
    [theirs], [ours] = promtool.run_tests([FAILURES]), run_tests([str(FAILURES)])

    assert count(FAILURES) > 15
    assert theirs.output.count(" err: ") == count(FAILURES), theirs.output
    assert ours.render().count(" err: ") == count(FAILURES), ours.render()
