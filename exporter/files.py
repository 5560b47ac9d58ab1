"""Files: those named in the configuration, read whole where that is sane; standard output, discarded."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

MOST_BYTES: Final = 16_000_000
STDOUT: Final = 1


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


def discard_stdout() -> None:
    """Discards further output, whose reader left: at exit, Python would try to write the rest, and print an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
