"""Pages made of parts that are ready: as text, or as one gzip member.

A part that was deflated with a full flush refers to nothing before it and ends at a byte's border, so such parts can be
strung together into one deflate stream. What is left to do at the scrape is the checksum.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import pack
from typing import Final

SLICE_BYTES: Final = 128 * 1024
"""Text per slice: about a millisecond of work where it must be deflated."""

DEFLATED_ALONE_BYTES: Final = 1024
"""Shorter parts are deflated together: a flush after each would cost more than it spares."""

_LEVEL: Final = 1  # higher levels take up to twice the time for 5 % fewer bytes of such lines
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK: Final = b"\x03\x00"


@dataclass(slots=True, eq=False)
class Part:
    """Some lines of one family; ``deflated`` is None until `deflate` was called."""

    text: bytes
    deflated: bytes | None = None

    def deflate(self) -> None:
        """Makes the part ready for gzip pages, where it is long enough."""
        if len(self.text) >= DEFLATED_ALONE_BYTES:
            self.deflated = _deflated(self.text)


def text_page(parts: Iterable[Part]) -> Iterator[bytes]:
    """Yields the page in slices."""
    for some in _slices(parts):
        yield b"".join([part.text for part in some])


def gzip_page(parts: Iterable[Part]) -> Iterator[bytes]:
    """Yields the page in slices of one gzip member."""
    yield _GZIP_HEADER
    checksum = size = 0
    for some in _slices(parts):
        for part in some:
            checksum = zlib.crc32(part.text, checksum)
            size += len(part.text)
        yield b"".join(_deflated_parts(some))
    yield _LAST_BLOCK + pack("<LL", checksum, size & 0xFFFFFFFF)


def _slices(parts: Iterable[Part]) -> Iterator[list[Part]]:
    some: list[Part] = []
    size = 0
    for part in parts:
        some.append(part)
        size += len(part.text)
        if size >= SLICE_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _deflated_parts(parts: list[Part]) -> Iterator[bytes]:
    loose: list[bytes] = []
    for part in parts:
        if part.deflated is None:
            loose.append(part.text)
            continue
        if loose:
            yield _deflated(b"".join(loose))
            loose = []
        yield part.deflated
    if loose:
        yield _deflated(b"".join(loose))


def _deflated(text: bytes) -> bytes:
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(text) + compressor.flush(zlib.Z_FULL_FLUSH)
