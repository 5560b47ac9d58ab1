"""Nothing remains of a test run, neither a process nor a folder, however the run ends.

A run keeps its files in one folder, and names that folder in its environment, which every process that it
starts inherits. A watcher in a session of its own waits until the run is gone (its end of a pipe closes: at a
normal end, Ctrl-C, a time limit, SIGKILL), ends every process that carries the name, and deletes the folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable

MARK = "TEST_RUN"
KEEP = "TEST_KEEP"
"""Set in the environment, it keeps the folder, to look at what the servers wrote."""

_ENDS_WITHIN_SECONDS = 10.0
_SHARED_MEMORY = "/dev/shm"
_ROOM_BYTES = 6 * 2**30


class Run:
    """One test run: its folder, and the watcher that waits for its end."""

    def __init__(self) -> None:
        self._before = {name: os.environ.get(name) for name in (MARK, "TMPDIR")}
        # A short name: the path of a socket has room for a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="dict-tests-", dir=_memory()))
        self.folder.chmod(0o755)  # PostgreSQL runs as another user
        self._watcher = subprocess.Popen(
            [sys.executable, __file__, str(self.folder)],
            # Without the mark, or it would end itself.
            env={name: value for name, value in os.environ.items() if name in ("HOME", "PATH", KEEP)},
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
        )
        os.environ |= {MARK: str(self.folder), "TMPDIR": str(self.folder)}
        tempfile.tempdir = None

    def left(self) -> list[str]:
        """Returns what still runs though it has had time to end, a line each."""
        deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
        while (found := self._started()) and time.monotonic() < deadline:
            psutil.wait_procs(found, timeout=0.1)
        return [_described(process) for process in found]

    def _started(self) -> list[psutil.Process]:
        # Python's own resource tracker ends with the process that it serves: this one.
        return [process for process in processes(self.folder) if "resource_tracker" not in _described(process)]

    def close(self) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        tempfile.tempdir = None
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.wait()


def _memory() -> str | None:
    """Returns a file system in memory, where there is one with room: some disks are slow to delete many files."""
    if "TMPDIR" in os.environ:
        return None
    with contextlib.suppress(OSError):
        there = os.statvfs(_SHARED_MEMORY)
        if there.f_bavail * there.f_frsize > _ROOM_BYTES and not there.f_flag & os.ST_NOEXEC:
            return _SHARED_MEMORY
    return None


def processes(folder: Path) -> list[psutil.Process]:
    """Returns the processes that carry the mark of the run in ``folder``, and all that these have started."""
    marked = [process for process in psutil.process_iter() if _carries(process, str(folder))]
    # PostgreSQL's processes write their titles over their environment.
    family = {member for process in marked for member in (process, *_children(process))}
    return [process for process in family if _runs(process)]


def by_name(found: Iterable[psutil.Process]) -> dict[str, psutil.Process]:
    """Returns processes by their names, but for those that have ended meanwhile."""
    named = {}
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            named[process.name()] = process
    return named


def _carries(process: psutil.Process, folder: str) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return process.environ().get(MARK) == folder
    return False


def _children(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children(recursive=True)
    return []


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _described(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.pid} {' '.join(process.cmdline())[:200]}"
    return f"{process.pid}"


def _watch(folder: Path) -> None:
    # Who ends the run by ending every process of it means what they leave behind, too.
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    sys.stdin.buffer.read()
    # PostgreSQL gives its shared memory back, unless it is killed.
    found = processes(folder)
    for process in found:
        with contextlib.suppress(psutil.Error):
            if process.name() == "postgres":
                process.send_signal(signal.SIGQUIT)
                process.resume()
            else:
                process.kill()
    psutil.wait_procs(found, timeout=5)
    deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
    while (found := processes(folder)) and time.monotonic() < deadline:
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=1)
    if KEEP not in os.environ:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _watch(Path(sys.argv[1]))
