"""Ports for servers that must be told theirs before they start."""

from __future__ import annotations

import random
import socket

# Below what Linux gives to outgoing connections (net.ipv4.ip_local_port_range): a port that is free
# now cannot become a client's until its server listens, however long that takes.
_CHOICE = range(10_000, 32_000)
_given: set[int] = set()


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nobody listens on, and that this process has not been given before."""
    while True:
        port = random.choice(_CHOICE)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
