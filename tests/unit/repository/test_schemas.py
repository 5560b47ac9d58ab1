"""Editors check rule files and configuration with the schemas that the shipped files name."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from exporter.config.settings import json_schema
from exporter.errors import RuleFileInvalid
from exporter.rules.files import loading

ROOT = Path(__file__).parents[3]
RULES = json.loads((ROOT / "docs/schemas/rules.schema.json").read_text())
GOOD = {"alert": "X", "expr": "dict_rate_limit_up == 0", "labels": {"severity": "info"}}


def file_of(rule: dict, **group: object) -> dict:
    return {"groups": [{"name": "a", "rules": [rule], **group}]}


def test_the_configuration_schema_is_current() -> None:
    assert json.loads((ROOT / "docs/schemas/config.schema.json").read_text()) == json_schema()


@pytest.mark.parametrize("file", ["rules/dict-rate-limit.yml", "config.example.yml"])
def test_shipped_files_name_their_schema_and_pass_it(file) -> None:
    text = (ROOT / file).read_text()
    named = text.splitlines()[0].removeprefix("# yaml-language-server: $schema=")

    schema = json.loads(((ROOT / file).parent / named).read_text())

    jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize(
    "content",
    [
        {"groups": []},
        file_of(GOOD),
        file_of(GOOD, interval="30s"),
        file_of(GOOD, limit=3, query_offset="1m", labels={"team": "pix"}),
        file_of(GOOD | {"labels": {}}, labels={"severity": "info"}),
        file_of({"record": "a:dict_rate_limit_up:b", "expr": "dict_rate_limit_up", "labels": {"team": "pix"}}),
        file_of({"record": "dict_rate_limit_up:min5m", "expr": "dict_rate_limit_up"}, labels={"severity": "info"}),
        file_of(GOOD | {"for": "1m", "keep_firing_for": "1h30m", "annotations": {"summary": "{{ $value }}"}}),
    ],
)
def test_what_the_loader_takes_the_schema_takes(content, tmp_path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(content))

    jsonschema.validate(content, RULES)
    loading.load([str(file)])


@pytest.mark.parametrize(
    "content",
    [
        {"group": []},
        {"groups": [{"rules": []}]},
        file_of(GOOD, limit="3"),
        file_of(GOOD, labels={"participant": "1"}),
        file_of(GOOD | {"labels": {}}, labels={"team": "pix"}),
        file_of({"record": "a:b", "alert": "B", "expr": "dict_rate_limit_up", "labels": {"severity": "info"}}),
        file_of({"record": "dict_rate_limit_up", "expr": "dict_rate_limit_up"}),
        file_of({"record": "ALERTS", "expr": "dict_rate_limit_up"}),
        file_of({"record": "a.b", "expr": "dict_rate_limit_up"}),
        file_of({"record": "a:b", "expr": "dict_rate_limit_up", "for": "1m"}),
        file_of({"record": "a:b", "expr": "dict_rate_limit_up", "labels": {"participant": "1"}}),
        file_of(GOOD | {"for": "soon"}),
        file_of(GOOD | {"labels": {}}),
        file_of(GOOD | {"labels": {"severity": "page"}}),
        file_of(GOOD | {"labels": {"severity": "info", "participant": "1"}}),
        file_of(GOOD | {"labels": {"severity": "info", "bad-name": "x"}}),
        file_of(GOOD | {"labels": {"severity": "info", "__name__": "x"}}),
        file_of(GOOD | {"annotations": {"bad-name": "x"}}),
        file_of(GOOD | {"sevrity": "info"}),
        file_of(GOOD | {"annotations": ["summary"]}),
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(content, tmp_path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(content))

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, RULES)
    with pytest.raises(RuleFileInvalid):
        loading.load([str(file)])
