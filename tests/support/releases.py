"""The releases of Prometheus that read our files: "2", Debian's, and "3", today's, built from its Go module.

3 is the reference: our engine reaches its verdicts. It is built once, into the user's cache folder;
``python -m tests.support.releases`` does so ahead of the tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.prometheus import Prometheus, debian

if TYPE_CHECKING:
    from collections.abc import Sequence

RELEASES = ("2", "3")
MODULE = Path(__file__).with_name("prometheus3")
CACHE = Path.home() / ".cache" / "dict-rate-limit" / "prometheus-3"

# Quick to build rather than to run: no discovery in clouds, nothing inlined, nothing for debuggers.
_BUILD = (
    *("build", "-mod=readonly", "-trimpath", "-tags=remove_all_sd"),
    *("-gcflags=all=-l -dwarf=false", "-ldflags=-s -w"),
)
_BUILD_SECONDS = 3600.0


def present() -> tuple[str, ...]:
    """Returns the releases that can be had, for a test that makes do with Debian's; in CI all."""
    return RELEASES if _in_ci() or why_no_3() is None else ("2",)


def binary(command: str, release: str) -> str:
    """Returns the path of ``command``; where it can't be had the test is skipped, and fails in CI."""
    return debian(command) if release == "2" else str(prometheus_3() / command)


class Prometheus3(Prometheus):
    """Prometheus 3, without a web page."""

    def binary(self) -> str:
        return binary(self.command, "3")


SERVERS: dict[str, type[Prometheus]] = {"2": Prometheus, "3": Prometheus3}


def prometheus_3() -> Path:
    """Returns the folder of `prometheus` and `promtool` 3, built where it isn't there yet.

    Raises RuntimeError, with Go's output, where the build fails.
    """
    missing = why_no_3()
    if missing is not None:
        if _in_ci():
            pytest.fail(f"{missing}; CI must have it")
        pytest.skip(missing)
    return _built()


def why_no_3() -> str | None:
    """Returns what Prometheus 3 needs and is missing; None: nothing is."""
    if _folder().is_dir():
        return None
    if shutil.which("go") is None:
        return "Prometheus 3 needs Go, to build it once"
    # Go reads in go.mod which release it takes, and may fetch that one.
    listing = _go("list", "-m", seconds=600)
    return None if listing.returncode == 0 else f"Go cannot build Prometheus 3: {listing.stdout.strip()}"


def _folder() -> Path:
    sources = (*(MODULE.joinpath(name).read_bytes() for name in ("go.mod", "go.sum")), repr(_BUILD).encode())
    return CACHE / hashlib.sha256(b"".join(sources)).hexdigest()[:16]


def _built() -> Path:
    folder = _folder()
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in CACHE.glob("build-*"):  # by a build that was killed
            shutil.rmtree(left)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=CACHE, prefix="build-") as parent:
                binaries = Path(parent) / "bin"
                print("building Prometheus 3: minutes, once", flush=True)  # noqa: T201 - printed with -s
                done = _go(*_BUILD, "-o", f"{binaries}/", "tool", seconds=_BUILD_SECONDS, holding=(lock.fileno(),))
                if done.returncode != 0:
                    raise RuntimeError(f"go could not build Prometheus 3:\n{done.stdout[-4000:]}")
                binaries.rename(folder)
        fcntl.flock(lock, fcntl.LOCK_UN)
    return folder


def _go(*arguments: str, seconds: float, holding: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
    """Runs Go, which keeps the files ``holding`` open: a lock is its own, too, should it outlive us."""
    return subprocess.run(
        ["go", *arguments],
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=seconds,
        pass_fds=holding,
    )


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


if __name__ == "__main__":
    sys.exit(why_no_3() or (_built() and None))
