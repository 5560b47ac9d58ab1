"""promtool 3, the reference that our rules engine is held to; or 2, where it is asked for."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from tests.support.releases import binary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Verdict:
    """What promtool says of one test file. ``output`` is what it prints about it."""

    passed: bool
    output: str


def check_rules(*files: Path) -> Verdict:
    done = _run("check", "rules", *files)
    return Verdict(done.returncode == 0, done.stdout)


def run_tests(files: Sequence[Path], *options: str, report: Path | None = None, release: str = "3") -> list[Verdict]:
    """Runs the test files in one call; one verdict per file, in order. ``report`` is where JUnit XML is written."""
    of_all = [] if report is None else [f"--junit={report}"]
    output = _run("test", *of_all, "rules", *options, *files, release=release).stdout
    parts = re.split(r"^(?:Processing test file|Unit Testing): .*\n", output, flags=re.MULTILINE)[1:]
    assert len(parts) == len(files), f"promtool was cut short:\n{output[-2000:]}"
    return [Verdict(re.search(r"^  SUCCESS$", part, re.MULTILINE) is not None, part) for part in parts]


def _run(*arguments: str | Path, release: str = "3") -> subprocess.CompletedProcess[str]:
    # Release 3 prints failures on standard error; through one pipe, the lines stay in order.
    return subprocess.run(
        [binary("promtool", release), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )


def parse_errors(texts: Sequence[str], folder: Path, *options: str) -> dict[str, tuple[int, int]]:
    """Returns line and byte of the line, both from 1, of what promtool 3 finds wrong with expressions, by expression.

    Those without a fault are left out. A file is written into ``folder``.
    """
    rules = [{"alert": f"Rule{index}", "expr": text} for index, text in enumerate(texts)]
    file = folder / "expressions.yml"
    document = {"groups": [{"name": "g", "rules": rules}]}
    file.write_text(yaml.dump(document, Dumper=yaml.CSafeDumper, allow_unicode=True), "utf-8")
    done = _run(*options, "check", "rules", file)
    found = re.findall(r'"Rule(\d+)": could not parse expression: (\d+):(\d+): ', done.stdout)
    assert len(found) == done.stdout.count('"Rule'), f"a fault without a place:\n{done.stdout[-2000:]}"
    assert found or "SUCCESS" in done.stdout, done.stdout[-2000:]
    return {texts[int(index)]: (int(line), int(column)) for index, line, column in found}
