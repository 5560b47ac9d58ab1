"""The HTTP server on a real socket, and connections to it that a test writes itself."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from exporter.config.settings import WebSettings
from exporter.web.server.connection import Limits
from exporter.web.server.server import WebServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

WAIT_SECONDS = 30


def settings(address: str = "127.0.0.1:0", **others: Any) -> WebSettings:
    return WebSettings(listen_address=address, **others)


@asynccontextmanager
async def serving(
    app: ASGIApp, web: WebSettings | None = None, *, reload_seconds: float = 2.0, **limits: Any
) -> AsyncIterator[WebServer]:
    """Only the limit that a test sets ends a connection: none of the others does its work for it."""
    patient = {"request_seconds": 3600, "response_seconds": 3600}
    server = WebServer(app, web or settings(), Limits(**patient | limits), reload_seconds=reload_seconds)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def connect(
    server: WebServer, context: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = server.addresses[0].rpartition(":")
    return await asyncio.open_connection(host, int(port), ssl=context, limit=1024)


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Returns what came until the server closed the connection."""
    answer = b""
    async with asyncio.timeout(WAIT_SECONDS):
        with suppress(ConnectionError, ssl.SSLError):
            while part := await reader.read(65536):
                answer += part
    return answer
