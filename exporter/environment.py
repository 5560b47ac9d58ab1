"""Variables by which libraries would do other things than the program says: dealt with before they are imported.

The table in docs/configuration.md names them, and those that are left to the libraries, with the reasons.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import MutableMapping

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
"""Taken away at the start, so that child processes do not see them either."""

PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")
"""Where gRPC's connections go, those to the loopback, too."""


def prepare(environment: MutableMapping[str, str] = os.environ, *, optimize: int = sys.flags.optimize) -> list[str]:
    """Takes away the variables in ``IGNORED``; returns the names of those that were set.

    Raises ConfigurationError where Python itself has taken away the texts of ``--help`` and of errors.
    """
    if optimize > 1:
        raise ConfigurationError(
            "PYTHONOPTIMIZE=2 (or python -OO) takes away the texts of --help, of errors and of the configuration's "
            "schema; unset it, or use 1"
        )
    return [name for name in IGNORED if environment.pop(name, "")]


def forget_other_servers(environment: MutableMapping[str, str] = os.environ) -> None:
    """Takes away proxies and libpq's variables: for who uses the servers that it started itself, and no other."""
    for name in [name for name in environment if name in PROXIES or name.startswith("PG")]:
        del environment[name]
