"""Templates come out of our engine as they come out of promtool, errors and all."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from exporter.rules.templates.go_format import quoted
from exporter.rules.templates.template import Template, TemplateRefused
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

GIVEN: Final = yaml.safe_load(Path(__file__).with_name("templates.yml").read_text())

TEXTS: Final = (
    *GIVEN["texts"],
    *(f'{{{{ match (print `{pattern}`) "aab" }}}}' for pattern in GIVEN["bad_patterns"]),
    *(f'{{{{ reReplaceAll (print `{pattern}`) "x" "aab" }}}}' for pattern in GIVEN["bad_patterns"]),
    *(f'{{{{ reReplaceAll `{pattern}` "<$0>" "axxb" }}}}' for pattern in GIVEN["empty_patterns"]),
)

NOT_A_TEMPLATE: Final = GIVEN["not_templates"]


@pytest.mark.prometheus
def test_templates_come_out_as_in_promtool(tmp_path: Path) -> None:
    rules = [
        {
            "alert": f"Value{place}",
            "expr": f'sample{{n="{place}"}}',
            "labels": {"severity": "info"},
            "annotations": {f"t{number}": text for number, text in enumerate(TEXTS)},
        }
        for place in range(len(VALUES))
    ]
    series = [{"series": _series(place), "values": _written(value)} for place, value in enumerate(VALUES)]
    tests = [{"eval_time": "0s", "alertname": f"Value{place}", "exp_alerts": []} for place in range(len(VALUES))]
    _dump(tmp_path / "rules.yml", {"groups": [{"name": "g", "rules": rules}]})
    _dump(
        tmp_path / "test.yml",
        {"rule_files": ["rules.yml"], "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": tests}]},
    )

    [verdict] = promtool.run_tests([tmp_path / "test.yml"])
    told = dict(
        re.findall(r"alertname: Value(\d+), time.*?Annotations:(\{.*?\})$", verdict.told, re.DOTALL | re.MULTILINE)
    )

    differing = [
        (text, value, theirs, ours)
        for place, value in enumerate(VALUES)
        for number, text in enumerate(TEXTS)
        if (theirs := _annotation(told[str(place)], number)) != (ours := quoted(_expanded(text, place, value)))
    ]
    assert not differing


@pytest.mark.prometheus
def test_what_promtool_takes_for_no_template_is_refused_here_too(tmp_path: Path) -> None:
    rules = [
        {"alert": f"Text{place}", "expr": "up", "annotations": {"text": text}}
        for place, text in enumerate(NOT_A_TEMPLATE)
    ]
    _dump(tmp_path / "rules.yml", {"groups": [{"name": "g", "rules": rules}]})

    told = promtool.check_rules(tmp_path / "rules.yml").told

    assert [text for text in NOT_A_TEMPLATE if _accepted(text)] == []
    refused_there = [text for place, text in enumerate(NOT_A_TEMPLATE) if f'"Text{place}"' in told]
    assert len(refused_there) >= len(NOT_A_TEMPLATE) - 3, "the list has lost its point"


def _annotation(told: str, number: int) -> str:
    found = re.search(rf'[{{ ]t{number}=("(?:[^"\\]|\\.)*")', told)
    return found[1] if found else '""'


def _accepted(text: str) -> bool:
    try:
        Template(text, "A")
    except TemplateRefused:
        return False
    return True


def _expanded(text: str, place: int, value: float) -> str:
    labels = {"__name__": "sample", **LABELS, "n": str(place)}
    return Template(text, f"Value{place}").expand(labels, value)


def _series(place: int) -> str:
    labels = {**LABELS, "n": str(place)}
    inside = ", ".join(f"{name}={_quoted(text)}" for name, text in labels.items())
    return f"sample{{{inside}}}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _written(value: float) -> str:
    if math.isinf(value):
        return "Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)


def _dump(file: Path, document: dict[str, Any]) -> None:
    file.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=100_000))
