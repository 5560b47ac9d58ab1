"""Rule files in the shapes of well-known mixins, carried over to our metrics, load in both engines.

A shape is how an expression is built: its functions, aggregations, ranges and matching. What a mixin asks of
histograms, or of several participants at once, is no rule here and not in the files.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.rules.files.compiler import Options
from exporter.rules.files.loading import load
from tests.support import promtool

FILES = sorted((Path(__file__).parent / "mixins").glob("*.yml"))
A_DAY = Options(max_range_seconds=86_400)

of_each_mixin = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@of_each_mixin
def test_the_shapes_of_a_mixin_load(file: Path) -> None:
    assert load([str(file)], A_DAY).rules


@pytest.mark.prometheus
@of_each_mixin
def test_prometheus_takes_the_same_file(file: Path) -> None:
    verdict = promtool.check_rules(file)

    assert verdict.passed, verdict.output


def test_there_are_ten_mixins() -> None:
    assert len(FILES) == 10
