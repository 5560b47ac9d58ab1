"""promtool, of the release that ``TEST_PROMETHEUS`` names: the reference that our rules engine is held to."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.releases import binary, reference

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


def run_tests(files: Sequence[Path]) -> list[Verdict]:
    """Runs the test files in one call; one verdict per file, in order."""
    output = _run("test", "rules", *files).stdout
    parts = re.split(r"^(?:Unit Testing: |Processing test file:) .*\n", output, flags=re.MULTILINE)[1:]
    assert len(parts) == len(files), f"promtool was cut short:\n{output[-2000:]}"
    return [Verdict(re.search(r"^  SUCCESS$", part, re.MULTILINE) is not None, part) for part in parts]


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # Release 3 prints failures on standard error; through one pipe, the lines stay in order.
    return subprocess.run(
        [binary("promtool", reference()), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
