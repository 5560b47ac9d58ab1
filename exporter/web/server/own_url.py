"""Where people reach this program, judging by its settings alone."""

from __future__ import annotations

import socket

from exporter.addresses import listen_addresses
from exporter.config.settings import WebSettings
from exporter.errors import ConfigurationError
from exporter.web.server.tls import WebConfigFile


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
    return f"{'https' if encrypted else 'http'}://{written_address(host, port)}"


def written_address(host: str, port: int) -> str:
    """Returns host and port as a URL has them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
