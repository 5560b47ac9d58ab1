"""The demo: an alert fires, arrives, resolves, and nothing is left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from tests.support import remains, truth
from tests.support.metrics import TEN_SAMPLES
from tests.support.program import ROOT, Program, wait_until


@pytest.fixture
def demo(start, monkeypatch):
    """A demo on a machine without its user's locale, but with a proxy and a PostgreSQL; it leaves nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    folder.chmod(0o711)
    for name in ("TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setenv("LC_ALL", "xx_XX.UTF-8")
    program = Program("demo", "--log.level", "warning")
    program.command = ("demo", "--web.listen-address", f"127.0.0.1:{program.port}", "--duration", "5m")
    with monkeypatch.context() as around:
        for name, value in (("grpc_proxy", "http://127.0.0.1:1"), ("PGPORT", "1"), ("PGSERVICE", "absent")):
            around.setenv(name, value)
        start(program)
    yield program
    program.end()
    left = list(folder.rglob("*"))
    shutil.rmtree(folder)
    assert left == []
    assert [
        process for process in psutil.process_iter(["cmdline"]) if str(folder) in str(process.info["cmdline"])
    ] == []


def started(demo: Program) -> dict[str, psutil.Process]:
    """What the demo has started, by name."""
    return remains.by_name(psutil.Process(demo.process.pid).children())


def test_within_a_minute_an_alert_fires_arrives_and_resolves(demo) -> None:
    wait_until(demo.answers, within_seconds=120)
    wait_until(lambda: re.search(r"event resolved .* KEYS_CHECK", demo.output()), within_seconds=120)
    wait_until(
        lambda: {name for name, _, _ in demo.samples()} >= TEN_SAMPLES, within_seconds=120, what="all ten metrics"
    )
    dsn = re.search(r"(postgresql://\S+)", demo.output())
    assert dsn
    with truth.rows(dsn[1]) as query:
        ((began,),) = query("SELECT min(polled_at) FROM dict_rate_limit_reconciliations")
        ((resolved,),) = query("SELECT min(resolved_at) FROM dict_rate_limit_alerts WHERE policy = 'KEYS_CHECK'")
    assert (resolved - began).total_seconds() < 60

    demo.process.send_signal(signal.SIGINT)

    assert demo.wait(60) == 0
    assert re.search(r"event firing .* KEYS_CHECK", demo.output())
    assert re.search(r"\d+ firing and \d+ resolved events arrived", demo.output())
    assert "Traceback" not in demo.output()


def test_a_dip_between_two_polls_is_shown_and_alerted_though_no_poll_saw_it(demo) -> None:
    dip = r"(..:..:..)  between two polls  (\d+)  ENTRIES_UPDATE down to (\d+)/600 tokens: only reads saw it"
    wait_until(demo.answers, within_seconds=120)

    told = wait_until(lambda: re.search(dip, demo.output()), within_seconds=180, what="a dip that only reads see")

    assert int(told[3]) <= 120
    fired = re.findall(
        rf"(..:..:..)  event firing +warning +DictRateLimitTokensLow +{told[2]}  ENTRIES_UPDATE", demo.output()
    )
    polls_are_apart = timedelta(seconds=10)
    assert any(timedelta(0) <= _time(told[1]) - _time(one) <= polls_are_apart for one in fired)


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%H:%M:%S").replace(tzinfo=UTC)


def test_ctrl_c_while_the_database_is_made_ends_the_demo(demo) -> None:
    initdb = wait_until(lambda: started(demo).get("initdb"), every_seconds=0.01)
    initdb.suspend()  # or on a busy machine it might be done before the signal is sent
    # A terminal sends it to the whole group of processes.
    assert os.getpgid(initdb.pid) != os.getpgid(demo.process.pid)

    demo.process.send_signal(signal.SIGINT)
    initdb.resume()

    assert demo.wait(60) == 0
    assert demo.output() == "starting PostgreSQL ...\n"


def test_closing_its_terminal_ends_the_demo(demo) -> None:
    wait_until(demo.answers, within_seconds=120)

    demo.process.send_signal(signal.SIGHUP)

    assert demo.wait(60) == 0


def test_a_port_that_is_taken_ends_the_demo_with_one_line(demo, start) -> None:
    wait_until(demo.answers, within_seconds=120)
    second = Program("demo", "--web.listen-address", f"127.0.0.1:{demo.port}")

    start(second)

    assert second.wait(120) == 2
    assert second.output() == (
        f"dict-rate-limit: --web.listen-address: cannot listen on 127.0.0.1:{demo.port}: address already in use\n"
    )


def test_what_it_cannot_play_is_told_before_anything_starts(start) -> None:
    program = start(Program("demo", "--scenario", "nope"))

    assert program.wait(120) == 2
    assert program.output().startswith("dict-rate-limit: nope: no such scenario file; the shipped scenarios are ")
    assert program.output().count("\n") == 1


def test_half_a_minute_is_enough_to_see_an_alert_fire_and_resolve_and_the_demo_harms_nothing(demo, start) -> None:
    demo.end()
    short = start(Program("demo", "--web.listen-address", f"127.0.0.1:{demo.port}", "--duration", "30s"))

    assert short.wait(120) == 0

    events = re.findall(r"event (firing|resolved) +\w+ +(\w+) .* (\w+)  \d+% used", short.output())
    assert {state for state, _, policy in events if policy == "KEYS_CHECK"} == {"firing", "resolved"}
    assert {policy for _, _, policy in events} <= {"KEYS_CHECK", "ENTRIES_UPDATE"}
    assert "level=" not in short.output(), "log lines are not for who looks at the demo"


def test_a_reader_that_leaves_ends_the_demo_without_a_word() -> None:
    command = [sys.executable, "-m", "exporter", "demo", "--web.listen-address", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, first, said) == (0, "starting PostgreSQL ...\n", "")
