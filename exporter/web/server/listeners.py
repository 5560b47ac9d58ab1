"""Listening sockets from addresses as they are written in the configuration."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from exporter.addresses import listen_addresses, socket_reason
from exporter.errors import ConfigurationError

BACKLOG: Final = 1024


def open_listeners(addresses: str, key: str = "web.listen_address") -> list[socket.socket]:
    """Returns listening sockets for ``host:port``, several separated by commas; errors name the ``key``.

    An IPv6 host is written in brackets. No host, and ``[::]`` too as in Prometheus,
    mean every interface, of IPv4 as well. Raises ConfigurationError, and listens on
    nothing then.
    """
    parsed = listen_addresses(key, addresses)
    listeners: list[socket.socket] = []
    with ExitStack() as opened:
        for host, port in parsed:
            of_ipv6_only = ("0.0.0.0", port) in parsed  # noqa: S104 - as configured
            every_interface = not host or (host == "::" and not of_ipv6_only)
            try:
                for listener in _every_interface(port) if every_interface else _resolved(host, port):
                    opened.enter_context(listener).setblocking(False)
                    listeners.append(listener)
            except OSError as error:
                address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                raise ConfigurationError(f"{key}: cannot listen on {address}: {socket_reason(error)}") from error
        opened.pop_all()
    return listeners


def address_of(listener: socket.socket) -> str:
    """Returns the address of a listening socket as ``host:port``, with the port that it really has."""
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if listener.family is socket.AF_INET6 else f"{host}:{port}"


def _every_interface(port: int) -> Iterator[socket.socket]:
    if socket.has_dualstack_ipv6():
        yield socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    else:
        yield socket.create_server(("0.0.0.0", port), backlog=BACKLOG)  # noqa: S104 - as configured


def _resolved(host: str, port: int) -> Iterator[socket.socket]:
    """Yields a socket for each address of a name, all on one port."""
    resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, _, _, _, (name, *_) in dict.fromkeys(resolved):
        listener = socket.create_server((name, port), family=family, backlog=BACKLOG)
        port = listener.getsockname()[1]
        yield listener
