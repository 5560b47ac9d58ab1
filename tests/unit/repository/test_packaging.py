"""The wheel, the image and the bill of materials: whole, and the same bytes whoever builds them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from docs import manual
from exporter import __version__
from tests.support.program import ROOT

TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())


def built(folder: Path, files: list[str], *, mode: int, modified_at: int) -> Path:
    """Returns the wheel made in ``folder`` from copies of ``files``, of this mode and time."""
    for name in files:
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copyfile(ROOT / name, copy)
            copy.chmod(mode)
            os.utime(copy, (modified_at, modified_at))
    hatchling = Path(sys.executable).with_name("hatchling")
    done = subprocess.run(
        [hatchling, "build", "--target", "wheel"],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (folder / "dist").iterdir()
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return built(tmp_path_factory.mktemp("checkout"), TRACKED, mode=0o644, modified_at=1_600_000_000)


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The Python of an environment that holds the wheel; what it depends on comes from the environment of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # A path in a .pth file is searched, its own .pth files are not read: the checkout stays out of it.
    (site / "dependencies.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")) + "\n")
    return folder / "bin" / "python"


def said(python: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DICT_", "PYTHON", "COV"))}
    done = subprocess.run(
        [python, *arguments], cwd=python.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_two_builds_of_the_same_files_are_the_same_bytes(wheel, tmp_path) -> None:
    other = built(tmp_path, TRACKED, mode=0o664, modified_at=1_650_000_000)

    assert other.name == wheel.name == f"dict_rate_limit_exporter-{__version__}-py3-none-any.whl"
    assert digest(other) == digest(wheel)


def test_the_image_is_built_from_all_that_the_wheel_needs(wheel, tmp_path) -> None:
    stage = (ROOT / "Dockerfile").read_text().partition("\nFROM ")[0]
    copied = [source for line in re.findall(r"^COPY (.*) \S+$", stage, re.MULTILINE) for source in line.split()]
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    files = [
        name
        for name in TRACKED
        if any(Path(name).is_relative_to(source) for source in copied)
        and any(Path(name).is_relative_to(source) for source in let_through)
    ]

    made = built(tmp_path, files, mode=0o644, modified_at=1_600_000_000)

    assert digest(made) == digest(wheel)


def test_the_wheel_holds_every_file_of_the_program_and_nothing_else(wheel) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in TRACKED if name.startswith("exporter/") and (ROOT / name).exists()}
    package |= {
        name.replace("migrations/", "exporter/_migrations/") for name in TRACKED if name.startswith("migrations/")
    }
    package |= {"exporter/_rules/dict-rate-limit.yml"}

    assert {name for name in names if name.startswith("exporter/")} == package
    assert all(name.startswith(("exporter/", "dict_rate_limit_exporter-")) for name in names)


def test_the_wheel_brings_a_manual_page_for_the_program_and_each_command(wheel) -> None:
    names = [Path(name) for name in zipfile.ZipFile(wheel).namelist() if "/share/man/" in name]

    assert {name.parent.as_posix() for name in names} == {
        f"dict_rate_limit_exporter-{__version__}.data/data/share/man/man1"
    }
    assert {name.name for name in names} == {page.name for page in manual.pages()}
    assert {"dict-rate-limit.1", "dict-rate-limit-rules-backtest.1"} <= {name.name for name in names}


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
@pytest.mark.parametrize("page", manual.pages(), ids=lambda page: page.stem)
def test_a_manual_page_is_what_man_understands(page) -> None:
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-b", page], capture_output=True, text=True, check=True)

    assert done.stderr == ""


def test_the_wheel_has_the_command(wheel) -> None:
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))

    assert "dict-rate-limit = exporter.__main__:main" in archive.read(entry_points).decode()


def test_an_installed_wheel_starts(installed) -> None:
    assert said(installed, "-m", "exporter", "--version").startswith(f"dict-rate-limit {__version__} ")
    assert "undo the last" in said(installed, "-m", "exporter", "migrate", "--help")
    assert "participants" in said(installed, "-m", "exporter", "config", "check")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import exporter; print(exporter.__file__.startswith(sys.prefix))", "True"),
        ("from exporter.store.migrations import migrations; print(len(migrations()))", None),
        (
            "from exporter.simulator.scenario import load, shipped; print(len([load(n) for n in shipped()]) >= 8)",
            "True",
        ),
        ("from exporter.demo.run import _rules_files; print(len(list(_rules_files().parent.glob('*.yml'))))", "1"),
        ("from exporter.web.status_page import pages; from exporter.backtest import html; print('read')", "read"),
    ],
    ids=["package", "migrations", "scenarios", "rules", "templates"],
)
def test_an_installed_wheel_finds_its_own(installed, code, expected) -> None:
    migrations = len(list((ROOT / "migrations").glob("[0-9]*.down.sql")))

    assert said(installed, "-c", f"import sys; {code}").strip() == (expected or str(migrations))


@pytest.fixture
def bill(tmp_path) -> dict:
    """What ``make sbom`` makes."""
    file = tmp_path / "sbom.json"
    subprocess.run(["make", "--silent", "sbom", f"SBOM={file}"], cwd=ROOT, check=True, capture_output=True)
    return json.loads(file.read_text())


def test_the_bill_of_materials_lists_what_the_program_runs_with(bill) -> None:
    components = {component["name"]: component for component in bill["components"]}
    direct = {re.split(r"[<>=;\[]", requirement)[0] for requirement in PROJECT["dependencies"]}

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["version"] == __version__
    assert direct <= components.keys()
    assert not {"pytest", "ruff", "hatchling"} & components.keys()
    for name, component in components.items():
        assert component["purl"] == f"pkg:pypi/{name}@{component['version']}"


def test_every_package_of_the_lock_is_pinned_by_its_hash() -> None:
    foreign = [package for package in LOCK["package"] if "registry" in package["source"]]

    assert len(foreign) == len(LOCK["package"]) - 1
    for package in foreign:
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files
        assert all(file["hash"].startswith("sha256:") for file in files), package["name"]


def test_every_dependency_is_imported_somewhere() -> None:
    program = "\n".join((ROOT / name).read_text() for name in TRACKED if re.match(r"exporter/.*\.py$", name))
    imported = set(re.findall(r"^\s*(?:from|import) (\w+)", program, re.MULTILINE))
    modules: dict[str, set[str]] = {}
    for module, distributions in packages_distributions().items():
        for distribution in distributions:
            modules.setdefault(distribution.lower().replace("_", "-"), set()).add(module)

    names = {re.split(r"[<>=;\[]", requirement)[0] for requirement in PROJECT["dependencies"]}

    names -= {"tzdata"}  # zoneinfo reads it, where the system has none
    assert [name for name in sorted(names) if modules[name].isdisjoint(imported)] == []


def test_the_oldest_allowed_libraries_take_the_committed_stubs() -> None:
    bounds = dict(re.findall(r"^(\w+)>=([\d.]+)$", "\n".join(PROJECT["dependencies"]), re.MULTILINE))
    stubs = "".join((ROOT / name).read_text() for name in TRACKED if "/stubs/" in name and name.endswith(".py"))

    assert set(re.findall(r"^# Protobuf Python Version: (.*)$", stubs, re.MULTILINE)) == {bounds["protobuf"]}
    assert set(re.findall(r"^GRPC_GENERATED_VERSION = '(.*)'$", stubs, re.MULTILINE)) == {bounds["grpcio"]}
