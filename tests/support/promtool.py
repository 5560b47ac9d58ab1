"""Debian's promtool: the reference that our rules engine is held to."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.prometheus import debian

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Verdict:
    """What promtool says of one test file. ``told`` is its output about it."""

    passed: bool
    told: str


def check_rules(*files: Path) -> Verdict:
    done = _run([debian("promtool"), "check", "rules", *map(str, files)])
    return Verdict(done.returncode == 0, done.stdout)


def run_tests(files: Sequence[Path]) -> list[Verdict]:
    """Runs the test files in one call; one verdict per file, in order."""
    told = _run([debian("promtool"), "test", "rules", *map(str, files)]).stdout
    parts = re.split(r"^Unit Testing:  .*\n", told, flags=re.MULTILINE)[1:]
    assert len(parts) == len(files), f"promtool was cut short:\n{told[-2000:]}"
    return [Verdict(re.search(r"^  SUCCESS$", part, re.MULTILINE) is not None, part) for part in parts]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=600
    )
