"""What the guide says is refused is refused, and by Prometheus it is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.errors import RuleFileInvalid
from exporter.rules.files.compiler import Options
from exporter.rules.files.loading import load
from tests.support.prometheus import run
from tests.support.releases import binary

GUIDE = Path(__file__).parents[2] / "docs" / "rules.md"
RULE = {"alert": "A", "expr": "dict_rate_limit_up == 0", "labels": {"severity": "info"}}
A_DAY = Options(max_range_seconds=86_400)


def rows() -> list[list[str]]:
    """Returns what stands in backquotes in the second column of each row: parts of a rule, or else expressions."""
    section = GUIDE.read_text("utf-8").partition("\n## What is refused\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (?!refused|---)(.+) \|$", section, re.MULTILINE)
    return [re.findall(r"`([^`]+)`", line.split(" | ")[1]) for line in lines]


def rule_of(example: str) -> dict[str, Any]:
    if re.match(r"(?:labels|annotations): ", example):
        return {**RULE, **yaml.safe_load(example)}
    if example.startswith("record: "):
        return {**yaml.safe_load(example), "expr": RULE["expr"]}
    return {**RULE, "expr": example}


def file_of(folder: Path, *rules: dict[str, Any]) -> str:
    file = folder / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": list(rules)}]}))
    return str(file)


@pytest.mark.prometheus
@pytest.mark.parametrize("example", [example for row in rows() for example in row])
def test_what_the_guide_says_is_refused_is_refused_here_and_taken_by_prometheus(tmp_path, example) -> None:
    file = file_of(tmp_path, rule_of(example))

    with pytest.raises(RuleFileInvalid) as refused:
        load([file], A_DAY)
    assert len(refused.value.findings) == 1, refused.value
    accepted, told = run(binary("promtool", "3"), "check", "rules", file)
    assert accepted, told


def test_the_guide_has_an_example_in_each_row() -> None:
    assert len(rows()) > 10
    assert all(rows())
