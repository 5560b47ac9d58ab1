"""Why a socket cannot listen, in words."""

from __future__ import annotations

import os
import socket


def reason(error: OSError) -> str:
    """Returns the system's words for ``error``, as the end of a sentence."""
    if isinstance(error, socket.gaierror):
        return str(error.strerror).lower()
    words = os.strerror(error.errno) if error.errno else str(error)
    return words[:1].lower() + words[1:]


def listen_failure(address: str) -> str:
    """Returns why gRPC, which does not say, could not listen on ``host:port`` or ``unix:path``."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        folder = os.path.dirname(path) or "."  # noqa: PTH120 - as it is written
        return "a file of that name exists already" if os.path.exists(path) else f"{folder} cannot be written to"  # noqa: PTH110
    host, _, port = address.rpartition(":")
    try:
        addresses = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, (name, *_) in addresses:
            socket.create_server((name, int(port)), family=family).close()
    except OSError as error:
        return reason(error)
    return "it could not be opened, and can be now: try again"
