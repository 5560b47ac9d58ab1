"""What the server relies on of uvicorn, much of it undocumented: an upgrade that changes it fails here, by name."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import Mock

import h11
from uvicorn import Config
from uvicorn.protocols.http import h11_impl
from uvicorn.server import ServerState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Receive, Scope, Send

SETTINGS: Final = (
    *("access_log", "app", "date_header", "h11_max_incomplete_event_size", "http", "interface", "lifespan"),
    *("log_config", "log_level", "proxy_headers", "server_header", "timeout_keep_alive", "ws"),
)
METHODS: Final = {
    "__init__": ("config", "server_state", "app_state"),
    "connection_made": ("transport",),
    "connection_lost": ("exc",),
    "data_received": ("data",),
    "handle_events": (),
    "on_response_complete": (),
    "send_400_response": ("msg",),
    "shutdown": (),
}


async def app(_scope: Scope, _receive: Receive, _send: Send) -> None: ...


def lacking(owner: Any, name: str, *parameters: str) -> Iterator[str]:
    """Yields what a method does not take, or that it does not exist."""
    method = getattr(owner, name, None)
    taken = inspect.signature(method).parameters if method is not None else ()
    if method is None or not taken.keys() >= set(parameters):
        yield f"{owner.__qualname__}.{name}({', '.join(parameters)})"


async def test_uvicorn_has_what_the_server_relies_on():
    lacks = [*lacking(Config, "__init__", *SETTINGS), *lacking(Config, "load")]
    for name, parameters in METHODS.items():
        lacks += lacking(h11_impl.H11Protocol, name, *parameters)
    config, state, transport = Config(app, http=h11_impl.H11Protocol, ws="none", lifespan="auto"), ServerState(), Mock()
    transport.get_extra_info.return_value = None
    config.load()
    lacks += lacking(config.lifespan_class, "__init__", "config")
    lacks += [*lacking(config.lifespan_class, "startup"), *lacking(config.lifespan_class, "shutdown")]

    protocol = h11_impl.H11Protocol(config, state, {})
    protocol.connection_made(transport)
    protocol.data_received(b"POST / HTTP/1.1\r\nHost: exporter\r\nContent-Length: 1\r\n\r\n")
    attributes: dict[tuple[Any, str], object] = {
        (state, "connections"): {protocol},
        (protocol, "loop"): asyncio.get_running_loop(),
        (protocol, "transport"): transport,
        (protocol.conn, "our_state"): h11.SEND_RESPONSE,
        (protocol.flow, "write_paused"): False,
        (protocol.cycle, "disconnected"): False,
        (protocol.cycle, "on_response"): protocol.on_response_complete,
    }
    lacks += [
        f"{type(owner).__name__}.{name}"
        for (owner, name), value in attributes.items()
        if getattr(owner, name, None) != value
    ]
    [responding] = state.tasks
    protocol.cycle.message_event.set()
    await responding

    assert lacks == []
