"""Environment variables that change what libraries do: removed, or given a default, before these are imported.

The table in docs/configuration.md lists them, and those that are left to the libraries, with the reasons.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from typing import Final

from exporter.errors import ConfigurationError

IGNORED: Final = (
    "PROMETHEUS_MULTIPROC_DIR",
    "prometheus_multiproc_dir",
    "PROMETHEUS_LEGACY_NAME_VALIDATION",
    "WEB_CONCURRENCY",
    "PGHOSTADDR",
    "PSYCOPG_IMPL",
    "PSYCOPG_WAIT_FUNC",
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION",
    "SSLKEYLOGFILE",
)
"""Removed at the start, so that child processes do not see them either."""

DEFAULTS: Final = {"GRPC_VERBOSITY": "NONE", "GRPC_ENABLE_FORK_SUPPORT": "0"}
"""Set at the start where they are not: gRPC's core would write lines of its own, and warn of forks."""

PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
"""gRPC sends all its connections there, even those to the loopback interface."""


def prepare(environment: MutableMapping[str, str] = os.environ, *, optimize: int = sys.flags.optimize) -> list[str]:
    """Removes the variables in ``IGNORED``, sets those in ``DEFAULTS``; returns the names of those removed.

    Raises ConfigurationError where Python removes docstrings, which are the texts of ``--help`` and of errors.
    """
    if optimize > 1:
        raise ConfigurationError(
            "PYTHONOPTIMIZE=2 (or python -OO) removes the texts of --help, of errors and of the configuration's "
            "schema; unset it, or use 1"
        )
    for name, value in DEFAULTS.items():
        environment.setdefault(name, value)
    return [name for name in IGNORED if environment.pop(name, "")]


def forget_other_servers(environment: MutableMapping[str, str] = os.environ) -> None:
    """Removes proxies and libpq's variables, for a program that uses only the servers that it has started."""
    for name in [name for name in environment if name in PROXIES or name.startswith("PG")]:
        del environment[name]
