"""Files named in the configuration: read whole where they are regular files of sane size, otherwise refused."""

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
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    if status.st_size <= most_bytes:
        with path.open("rb") as file_object:
            content = file_object.read(most_bytes + 1)  # the size of files in /proc is 0
        if len(content) <= most_bytes:
            return content
    raise OSError(errno.EFBIG, f"it has more than {most_bytes:,} bytes")
