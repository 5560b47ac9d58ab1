"""The example files list every setting, and say the defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import yaml

from exporter.config import ENVIRONMENT_PREFIX, Secret, Settings, keys, load_settings, masked

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config.example.yml"
ENVIRONMENT = ROOT / ".env.example"


def leaves(tree: dict[str, object], prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name, value in tree.items():
        found |= leaves(value, (*prefix, name)) if isinstance(value, dict) else {(*prefix, name)}
    return found


def listed_variables() -> dict[str, str]:
    return dict(re.findall(r"^#(DICT_RATE_LIMIT_\w+)=(.*)$", ENVIRONMENT.read_text(), re.MULTILINE))


def test_the_example_file_lists_every_key_and_no_other():
    assert leaves(yaml.safe_load(EXAMPLE.read_text())) == {path for path, _kind, _default in keys()}


def test_the_example_file_says_the_defaults():
    assert masked(load_settings(EXAMPLE, {})) == masked(Settings())


def test_the_example_environment_lists_every_variable_and_no_other():
    expected = set()
    for path, kind, _default in keys():
        variable = ENVIRONMENT_PREFIX + "__".join(path).upper()
        expected |= {variable, variable + "_FILE"} if Secret in (kind, *get_args(kind)) else {variable}

    assert set(listed_variables()) == expected


def test_the_example_environment_says_the_defaults():
    said = {name: value for name, value in listed_variables().items() if value}

    assert masked(load_settings(None, said)) == masked(Settings())


def test_an_empty_variable_of_the_example_has_no_default():
    variables = {ENVIRONMENT_PREFIX + "__".join(path).upper(): default for path, _kind, default in keys()}
    empty = {name for name, value in listed_variables().items() if not value and not name.endswith("DSN_FILE")}

    assert all(variables.get(name) in (None, (), "") for name in empty)


def test_the_example_environment_changes_nothing_as_it_is():
    assert all(not line or line.startswith("#") for line in ENVIRONMENT.read_text().splitlines())
