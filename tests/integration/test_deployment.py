"""The deployment files, read by the programs that will read them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.deployed import SERVICES, UNIT, environment_of, health_check, manifests
from tests.support.postgres import bin_directory
from tests.support.prometheus import run
from tests.support.promtool import check_rules


@pytest.mark.parametrize(
    ("service", "binary"), [("prometheus", "prometheus"), ("alertmanager", "prometheus-alertmanager")]
)
def test_the_flags_are_known_to(service, binary) -> None:
    _, told = run(binary, "--help")

    for flag in SERVICES[service]["command"]:
        assert re.search(rf"(?:^|\s){flag.split('=')[0]}(?:=|\s)", told), flag


def said_by(command: Path, *arguments: str) -> str:
    done = subprocess.run(
        [command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def test_postgresqls_programs_know_their_options() -> None:
    programs = bin_directory()
    initialised = said_by(programs / "initdb", "--help")
    ready = said_by(programs / "pg_isready", "--help")

    assert all(o.split("=")[0] in initialised for o in environment_of("postgres")["POSTGRES_INITDB_ARGS"].split())
    assert all(option.split("=")[0] in ready for option in health_check("postgres")[2:])


@pytest.mark.prometheus
def test_prometheus_loads_the_rules_of_the_prometheus_rule(tmp_path) -> None:
    (rule,) = (manifest for manifest in manifests() if manifest["kind"] == "PrometheusRule")
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(rule["spec"]))

    verdict = check_rules(file)

    assert verdict.passed, verdict.output


@pytest.fixture
def analyze():
    """Runs systemd-analyze, which must be there in CI; returns whether it is content, and its words."""
    binary = shutil.which("systemd-analyze")
    if binary is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")

    def run(*arguments: str | Path) -> tuple[bool, str]:
        done = subprocess.run(
            [binary, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60
        )
        return done.returncode == 0, done.stdout

    return run


@pytest.fixture
def installed(tmp_path) -> Path:
    """The unit, with the program where it is here."""
    unit = tmp_path / UNIT.name
    folder = Path(sys.executable).parent
    unit.write_text(UNIT.read_text().replace("/opt/dict-rate-limit/bin", str(folder)))
    return unit


def test_systemd_finds_no_fault_with_the_unit(analyze, installed) -> None:
    right, told = analyze("verify", "--man=no", installed)

    assert (right, told) == (True, "")


def test_systemd_finds_faults_where_there_are_some(analyze, installed) -> None:
    installed.write_text(installed.read_text().replace("PrivateTmp=yes", "PrivateTmpp=yes"))

    _, told = analyze("verify", "--man=no", installed)

    assert "PrivateTmpp" in told


def test_systemd_rates_the_units_exposure_as_low(analyze) -> None:
    # In tenths: 2.0 of 10; what is left is the network, which it needs.
    right, told = analyze("security", "--offline=true", "--threshold=20", UNIT)

    assert right, told
