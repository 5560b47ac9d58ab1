"""A test run that ends, however it ends, leaves no process and no folder behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.support import remains
from tests.support.program import ROOT, wait_until

STARTS = """
import subprocess, time
from pathlib import Path

def test_that_starts_servers(postgres_admin_dsn, pulsar_lite):
    # Its parent is gone, once it is no longer a copy of that.
    orphan = 'sleep 600 & while [ "$(cat /proc/$!/comm)" = sh ]; do :; done'
    subprocess.run(["sh", "-c", orphan], start_new_session=True)
    Path({ready!r}).touch()
    time.sleep({seconds})
"""


class InnerRun:
    """A run of one test that starts servers; ``folder`` is where all its files are."""

    def __init__(self, folder: Path, seconds: int, *options: str) -> None:
        ready, file, self._output = folder / "ready", folder / "test_inner.py", folder / "output"
        file.write_text(STARTS.format(ready=str(ready), seconds=seconds))
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "--rootdir=.", "-p", "tests.conftest", *options, str(file)],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._ready = ready

    def ready(self) -> InnerRun:
        """Returns it when its test has started its servers, or it has ended."""
        wait_until(lambda: self.process.poll() is not None or self._ready.exists(), within_seconds=180)
        (self.folder,) = Path(tempfile.gettempdir()).glob("dict-tests-*")
        return self

    def watcher(self) -> psutil.Process:
        (found,) = (p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[-1:] == [str(self.folder)])
        return found

    def output(self) -> str:
        return self._output.read_text()


@pytest.fixture
def inner_run(tmp_path, monkeypatch):
    """Starts an `InnerRun` in a folder that PostgreSQL's user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="inner-"))
    folder.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.delenv("CI", raising=False)
    started = []

    def start(seconds: int, *options: str) -> InnerRun:
        started.append(InnerRun(tmp_path, seconds, *options))
        return started[-1].ready()

    yield start
    for run in started:  # its watcher ends the rest
        run.process.kill()
        run.process.wait()


@pytest.mark.parametrize(
    ("how", "options"),
    [(signal.SIGKILL, []), (signal.SIGKILL, ["-n2"]), (signal.SIGTERM, []), (signal.SIGINT, ["-n2"])],
)
def test_a_run_that_is_ended_leaves_no_process_and_no_folder(inner_run, how, options) -> None:
    run = inner_run(600, *options)
    started = remains.by_name(remains.processes(run.folder)).keys()
    assert {"postgres", "pulsar-lite", "sleep"} <= started

    if how is not signal.SIGKILL:
        run.watcher().send_signal(how)  # whoever asks every process of the run to end asks this one, too
    run.process.send_signal(how)

    wait_until(lambda: not run.folder.exists(), what="the folder to go")
    assert remains.processes(run.folder) == []


def test_a_test_that_leaves_a_process_behind_fails_the_run_and_the_process_ends(inner_run) -> None:
    run = inner_run(0)

    assert run.process.wait(180) == pytest.ExitCode.TESTS_FAILED
    assert "1 passed" in run.output()
    assert re.search(r"still running after the tests:\n  \d+ sleep 600\n", run.output())
    assert not run.folder.exists()
