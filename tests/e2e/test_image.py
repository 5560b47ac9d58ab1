"""The container image, built from the Dockerfile and run as an engine runs it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from exporter import __version__
from exporter.store.migrations import migrations
from tests.support.deployed import SERVICES
from tests.support.image import PYTHON, Contained, Image, built, done
from tests.support.program import ROOT, Bridge, wait_until
from tests.support.program import RULES as SHIPPED_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "/opt/dict-rate-limit"
RULES = "/etc/dict-rate-limit/rules/dict-rate-limit.yml"


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Iterator[Image]:
    with built(tmp_path_factory.mktemp("image")) as image:
        yield image


@pytest.fixture(scope="module")
def inside(image) -> dict[str, Any]:
    return image.inside()


def test_it_starts_the_program_on_the_python_of_its_tag(image) -> None:
    assert image.run("--version").startswith(f"dict-rate-limit {__version__} (Python {PYTHON}.")


def test_its_rules_are_the_shipped_ones_and_pass_the_check(image) -> None:
    image.run("rules", "check", RULES)

    assert done(image.process("cat", RULES)) == SHIPPED_RULES.read_text()


def test_its_settings_hold_and_name_its_rules(image) -> None:
    assert f"files:\n  - {Path(RULES).parent}/*.yml\n" in image.run("config", "check")


@pytest.mark.postgres
def test_it_migrates_a_database(image, empty_database) -> None:
    image.run("migrate", "up", DATABASE__DSN=empty_database)

    with psycopg.connect(empty_database) as connection:
        applied = connection.execute("SELECT count(*) FROM dict_rate_limit_migrations").fetchone()
    assert applied == (len(migrations()),)


@pytest.mark.postgres
@pytest.mark.broker
def test_it_polls_sends_events_keeps_no_file_and_ends_when_asked_to(
    image, tmp_path, start, consume, database_dsn, broker
) -> None:
    bridge, topic = start(Bridge(tmp_path)), broker.topic()
    settings = {**bridge.settings, "DATABASE__DSN": database_dsn}
    consumer = consume(broker.url, topic)

    program = start(Contained(image, **settings, PULSAR__SERVICE_URL=broker.url, PULSAR__TOPIC=topic))

    program.ready()
    wait_until(lambda: program.metric("dict_rate_limit_up") == 1, what="a metric")
    wait_until(lambda: consumer.ids, what="an event")
    _, *health_check = SERVICES["exporter"]["healthcheck"]["test"]
    done(image.process(*(word.replace("9862", str(program.port)) for word in health_check)))
    assert image.inside()["own"] == []
    assert program.stop() == 0, program.output()


def test_its_user_is_not_root_and_has_no_capability(inside) -> None:
    status = inside["status"]

    assert status["Uid"] == status["Gid"] == ["65532"] * 4
    assert status["Groups"] == ["65532"]
    assert int(status["CapEff"][0], 16) == 0


def test_its_user_can_write_to_no_more_than_the_folders_of_temporary_files(inside) -> None:
    assert set(inside["writable"]) <= {"/tmp", "/var/tmp", "/run/lock"}


def test_its_user_can_read_all_of_the_program_and_the_rules(inside) -> None:
    assert not [path for path in inside["closed"] if path.startswith((PROGRAM, str(Path(RULES).parents[1])))]


def test_every_module_of_the_program_is_compiled(inside) -> None:
    assert Path(inside["package"]).is_relative_to(PROGRAM)
    assert inside["not compiled"] == []


def test_it_adds_the_program_its_rules_and_its_user_and_nothing_else(image) -> None:
    added = {path for path in image.added if not Path(path).is_relative_to(PROGRAM)}

    # Beside them the copies that useradd keeps, and the hosts file of the build.
    beside = {"/etc/group-", "/etc/gshadow-", "/etc/passwd-", "/etc/shadow-", "/etc/hosts"}
    assert added - beside == {RULES, *(str(folder) for folder in Path(RULES).parents[:2])}


def test_it_holds_what_the_program_needs_and_no_tool_of_its_developers(inside) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    developers = [*project["dependency-groups"]["dev"], *project["project"]["optional-dependencies"]["demo"]]
    needed, tools = (
        {re.split(r"[<>=;\[]", requirement)[0] for requirement in requirements}
        for requirements in (project["project"]["dependencies"], developers)
    )

    held = {name.lower().replace("_", "-") for name in inside["distributions"]}

    assert needed <= held
    assert held & (tools | {"pip", "setuptools", "uv"}) == {"dict-rate-limit-exporter"}
