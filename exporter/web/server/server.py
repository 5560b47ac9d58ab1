"""The HTTP server: its sockets, its configuration file, and uvicorn's connections in our own loop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from ssl import SSLContext
from typing import Final, cast

from starlette.types import ASGIApp
from uvicorn import Config
from uvicorn.server import ServerState

from exporter.addresses import listen_addresses, socket_reason
from exporter.config.settings import WebSettings
from exporter.errors import ConfigurationError
from exporter.web.server.config_file import WebConfig
from exporter.web.server.connection import Connection, Limits
from exporter.web.server.guard import HEAD_BYTES, Guard
from exporter.web.server.own_url import written_address
from exporter.web.server.tls import WebConfigFile, remarks

log = logging.getLogger(__name__)

BACKLOG: Final = 1024


class WebServer:
    """Serves an app on ``addresses``, those of the settings with their real ports, from ``start`` to ``stop``.

    Every ``reload_seconds`` the web configuration file, and what it names, are looked at for changes.
    """

    def __init__(
        self, app: ASGIApp, settings: WebSettings, limits: Limits | None = None, *, reload_seconds: float = 2.0
    ) -> None:
        self.addresses: list[str] = []
        self._settings = settings
        self._limits = limits or Limits()
        self._reload_seconds = reload_seconds
        self._file = WebConfigFile(settings.config_file)
        self._guard = Guard(app)
        self._state = ServerState()
        self._config = Config(
            self._guard,
            http=Connection,
            ws="none",
            lifespan="auto",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=self._limits.idle_seconds,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        self._config.load()
        self._listeners: list[socket.socket] = []
        self._context: SSLContext | None = None
        self._connecting: dict[asyncio.Task[None], socket.socket] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._lifespan = self._config.lifespan_class(self._config)

    @property
    def connections(self) -> set[Connection]:
        """The open ones."""
        return cast("set[Connection]", self._state.connections)

    async def start(self) -> None:
        """Listens. Raises ConfigurationError where it cannot."""
        self._apply(*self._file.read())
        self._listeners = await asyncio.to_thread(open_listeners, self._settings.listen_address)
        self.addresses = [address_of(listener) for listener in self._listeners]
        await self._lifespan.startup()
        self._tasks = [asyncio.create_task(self._accept(listener)) for listener in self._listeners]
        self._tasks.append(asyncio.create_task(self._reload_on_change()))

    async def stop(self) -> None:
        """Stops listening, lets responses in progress end, and closes every connection."""
        for task in (*self._tasks, *self._connecting):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._connecting, return_exceptions=True)
        for listener in self._listeners:
            listener.close()
        for connection in list(self.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.stop_seconds):
                while self._state.tasks:
                    await asyncio.wait(self._state.tasks)
        for connection in list(self.connections):
            connection.abort()
        for response in list(self._state.tasks):
            response.cancel()
        await self._lifespan.shutdown()

    def _apply(self, config: WebConfig, context: SSLContext | None) -> None:
        """Serves new connections by this configuration; open ones keep their TLS session."""
        self._guard.config = config
        self._context = context
        for remark in remarks(config):
            log.warning(
                "setting of the web configuration has no effect",
                extra={"file": self._settings.config_file, "remark": remark},
            )

    async def _accept(self, listener: socket.socket) -> None:
        """Accepts connections, each handled in a task: a client that is slow with its handshake delays no other."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as error:
                # Too many open files, or a client that is gone already.
                log.warning("connection not accepted", extra={"error": str(error)})
                self._make_room(1)
                await asyncio.sleep(0.1)
                continue
            self._make_room(self._limits.connections)
            connecting = asyncio.create_task(self._connect(accepted))
            self._connecting[connecting] = accepted
            connecting.add_done_callback(self._connected)
            # One at a time: many new clients do not keep those that are connected waiting.
            await asyncio.sleep(0)

    async def _connect(self, accepted: socket.socket) -> None:
        tls = self._guard.config.tls_server_config
        allowed_sans = tls.client_allowed_sans if tls is not None else ()
        # What fails here is the client's handshake.
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._config, self._state, self._limits, allowed_sans),
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.request_seconds if self._context is not None else None,
            )

    def _connected(self, connecting: asyncio.Task[None]) -> None:
        accepted = self._connecting.pop(connecting)
        if connecting.cancelled():
            accepted.close()

    def _make_room(self, limit: int) -> None:
        """Closes the connection that has waited longest for its client, where ``limit`` or more are open."""
        if len(self._connecting) + len(self.connections) < limit:
            return
        if self._connecting:
            next(iter(self._connecting)).cancel()
        elif waiting := [connection for connection in self.connections if connection.awaits_client]:
            min(waiting, key=lambda connection: connection.waiting_since).abort()

    async def _reload_on_change(self) -> None:
        """Reads the web configuration again whenever it, or a certificate, changed. Ends by cancellation."""
        while True:
            await asyncio.sleep(self._reload_seconds)
            if not self._file.changed():
                continue
            try:
                changed = self._file.read()
            except ConfigurationError as error:
                log.error("web configuration not reloaded, the running one stays", extra={"error": str(error)})  # noqa: TRY400
            else:
                self._apply(*changed)
                log.info("web configuration reloaded")


def open_listeners(addresses: str, key: str = "web.listen_address") -> list[socket.socket]:
    """Returns listening sockets for ``host:port``, several separated by commas; errors name the ``key``.

    An IPv6 host is written in brackets. No host, and ``[::]`` too as in Prometheus, mean every interface, of IPv4 as
    well. Raises ConfigurationError, and listens on nothing then.
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
                raise ConfigurationError(
                    f"{key}: cannot listen on {written_address(host, port)}: {socket_reason(error)}"
                ) from error
        opened.pop_all()
    return listeners


def address_of(listener: socket.socket) -> str:
    """Returns the address of a listening socket as ``host:port``, with the port that it really has."""
    return written_address(*listener.getsockname()[:2])


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
