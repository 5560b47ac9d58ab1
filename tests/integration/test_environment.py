"""Processes in whose environment libraries are told to do something else."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from exporter.environment import IGNORED
from tests.support.program import ROOT, Bridge, Program, json_lines, programs, wait_until

if TYPE_CHECKING:
    from pathlib import Path


def hostile(folder: Path) -> dict[str, str]:
    """Values with which, each by itself, the program would end, or keep its metrics elsewhere."""
    return {
        "PROMETHEUS_MULTIPROC_DIR": str(folder / "absent"),
        "prometheus_multiproc_dir": str(folder / "absent"),
        "PROMETHEUS_LEGACY_NAME_VALIDATION": "true",
        "WEB_CONCURRENCY": "auto",
        "PGHOSTADDR": "127.0.0.9",
        "PSYCOPG_IMPL": "absent",
        "PSYCOPG_WAIT_FUNC": "wait_absent",
        "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "cpp",
        "SSLKEYLOGFILE": str(folder / "keys"),
    }


def test_variables_of_libraries_change_nothing_and_are_named(tmp_path, monkeypatch) -> None:
    settings = hostile(tmp_path)
    assert set(settings) == set(IGNORED)
    with programs() as start:
        bridge = start(Bridge(tmp_path))
        with monkeypatch.context() as around:  # not around this process: its HTTP client would obey
            for name, value in settings.items():
                around.setenv(name, value)
            around.setenv("PROMETHEUS_DISABLE_CREATED_SERIES", "false")
            exporter = start(Program("exporter", **bridge.settings))
        exporter.ready()

        wait_until(lambda: exporter.metric("dict_rate_limit_up") == 1, what="a poll")

        assert exporter.metric("dict_rate_limit_monitoring_duration_seconds_count", operation="poll")
        assert not [name for name, _, _ in exporter.samples() if name.endswith("_created")]
        said = [line["variable"] for line in json_lines(exporter.output(0)) if "variable" in line]
        assert said == list(IGNORED)
        assert exporter.stop() == 0
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("scenario")] == []


def test_a_variable_that_opentelemetry_refuses_ends_the_start_with_one_line(monkeypatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "0")
    with programs() as start:
        bridge = {"PARTICIPANTS": "12345678", "BRIDGE__TARGET": "127.0.0.1:1", "BRIDGE__INSECURE": "true"}
        exporter = start(Program("exporter", **bridge, TRACING__OTLP_ENDPOINT="http://127.0.0.1:1"))

        assert exporter.wait() == 2
        (line,) = exporter.output(0).splitlines()
        assert line.startswith("dict-rate-limit: tracing: OpenTelemetry cannot start: ")
        assert line.endswith(": OTEL_BSP_SCHEDULE_DELAY")


@pytest.mark.postgres
def test_the_dsn_says_which_server_is_meant_and_psycopg_is_ours(tmp_path, database_dsn) -> None:
    given = {**os.environ, **hostile(tmp_path), "DICT_RATE_LIMIT_DATABASE__DSN": database_dsn}

    done = subprocess.run(
        [sys.executable, "-m", "exporter", "alerts"],
        env=given,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert "variable=PGHOSTADDR" in done.stderr
    assert "variable=PSYCOPG_IMPL" in done.stderr
