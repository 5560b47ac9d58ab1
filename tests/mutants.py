"""Mutation testing, `make mutants`: changes the program in one small place at a time, and shows what no test notices.

mutmut does it, to copies in ``build/mutants/``. It leaves alone what stands outside
functions, and functions with decorators (properties, context managers).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mutmut.configuration import reset_config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

from tests.support import remains

if TYPE_CHECKING:
    import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "build" / "mutants"

TESTS: Final = {
    "exporter/buckets": ["unit/buckets"],
    "exporter/alerts": ["unit/alerts"],
    "exporter/addresses.py": ["unit/test_addresses.py"],
    "exporter/poller/poller.py": ["unit/test_poller.py"],
    "exporter/store/reconciliation.py": ["unit/store/test_reconciliation.py"],
    "exporter/store/lease.py": ["integration/test_lease.py"],
    "exporter/relay": ["unit/relay"],  # not those against a broker: half a minute for each mutant
}
"""What is mutated, and the tests that are about it. Of these only those run that reach the mutated function."""

SLOW: Final = "estimated_within or near_full_the_estimate or never_drain or frozen or away"
"""Tests, by their names, that take longer than all others of their file together."""

SETTINGS: Final = {
    "source_paths": ["exporter"],
    "also_copy": ["migrations", "rules"],
    "do_not_mutate_patterns": [r"\blog\.\w+\("],
    # Each mutant gets the same examples from Hypothesis.
    "pytest_add_cli_args": ["--hypothesis-profile=ci", "-p", "no:cacheprovider", "-p", "tests.mutants"],
    "timeout_multiplier": 3.0,
    "timeout_constant": 10.0,
    "use_git_change_detection": False,
    "track_dependencies": False,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets the quick tests run first: most mutants do not survive them."""
    items.sort(key=lambda item: hasattr(item.obj, "hypothesis") or "/integration/" in item.nodeid)


def run(part: str, only: str, jobs: int) -> Path:
    """Runs the mutants of the file or folder ``only`` of ``part``. Returns the folder with the results."""
    folder = FOLDER / part.replace("/", ".")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("exporter", "tests", "migrations", "rules"):
        (folder / name).symlink_to(ROOT / name)
    tests = [f"tests/{name}" for name in TESTS[part]]
    settings = SETTINGS | {
        "only_mutate": [only if only.endswith(".py") else f"{only}/*"],
        "pytest_add_cli_args_test_selection": [*tests, "-k", f"not ({SLOW})"],
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    project = (ROOT / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(f"{project}\n[tool.mutmut]\n{''.join(lines)}")
    print(f"\n{only}: {' '.join(tests)}", flush=True)
    mutmut = Path(sys.executable).with_name("mutmut")
    # The servers of tests whose time is out end with it.
    with contextlib.closing(remains.Run()):
        subprocess.run([mutmut, "run", f"--max-children={jobs}"], cwd=folder, check=True)
    return folder


def report(folder: Path) -> None:
    """Prints the survivors in ``folder``, and each module's score."""
    scores: dict[str, Counter[str]] = {}
    untested: Counter[str] = Counter()
    with contextlib.chdir(folder):
        reset_config()
        for file in sorted(Path("mutants/exporter").rglob("*.meta")):
            source = file.relative_to("mutants").with_suffix("")
            data = SourceFileMutationData(path=source)
            data.load()
            statuses = {name: status_by_exit_code[code] for name, code in data.exit_code_by_key.items()}
            if statuses:
                scores[str(source)] = Counter(statuses.values())
            for name, status in statuses.items():
                if status == "no tests":
                    untested[name.partition("__mutmut")[0]] += 1
                elif status not in {"killed", "timeout"}:
                    print(f"\n# {name}: {status}\n{get_diff_for_mutant(name).strip()}")
    for function, number in untested.items():
        print(f"\nNo test reaches {function} ({number} mutants).")
    print(f"\n{'module':36}{'killed':>8}{'of':>6}")
    for source, score in scores.items():
        print(f"{source:36}{score['killed'] + score['timeout']:8}{score.total():6}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("only", nargs="?", default="exporter", help="a file or folder, such as exporter/alerts")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    only = Path(arguments.only)
    parts = {part: max(Path(part), only) for part in TESTS if only in [path := Path(part), *path.parents]}
    parts |= {part: only for part in TESTS if Path(part) in only.parents}
    if not parts:
        parser.error(f"{only} is not part of {', '.join(TESTS)}")
    for part, wanted in parts.items():
        report(run(part, str(wanted), arguments.jobs))


if __name__ == "__main__":
    main()
