"""What a role does not use it does not load."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest


@pytest.mark.parametrize(
    ("modules", "unused"),
    [
        (
            "exporter.cli.main",
            {"grpc", "psycopg", "pulsar", "jinja2", "rich", "starlette", "opentelemetry", "exporter.rules"},
        ),
        (
            "exporter.cli.main, exporter.service, exporter.feed.server, exporter.bridge.client",
            {
                "psycopg",
                "psycopg_pool",
                "pulsar",
                "httpcore",
                "re2",
                "exporter.rules",
                "jinja2",
                "rich",
                "opentelemetry",
                "exporter.store",
            },
        ),
        (
            "exporter.cli.main, exporter.service, exporter.reconciler.reconciler, exporter.feed.client",
            {"httpcore", "jinja2", "rich", "opentelemetry", "exporter.simulator", "exporter.demo.run"},
        ),
        ("exporter.cli.main, exporter.cli.listing", {"prometheus_client", "grpc", "pulsar", "starlette", "jinja2"}),
        (
            "exporter.cli.history, exporter.reconciler.rule_options",
            {"uvicorn", "starlette", "grpc", "pulsar", "psycopg"},
        ),
        ("exporter.cli.main, exporter.cli.preflight", {"uvicorn", "starlette", "grpc", "psycopg", "pulsar"}),
    ],
    ids=["command line", "exporter", "reconciler", "alerts", "history", "config check"],
)
def test_a_role_loads_only_what_it_uses(modules, unused) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys, {modules}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = set(shown.stdout.split())
    assert all(map(find_spec, unused)), "what is gone cannot be loaded"
    assert loaded.isdisjoint(unused)
