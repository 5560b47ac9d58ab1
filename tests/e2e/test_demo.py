"""The demo: an alert fires, arrives, resolves, and nothing is left behind."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psutil
import pytest

from tests.e2e.test_split import TEN
from tests.support.program import Program, wait_until


def demo_folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("dict-rate-limit-demo-*"))


@pytest.fixture
def demo(start):
    before = demo_folders()
    program = Program("demo", "--log.level", "warning")
    program.command = ("demo", "--web.listen-address", f"127.0.0.1:{program.port}", "--duration", "70s")
    start(program)
    yield program
    program.end()
    assert demo_folders() == before


def test_within_a_minute_an_alert_fires_arrives_and_resolves(demo) -> None:
    wait_until(demo.answers, within_seconds=60)
    wait_until(lambda: re.search(r"event resolved .* KEYS_CHECK", demo.output()), within_seconds=60)
    wait_until(lambda: {name for name, _, _ in demo.samples()} >= TEN, within_seconds=70, what="all ten metrics")
    dsn = re.search(r"(postgresql://\S+)", demo.output())
    assert dsn
    psql = shutil.which("psql")
    if psql:
        listed = subprocess.run(
            [psql, "-At", dsn[1], "-c", "SELECT state FROM dict_rate_limit_alerts"], capture_output=True, check=True
        )
        assert b"resolved" in listed.stdout
    children = psutil.Process(demo.process.pid).children(recursive=True)

    demo.process.send_signal(signal.SIGINT)

    assert demo.wait(30) == 0
    assert re.search(r"event firing .* KEYS_CHECK", demo.output())
    assert re.search(r"\d+ firing and \d+ resolved events arrived", demo.output())
    assert "Traceback" not in demo.output()
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
