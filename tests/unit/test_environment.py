"""Variables of libraries: which are taken away, which are refused, and that the table in the documents says so."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from exporter.environment import DEFAULTS, IGNORED, PROXIES, forget_other_servers, prepare
from exporter.errors import ConfigurationError
from tests.support.program import ROOT

LIBRARIES = ("prometheus_client", "uvicorn", "grpc", "psycopg", "google.protobuf", "opentelemetry", "pulsar")


def table() -> dict[str, str]:
    """What the documents say of each variable."""
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    section = text.split("\n## Variables of libraries\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {name: said for names, _whose, said in rows for name in re.findall(r"`([^`]+)`", names)}


def test_what_is_ignored_is_taken_away_and_named() -> None:
    given = {**dict.fromkeys(IGNORED, "x"), **DEFAULTS, "PGHOST": "db", "PATH": "/bin"}

    assert prepare(given, optimize=0) == list(IGNORED)
    assert given == {**DEFAULTS, "PGHOST": "db", "PATH": "/bin"}


def test_an_empty_variable_is_taken_away_unsaid() -> None:
    given = {"PSYCOPG_IMPL": ""}

    assert prepare(given, optimize=0) == []
    assert given == DEFAULTS


def test_grpc_is_silent_unless_its_log_is_asked_for() -> None:
    given = {"GRPC_VERBOSITY": "debug"}

    prepare(given, optimize=0)

    assert given == DEFAULTS | {"GRPC_VERBOSITY": "debug"}


def test_python_without_texts_is_refused() -> None:
    assert prepare({}, optimize=1) == []
    with pytest.raises(ConfigurationError, match="PYTHONOPTIMIZE=2"):
        prepare({}, optimize=2)


def test_who_uses_its_own_servers_alone_forgets_the_others() -> None:
    given = {**dict.fromkeys(PROXIES, "http://proxy"), "PGPORT": "1", "PGSERVICE": "x", "no_proxy": "a", "TERM": "dumb"}

    forget_other_servers(given)

    assert given == {"no_proxy": "a", "TERM": "dumb"}


def test_the_documents_say_of_each_ignored_variable_that_it_is() -> None:
    assert {name for name, said in table().items() if said.startswith("ignored")} == set(IGNORED)
    assert set(PROXIES) <= table().keys()


def test_the_documents_name_every_variable_that_the_code_names() -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "exporter").rglob("*.py"))
    named = set(re.findall(r'"((?:OTEL|GRPC|PG[A-Z]|PROMETHEUS|PSYCOPG|PYTHON)[A-Z_]*[A-Z])"', sources))

    assert named
    assert named <= table().keys()


def test_no_library_is_imported_before_its_variables_are_dealt_with() -> None:
    asked = "import sys, exporter.cli.main; print([name for name in sys.argv[1:] if name in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", asked, *LIBRARIES], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, timeout=60
    )

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("entry", [["-m", "exporter"], ["-c", "from exporter.cli.main import main; main()"]])
def test_both_entries_refuse_python_without_texts(entry) -> None:
    done = subprocess.run(
        [sys.executable, "-OO", *entry, "config", "schema"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("dict-rate-limit: PYTHONOPTIMIZE=2")
    assert done.stderr.count("\n") == 1
