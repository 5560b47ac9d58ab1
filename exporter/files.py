"""Files that people name: read whole where they are regular files of sane size, and refused unread otherwise."""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 16_000_000


def read(file: str | Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Returns the content of a file.

    Raises OSError, with a ``strerror`` that says why it cannot be read: also
    where it is a device, a pipe or a folder, or holds more than ``most_bytes``.
    """
    path = Path(file)
    there = path.stat()
    if not stat.S_ISREG(there.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if there.st_size <= most_bytes:
        with path.open("rb") as content:
            found = content.read(most_bytes + 1)  # what the kernel makes up says 0 of its size
        if len(found) <= most_bytes:
            return found
    raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
