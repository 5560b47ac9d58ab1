"""Ports for servers that must be told theirs before they start."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below what Linux gives to outgoing connections (net.ipv4.ip_local_port_range): a port that is free
# now cannot become a client's until its server listens, however long that takes.
_ALL = range(10_000, 32_000)
_BLOCK = 200


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nobody listens on, and that no test of this machine has been given."""
    return next(port for port in _ports if _is_free(port))


def _own_ports() -> Iterator[int]:
    """Yields the ports of one block after the other, each claimed from all other processes of tests."""
    ownership = []
    for first in _ALL[::_BLOCK]:
        claim = socket.socket(socket.AF_UNIX)
        try:
            # A name, not a file: it is given back when this process ends, however it ends.
            claim.bind(f"\0dict-rate-limit-test-ports-{first}")
        except OSError:
            claim.close()
        else:
            ownership.append(claim)
            yield from range(first, first + _BLOCK)
    raise RuntimeError(f"all ports of {_ALL} are claimed: do other test runs hang?")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


_ports = _own_ports()
