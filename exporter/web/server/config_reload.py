"""The web configuration file and the certificates it names, read again when one of them changed."""

from __future__ import annotations

import socket
from pathlib import Path
from ssl import SSLContext

from exporter import files
from exporter.addresses import listen_addresses
from exporter.config import WebSettings
from exporter.errors import ConfigurationError
from exporter.watched_files import STABLE_SECONDS, WatchedFiles
from exporter.web.server.config_file import WebConfig, load_web_config
from exporter.web.server.tls import server_context


def own_url(settings: WebSettings) -> str | None:
    """Returns where people reach the status page, judging by the settings; None: the system chooses the port."""
    host, port = listen_addresses("web.listen_address", settings.listen_address)[0]
    if not port:
        return None
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared
        host = socket.gethostname()
    try:
        encrypted = WebConfigFile(settings.config_file).read()[1] is not None
    except ConfigurationError:
        encrypted = False  # reported where it is served
    return f"{'https' if encrypted else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


class WebConfigFile:
    """Reads ``path``; None: there is no file, and nothing changes."""

    def __init__(self, path: str | None, stable_seconds: float = STABLE_SECONDS) -> None:
        self._path = path
        self._watched = WatchedFiles(stable_seconds)
        self._held_settings = False

    def read(self) -> tuple[WebConfig, SSLContext | None]:
        """Returns the configuration, and its TLS context (None: plain HTTP).

        Raises ConfigurationError, also where a file that held settings is empty now:
        somebody may be editing it.
        """
        if self._path is None:
            return WebConfig(), None
        self._watched.take([self._path])
        file = Path(self._path)
        config = load_web_config(file)
        if self._held_settings and not files.read(file).strip():
            raise ConfigurationError(f"{self._path}: is empty; where that is meant, write {{}}")
        self._held_settings = config != WebConfig()
        self._watched.add(config.files())
        tls = config.tls_server_config
        return config, server_context(tls, file) if tls is not None else None

    def changed(self) -> bool:
        """Whether a file differs from the last one that was read, or refused, and is no longer being written."""
        return self._watched.changed()
