"""Standard output after its reader has left."""

from __future__ import annotations

import os
from typing import Final

STDOUT: Final = 1


def discard() -> None:
    """Discards further output: at exit, Python would try to write what is buffered, and print an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
