"""A DNS server for one name, whose address changes as a test says."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_HEADER = struct.Struct("!HHHHHH")
_ANSWER = struct.Struct("!HHHIH")
_TYPE_A = 1
_OK, _NO_SUCH_NAME = 0x8180, 0x8183


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with ``address``; None: there is no such name."""

    def __init__(self) -> None:
        self.address: str | None = None
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, query: bytes, asker: tuple[str, int]) -> None:
        end = query.index(b"\0", _HEADER.size) + 5
        question, kind = query[_HEADER.size : end], struct.unpack("!H", query[end - 4 : end - 2])[0]
        answer = b""
        if self.address is not None and kind == _TYPE_A:
            address = socket.inet_aton(self.address)
            answer = _ANSWER.pack(0xC00C, _TYPE_A, 1, 1, len(address)) + address
        flags = _NO_SUCH_NAME if self.address is None else _OK
        header = _HEADER.pack(struct.unpack("!H", query[:2])[0], flags, 1, bool(answer), 0, 0)
        self._transport.sendto(header + question + answer, asker)


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
