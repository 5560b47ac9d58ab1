"""Files that are read again when they change: rules, certificates, web configuration, secrets.

A change counts once the files are stable: an editor, or a deployment, may still be
writing them, and a file that was just truncated is not an empty file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

STABLE_SECONDS: Final = 3.0
"""How long a file must be unchanged before it is read again."""

Stamp = tuple[int, int, int]
"""Time of the last change (nanoseconds since 1970), size in bytes, and inode."""


class WatchedFiles:
    """Says whether files were written, replaced, removed or added since they were last read.

    Links are followed, so that a folder which is replaced behind one
    (Kubernetes) is a change of the files in it. ``monotonic`` gives seconds.
    """

    def __init__(self, stable_seconds: float = STABLE_SECONDS, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._stable_seconds = stable_seconds
        self._monotonic = monotonic
        self._noted: dict[str, Stamp | None] = {}
        self._seen: dict[str, Stamp | None] | None = None
        self._seen_at = 0.0

    def take(self, names: Iterable[str]) -> None:
        """Notes the state of the files. To be called before they are read, so that no change in between is missed."""
        self._noted = _stamps(names)
        self._seen = None

    def add(self, names: Iterable[str]) -> None:
        """Notes further files."""
        self._noted |= _stamps(names)

    def changed(self, names: Iterable[str] | None = None) -> bool:
        """Returns whether the files differ from how they were noted, and have been stable since the last call.

        ``names``: the files that exist now, where that may have changed.
        """
        now = _stamps(self._noted if names is None else names)
        if now == self._noted:
            self._seen = None
            return False
        if now != self._seen:
            self._seen, self._seen_at = now, self._monotonic()
        # By our own clock: a file's time may come from another host, or be kept by a copy.
        return self._monotonic() - self._seen_at >= self._stable_seconds

    @property
    def is_restless(self) -> bool:
        """Whether something differs that was not yet stable at the last call."""
        return self._seen is not None


def _stamps(names: Iterable[str]) -> dict[str, Stamp | None]:
    return {name: _stamp(name) for name in names}


def _stamp(name: str) -> Stamp | None:
    try:
        status = Path(name).stat()
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
