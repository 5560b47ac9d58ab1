"""The HTTP server: uvicorn's connections in our own loop, without its signal handlers."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from uvicorn import Config
from uvicorn.server import ServerState

from exporter.errors import ConfigurationError
from exporter.web.server.config_reload import WebConfigFile
from exporter.web.server.connection import IDLE_SECONDS, REQUEST_SECONDS, Connection
from exporter.web.server.guard import Guard
from exporter.web.server.listeners import listen, written
from exporter.web.server.requests import HEAD_BYTES
from exporter.web.server.tls import remarks

if TYPE_CHECKING:
    import socket
    from ssl import SSLContext

    from starlette.types import ASGIApp

    from exporter.config import WebSettings
    from exporter.web.server.config_file import WebConfig

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 512
"""Beyond it the connection that has waited longest for its client is closed."""

STOP_SECONDS: Final = 3.0
"""Responses in progress may take so long to end."""

LOOK_SECONDS: Final = 2.0
"""How often the web configuration file, and what it names, is looked at for changes."""


class WebServer:
    """Serves an app on the addresses of the settings. ``addresses`` are known after ``start``."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self.addresses: list[str] = []
        self._settings = settings
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
            timeout_keep_alive=IDLE_SECONDS,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        self._config.load()
        self._sockets: list[socket.socket] = []
        self._context: SSLContext | None = None
        self._connecting: dict[asyncio.Task[None], socket.socket] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._lifespan = self._config.lifespan_class(self._config)

    @property
    def connections(self) -> set[Connection]:
        """Those that are open now."""
        return cast("set[Connection]", self._state.connections)

    async def start(self) -> None:
        """Listens. Raises ConfigurationError where it cannot."""
        self._take_over(*self._file.read())
        self._sockets = await asyncio.to_thread(listen, self._settings.listen_address)
        self.addresses = [written(one) for one in self._sockets]
        await self._lifespan.startup()
        self._tasks = [asyncio.create_task(self._accept(one)) for one in self._sockets]
        self._tasks.append(asyncio.create_task(self._follow()))

    async def stop(self) -> None:
        """Stops listening, lets responses in progress end, and closes every connection."""
        for task in (*self._tasks, *self._connecting):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._connecting, return_exceptions=True)
        for listening in self._sockets:
            listening.close()
        for connection in list(self.connections):
            connection.shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                while self._state.tasks:
                    await asyncio.wait(self._state.tasks)
        for connection in list(self.connections):
            connection.abort()
        for responding in list(self._state.tasks):
            responding.cancel()
        await self._lifespan.shutdown()

    def _take_over(self, config: WebConfig, context: SSLContext | None) -> None:
        """Serves new connections by this configuration; those that are open keep their TLS session."""
        self._guard.config = config
        self._context = context
        for remark in remarks(config):
            log.warning("%s: %s", self._settings.config_file, remark)

    async def _accept(self, listening: socket.socket) -> None:
        """Accepts connections, each handled by itself: a client that is slow with its handshake delays nobody."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError as error:
                # Too many open files, or a client that is gone already.
                log.warning("a connection was not accepted: %s", error)
                self._make_room(1)
                await asyncio.sleep(0.1)
                continue
            self._make_room(MAX_CONNECTIONS)
            connecting = asyncio.create_task(self._connect(accepted))
            self._connecting[connecting] = accepted
            connecting.add_done_callback(self._connected)
            # One at a time: a crowd at the door does not keep those inside waiting.
            await asyncio.sleep(0)

    async def _connect(self, accepted: socket.socket) -> None:
        tls = self._guard.config.tls_server_config
        allowed_sans = tls.client_allowed_sans if tls is not None else ()
        # What fails here is the client's handshake.
        with suppress(OSError):
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._config, self._state, allowed_sans),
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=REQUEST_SECONDS if self._context is not None else None,
            )

    def _connected(self, connecting: asyncio.Task[None]) -> None:
        accepted = self._connecting.pop(connecting)
        if connecting.cancelled():
            accepted.close()

    def _make_room(self, limit: int) -> None:
        """Closes the connection that keeps us waiting longest, where ``limit`` or more are open."""
        if len(self._connecting) + len(self.connections) < limit:
            return
        if self._connecting:
            next(iter(self._connecting)).cancel()
            return
        waiting = [connection for connection in self.connections if connection.waits]
        if waiting:
            min(waiting, key=lambda connection: connection.waiting_since).abort()

    async def _follow(self) -> None:
        """Reads the web configuration again whenever it, or a certificate, changed. Ends by cancellation."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._file.changed():
                continue
            try:
                read = self._file.read()
            except ConfigurationError as error:
                log.error("web configuration not reloaded, the running one stays: %s", error)  # noqa: TRY400
                continue
            self._take_over(*read)
            log.info("web configuration reloaded")
