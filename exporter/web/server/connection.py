"""One client's connection, with a time limit for each thing that the client must do.

asyncio serves the others meanwhile, so a slow client delays nobody; the limits
are there so that slow clients don't pile up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from exporter.web.server.tls import has_allowed_san

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

    from uvicorn import Config
    from uvicorn.server import ServerState

REQUEST_SECONDS: Final = 10.0
"""From the connection, or a request's first byte, to the request's end."""

RESPONSE_SECONDS: Final = 60.0
"""From the request's end to the client having taken the response."""

IDLE_SECONDS: Final = 120
"""Between requests: longer than scrapes are apart, so that a scraper keeps its connection."""


class Connection(H11Protocol):
    """uvicorn's connection, with limits. ``allowed_sans``: names of which a client's certificate must hold one."""

    def __init__(self, config: Config, state: ServerState, allowed_sans: Collection[str] = ()) -> None:
        super().__init__(config, state, {})
        self.waiting_since = 0.0
        self._allowed_sans = allowed_sans
        self._limit: asyncio.TimerHandle | None = None
        self.responding = False
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not has_allowed_san(transport.get_extra_info("peercert"), self._allowed_sans):
            # What it sent already must not be answered either.
            self._refused = True
            self.abort()
            return
        self._wait(REQUEST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unlimit()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._limit is None:
            self._wait(REQUEST_SECONDS)
        super().data_received(data)

    def handle_events(self) -> None:
        # Also called where a response has ended and the next request was here already.
        super().handle_events()
        if not self.responding and self.conn.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY):
            self.responding = True
            self._set_limit(RESPONSE_SECONDS)

    def on_response_complete(self) -> None:
        self.responding = False
        self._unlimit()
        self.waiting_since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Of a request whose rest is no HTTP: whoever works on it sends nothing more."""
        if self.cycle is not None:  # typed as if it always were there
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # the response had begun
            self.abort()

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: to ask, or to read."""
        return not self.responding or self.flow.write_paused

    def abort(self) -> None:
        """Closes the connection at once, whatever is still to be sent."""
        self._unlimit()
        self.transport.abort()

    def _wait(self, seconds: float) -> None:
        self.waiting_since = self.loop.time()
        self._set_limit(seconds)

    def _set_limit(self, seconds: float) -> None:
        self._unlimit()
        self._limit = self.loop.call_later(seconds, self.abort)

    def _unlimit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
