"""Templates come out of our engine as they come out of promtool; where they fail there, they fail here."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from exporter.rules.golang import quote
from exporter.rules.templates.lexer import TemplateRefused
from exporter.rules.templates.template import Template
from tests.support import promtool

LABELS: Final = {
    "participant": "12345678",
    "policy": "ENTRIES_WRITE",
    "instance": "host.example:9862",
    "odd": 'a"b\\c é',
}
VALUES: Final = (
    0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 59.9, 60.0, 60.5, 75.25, 999.0, 999999.0, 1e6, 123456789.0, 1e27, 1e-5, -0.0001,
    98765.4321, 86400.0, 1e19, 2.0**63, 1.5e300, -1234567.891, 1e-30, math.nan, math.inf, -math.inf, 1700000000.123,
)  # fmt: skip

TEMPLATES: Final = yaml.safe_load(Path(__file__).with_name("templates.yml").read_text())

TEXTS: Final = (
    *TEMPLATES["texts"],
    *(f'{{{{ match (print `{pattern}`) "aab" }}}}' for pattern in TEMPLATES["bad_patterns"]),
    *(f'{{{{ reReplaceAll (print `{pattern}`) "x" "aab" }}}}' for pattern in TEMPLATES["bad_patterns"]),
    *(f'{{{{ reReplaceAll `{pattern}` "<$0>" "axxb" }}}}' for pattern in TEMPLATES["empty_patterns"]),
)

FAILED: Final = '"<error expanding template: '

NOT_A_TEMPLATE: Final = TEMPLATES["not_templates"]


@pytest.mark.prometheus
def test_templates_come_out_as_in_promtool(tmp_path: Path) -> None:
    rules = [
        {
            "alert": f"Value{index}",
            "expr": f'sample{{n="{index}"}}',
            "labels": {"severity": "info"},
            "annotations": {f"t{number}": text for number, text in enumerate(TEXTS)},
        }
        for index in range(len(VALUES))
    ]
    series = [{"series": _series(index), "values": _promtool_value(value)} for index, value in enumerate(VALUES)]
    tests = [{"eval_time": "0s", "alertname": f"Value{index}", "exp_alerts": []} for index in range(len(VALUES))]
    _dump(tmp_path / "rules.yml", {"groups": [{"name": "g", "rules": rules}]})
    _dump(
        tmp_path / "test.yml",
        {"rule_files": ["rules.yml"], "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": tests}]},
    )

    [verdict] = promtool.run_tests([tmp_path / "test.yml"])
    annotations = dict(
        re.findall(r"alertname: Value(\d+), time.*?Annotations:(\{.*?\})$", verdict.output, re.DOTALL | re.MULTILINE)
    )

    differing = [
        (text, value, theirs, ours)
        for index, value in enumerate(VALUES)
        for number, text in enumerate(TEXTS)
        if not _agree(
            theirs := _annotation(annotations[str(index)], number), ours := quote(_expanded(text, index, value))
        )
    ]
    assert not differing


@pytest.mark.prometheus
def test_what_promtool_takes_for_no_template_is_refused_here_too(tmp_path: Path) -> None:
    rules = [
        {"alert": f"Text{index}", "expr": "up", "annotations": {"text": text}}
        for index, text in enumerate(NOT_A_TEMPLATE)
    ]
    _dump(tmp_path / "rules.yml", {"groups": [{"name": "g", "rules": rules}]})

    output = promtool.check_rules(tmp_path / "rules.yml").output

    assert [text for text in NOT_A_TEMPLATE if _accepted(text)] == []
    refused_there = [text for index, text in enumerate(NOT_A_TEMPLATE) if f'"Text{index}"' in output]
    assert len(refused_there) >= len(NOT_A_TEMPLATE) - 3, "the list has lost its point"


def _agree(theirs: str, ours: str) -> bool:
    """Returns whether two texts are the same, or both the report of a failure, each in its own words."""
    return theirs == ours or (theirs.startswith(FAILED) and ours.startswith(FAILED))


def _annotation(annotations: str, number: int) -> str:
    match = re.search(rf'[{{ ]t{number}=("(?:[^"\\]|\\.)*")', annotations)
    return match[1] if match else '""'


def _accepted(text: str) -> bool:
    try:
        Template(text)
    except TemplateRefused:
        return False
    return True


def _expanded(text: str, index: int, value: float) -> str:
    labels = {"__name__": "sample", **LABELS, "n": str(index)}
    return Template(text).expand(labels, value)


def _series(index: int) -> str:
    labels = {**LABELS, "n": str(index)}
    inside = ", ".join(f"{name}={_quoted(text)}" for name, text in labels.items())
    return f"sample{{{inside}}}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _promtool_value(value: float) -> str:
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


def _dump(file: Path, document: dict[str, Any]) -> None:
    file.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100_000))
