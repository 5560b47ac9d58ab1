"""A TCP connection that a test can cut, or make deaf, between a client and a server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class Wire:
    """Forwards ``port`` to ``target_port``, both on 127.0.0.1, while it is entered."""

    def __init__(self, port: int, target_port: int) -> None:
        self.connections = 0
        self.port = port
        self._target_port = target_port
        self._cut_at_next_answer = False
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self._cut()
        await self._server.wait_closed()

    def cut_at_next_answer(self) -> None:
        """Swallows the next bytes that the server sends, and ends the connection in their place."""
        self._cut_at_next_answer = True

    def forget(self) -> None:
        """Swallows what the connections carry from now on and tells neither end, as a host that vanished does."""
        self._forgotten |= self._writers

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.close()

    async def _carry(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self.connections += 1
        server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port)
        mine = {to_client, to_server}
        self._writers |= mine
        try:
            await asyncio.gather(self._pump(client, to_server), self._pump(server, to_client, from_server=True))
        finally:
            self._writers -= mine

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, from_server: bool = False
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if sink in self._forgotten:
                    continue
                if from_server and self._cut_at_next_answer:
                    self._cut_at_next_answer = False
                    self._cut()
                    return
                sink.write(data)
                await sink.drain()
        sink.close()
