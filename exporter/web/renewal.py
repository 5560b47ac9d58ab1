"""The web configuration file and the certificates it names, read again when one of them changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from exporter.web.config_file import WebConfig, load_web_config
from exporter.web.tls import server_context

if TYPE_CHECKING:
    from ssl import SSLContext


class WebConfigFile:
    """Reads ``path``; None: there is none, and nothing changes."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._read: dict[str, tuple[int, int, int] | None] = {}

    def read(self) -> tuple[WebConfig, SSLContext | None]:
        """Returns the configuration, and its TLS context (None: plain HTTP). Raises ConfigurationError."""
        if self._path is None:
            return WebConfig(), None
        # Noted before it is read, so that no change in between goes unseen.
        self._read = {self._path: _stamp(self._path)}
        file = Path(self._path)
        config = load_web_config(file)
        self._read |= {name: _stamp(name) for name in config.files()}
        tls = config.tls_server_config
        return config, server_context(tls, file) if tls is not None else None

    def changed(self) -> bool:
        """Whether a file was written, exchanged or removed since it was last read, or tried."""
        return any(_stamp(name) != stamp for name, stamp in self._read.items())


def _stamp(name: str) -> tuple[int, int, int] | None:
    try:
        status = Path(name).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
