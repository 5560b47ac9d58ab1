"""The example files list every setting, and say the defaults."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import yaml

from exporter.config.configuration import ENVIRONMENT_PREFIX, Configuration, load_settings
from exporter.config.secrets import Secret, masked
from exporter.config.settings import Settings, keys
from tests.support.deployed import PROGRAM, SERVICES, unit_lines

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "config.example.yml"
ENVIRONMENT = ROOT / ".env.example"


def leaves(tree: dict[str, object], prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for name, value in tree.items():
        found |= leaves(value, (*prefix, name)) if isinstance(value, dict) and value else {(*prefix, name)}
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

    assert all(variables.get(name) in (None, (), "", {}) for name in empty)


def test_the_example_environment_changes_nothing_as_it_is():
    assert all(not line or line.startswith("#") for line in ENVIRONMENT.read_text().splitlines())


WAYS = (
    ("Docker Compose", "docker-compose.yml", ".env"),
    ("systemd", "deploy/systemd/dict-rate-limit.service", "/etc/dict-rate-limit/environment"),
)


def test_the_example_environment_says_where_each_way_of_starting_reads_it():
    head = ENVIRONMENT.read_text().partition("DICT_RATE_LIMIT_")[0]

    for way, file, path in WAYS:
        [line] = [line for line in head.splitlines() if line.startswith(f"#   {way} ")]
        assert line.removeprefix(f"#   {way}").split()[0].rstrip(";") == path
        assert path in (ROOT / file).read_text()


def test_compose_hands_the_file_to_every_service_that_reads_settings():
    readers = [name for name in PROGRAM if name != "simulator"]

    assert len(readers) == 3
    assert [SERVICES[name]["env_file"] for name in readers] == [[{"path": ".env", "required": False}]] * 3


def test_systemd_hands_the_file_to_the_program_where_it_is_there():
    assert ("EnvironmentFile", "-/etc/dict-rate-limit/environment") in unit_lines()


def test_a_file_of_variables_says_which_it_is_where_it_cannot_be_used():
    for variable in listed_variables():
        problems = Configuration(None, {variable: "/nowhere"}).problems

        assert not [problem for problem in problems if "no such setting" in problem]
        assert all(problem.startswith(variable) for problem in problems)


def test_a_shell_hands_the_file_over_as_it_says(tmp_path):
    text = ENVIRONMENT.read_text().replace("#DICT_RATE_LIMIT_POLL__INTERVAL=15s", "DICT_RATE_LIMIT_POLL__INTERVAL=20s")
    text = text.replace("#DICT_RATE_LIMIT_RULES__", "DICT_RATE_LIMIT_RULES__")
    (tmp_path / ".env").write_text(text)
    (words,) = re.findall(r"^#   a shell +(.*)$", text, re.MULTILINE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}

    done = subprocess.run(
        ["sh", "-c", f"{words}; cd {ROOT} && exec {sys.executable} -m exporter config check"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
    )

    shown = yaml.safe_load(done.stdout)
    assert (shown["poll"]["interval"], shown["rules"]["files"]) == ("20s", ["rules/*.yml"])
