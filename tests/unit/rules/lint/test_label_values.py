"""What checks take for certain of the labels of an expression's series is so wherever it is evaluated."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING

from exporter.errors import RuleEvaluationFailed
from exporter.rules.files.loading import attempt
from exporter.rules.lint.all_rules import all_rules
from exporter.rules.promql.refusal import ExpressionRefused
from exporter.rules.promql.signatures import ValueType
from exporter.rules.promql.tree import walk
from tests.support.random_rules import random_case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from exporter.rules.lint.label_values import Certain
    from exporter.rules.promql.series import Labels
    from exporter.rules.promtool.playback import Playback
    from tests.support.random_rules import Case

CASES = int(os.environ.get("CERTAIN_CASES", "60"))


def is_so(certain: Certain, labels: Labels) -> bool:
    # Random counters have no outcome.
    values = {label: labels.get(label) for label in certain if label != "outcome"}
    return all(bool(value) if certain[label] is None else value in certain[label] for label, value in values.items())


def found(playback: Playback, expr: str, case: Case) -> Iterator[Labels]:
    """The labels of the series that an expression has at any step."""
    for step in range(0, case.steps, 2):
        try:
            samples = playback.query(expr, step * case.evaluation_seconds * 1000)
        except (RuleEvaluationFailed, ExpressionRefused):
            continue
        yield from (labels for _, labels, _ in samples)


def test_labels_that_are_certain_are_there_in_each_part_of_random_rules(tmp_path: Path) -> None:
    series = 0
    for number in range(CASES):
        case = random_case(Random(f"certain/{number}"))
        outcome = case.write(tmp_path, "case")
        if outcome is None or outcome.playback.failed or any(not name.startswith("dict_") for name, _ in case.series):
            continue
        tried = attempt([str(tmp_path / "case.rules.yml")])
        rules = all_rules(tried)
        for rule in tried.rule_set.rules:
            for tree in walk(rule.expression.tree):
                if tree.type is not ValueType.VECTOR:
                    continue
                expr = rule.expression.excerpt(tree)
                names, certain = rules.label_names.of(tree), rules.label_values.of(tree)
                for labels in found(outcome.playback, expr, case):
                    series += 1
                    assert {label for label, _ in labels.pairs} <= names, (number, expr)
                    assert is_so(certain, labels), (expr, labels, certain)

    assert series > CASES * 50
