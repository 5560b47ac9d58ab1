"""One client's connection, with a time limit for each thing that the client must do.

asyncio serves the others meanwhile, so a slow client delays no other; the limits
are there so that slow clients don't pile up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from exporter.web.server.tls import has_allowed_san


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take.

    ``request_seconds`` run from the connection, or a request's first byte, to the request's end; ``response_seconds``
    from there until the client has taken the response. ``idle_seconds``, between requests, are more than scrapes are
    apart, so that a scraper keeps its connection. Beyond ``connections`` the one that has waited longest for its client
    is closed. When the server stops, responses in progress have ``stop_seconds`` to end.
    """

    request_seconds: float = 10.0
    response_seconds: float = 60.0
    idle_seconds: int = 120
    connections: int = 512
    stop_seconds: float = 3.0


class Connection(H11Protocol):
    """uvicorn's connection, with limits. ``allowed_sans``: names of which a client's certificate must hold one."""

    def __init__(self, config: Config, state: ServerState, limits: Limits, allowed_sans: Collection[str] = ()) -> None:
        super().__init__(config, state, {})
        self.waiting_since = 0.0
        self.responding = False
        self._limits = limits
        self._allowed_sans = allowed_sans
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not has_allowed_san(transport.get_extra_info("peercert"), self._allowed_sans):
            # What it sent already must not be answered either.
            self._refused = True
            self.abort()
            return
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._timer is None:
            self._await_request()
        super().data_received(data)

    def handle_events(self) -> None:
        # Also called where a response has ended and the next request was here already.
        super().handle_events()
        if not self.responding and self.conn.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY):
            self.responding = True
            self._start_timer(self._limits.response_seconds)

    def on_response_complete(self) -> None:
        self.responding = False
        self._stop_timer()
        self.waiting_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuses a request whose rest is no HTTP: the app, which may be at work on it, sends nothing more."""
        if self.cycle is not None:  # typed as if it always existed
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # the response had begun
            self.abort()

    @property
    def awaits_client(self) -> bool:
        """Whether it is the client's turn: to send a request, or to read."""
        return not self.responding or self.flow.write_paused

    def abort(self) -> None:
        """Closes the connection at once, whatever is still to be sent."""
        self._stop_timer()
        self.transport.abort()

    def _await_request(self) -> None:
        self.waiting_since = self.loop.time()
        self._start_timer(self._limits.request_seconds)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
