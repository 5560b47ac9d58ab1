"""What a failed test says of the servers beside it: which, where, and what they wrote meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN = 4000


@dataclass
class _Server:
    name: str
    address: str
    log: Path
    seen: int = 0
    """Characters of the log that are older than the test."""


_servers: dict[Path, _Server] = {}


def announce(name: str, address: str, log: Path) -> None:
    """From now on a test that fails names this server, and shows the end of its log."""
    if log not in _servers:
        _servers[log] = _Server(name, address, log)


def withdraw(log: Path) -> None:
    """It is gone, as it should be."""
    _servers.pop(log, None)


def begin_test() -> None:
    """What was written until now is not shown; servers whose log is gone are no longer named."""
    for log, server in list(_servers.items()):
        if log.exists():
            server.seen = log.stat().st_size
        else:
            del _servers[log]


def report() -> str:
    """Returns each server's name, address and log, and the end of what it has written since the test began."""
    return "\n".join(_described(server) for server in _servers.values())


def _described(server: _Server) -> str:
    head = f"{server.name} at {server.address}, log {server.log}"
    try:
        with server.log.open("rb") as log:
            log.seek(server.seen)
            said = log.read().decode(errors="replace").strip()
    except OSError as error:
        return f"{head}: {error}"
    return f"{head}:\n{said[-_SHOWN:]}\n" if said else f"{head}: nothing new"
