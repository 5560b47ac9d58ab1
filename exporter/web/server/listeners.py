"""Listening sockets from addresses as they are written in the configuration."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Final

from exporter.addresses import listen_addresses
from exporter.errors import ConfigurationError
from exporter.sockets import reason

BACKLOG: Final = 1024


KEY: Final = "web.listen_address"


def listen(addresses: str, key: str = KEY) -> list[socket.socket]:
    """Returns listening sockets for ``host:port``, several separated by commas; errors name the ``key``.

    An IPv6 host is written in brackets. No host, and ``[::]`` too as in Prometheus,
    mean every interface, of IPv4 as well. Raises ConfigurationError, and listens on
    nothing then.
    """
    parsed = listen_addresses(key, addresses)
    with ExitStack() as opened:
        made: list[socket.socket] = []
        for host, port in parsed:
            of_both = host in ("", "::") and ("0.0.0.0", port) not in parsed  # noqa: S104 - what was asked for
            try:
                sockets = _bind("" if of_both else host, port)
            except OSError as error:
                address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                raise ConfigurationError(f"{key}: cannot listen on {address}: {reason(error)}") from error
            for one in sockets:
                opened.enter_context(one).setblocking(False)
            made += sockets
        opened.pop_all()
        return made


def written(listening: socket.socket) -> str:
    """Returns the address of a listening socket as ``host:port``, with the port that it really has."""
    host, port, *_ = listening.getsockname()
    return f"[{host}]:{port}" if listening.family is socket.AF_INET6 else f"{host}:{port}"


def _bind(host: str, port: int) -> list[socket.socket]:
    if not host:
        if socket.has_dualstack_ipv6():
            return [socket.create_server(("::", port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)]
        return [socket.create_server(("0.0.0.0", port), backlog=BACKLOG)]  # noqa: S104 - what was asked for
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    with ExitStack() as opened:
        made: list[socket.socket] = []
        for family, _, _, _, (name, *_) in dict.fromkeys(found):
            one = socket.create_server((name, port), family=family, backlog=BACKLOG)
            made.append(opened.enter_context(one))
            # A name with several addresses listens on one port of all of them.
            port = one.getsockname()[1]
        opened.pop_all()
        return made
