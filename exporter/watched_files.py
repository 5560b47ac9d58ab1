"""Files that are read again when they change: one way to see it, for rules, certificates, web configuration, secrets.

A change is believed when the files stand still: an editor, or a deployment, may
be at them, and a file that was just emptied is not an empty file.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

STANDS_STILL_SECONDS: Final = 3.0
"""How long nobody may have written to a file before it is read again."""

Stamp = tuple[int, int, int]
"""Time of the last change (nanoseconds since 1970), size in bytes, and inode."""


class WatchedFiles:
    """Tells whether files were written, exchanged, removed or added since they were last read.

    Links are followed, so that a folder which is exchanged behind one
    (Kubernetes) is a change of the files in it.
    """

    def __init__(self) -> None:
        self._taken: dict[str, Stamp | None] = {}
        self._seen: dict[str, Stamp | None] | None = None
        self._seen_at = 0.0

    def take(self, names: Iterable[str]) -> None:
        """Notes how the files are. Called before they are read, so that no change in between goes unseen."""
        self._taken = _stamps(names)
        self._seen = None

    def add(self, names: Iterable[str]) -> None:
        """Notes further files."""
        self._taken |= _stamps(names)

    def changed(self, names: Iterable[str] | None = None) -> bool:
        """Returns whether the files differ from those that were taken, and have stood still since last looked at.

        ``names``: which files there are now, where that may have changed.
        """
        now = _stamps(self._taken if names is None else names)
        if now == self._taken:
            self._seen = None
            return False
        if now != self._seen:
            self._seen, self._seen_at = now, time.monotonic()
        # By our own clock: a file's time is another's, or may be as old as whoever copied it wants.
        return time.monotonic() - self._seen_at >= STANDS_STILL_SECONDS

    @property
    def is_restless(self) -> bool:
        """Whether something differs that did not stand still yet when last looked at."""
        return self._seen is not None


def _stamps(names: Iterable[str]) -> dict[str, Stamp | None]:
    return {name: _stamp(name) for name in names}


def _stamp(name: str) -> Stamp | None:
    try:
        status = Path(name).stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
