"""Where Alertmanager's notifications arrive, and an HTTP server that never answers."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Arrived:
    """One alert of a notification, and when that came."""

    at: datetime
    alert: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.alert["labels"]["alertname"])

    @property
    def status(self) -> str:
        return str(self.alert["status"])


class Webhook:
    """Keeps the alerts that Alertmanager notifies of, in order."""

    def __init__(self) -> None:
        arrived: list[Arrived] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                at = datetime.now(UTC)
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                arrived.extend(Arrived(at, alert) for alert in body["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self.arrived = arrived
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, alertname: str, status: str) -> list[Arrived]:
        return [one for one in self.arrived if (one.name, one.status) == (alertname, status)]

    def configuration(self, folder: Path) -> Path:
        """Returns an alertmanager.yml that hands every alert on at once, each by itself."""
        file = folder / "alertmanager.yml"
        route = {
            "receiver": "webhook",
            "group_by": ["..."],
            "group_wait": "0s",
            "group_interval": "1s",
            "repeat_interval": "1h",
        }
        webhook = {"url": f"http://127.0.0.1:{self._server.server_port}/", "send_resolved": True}
        receivers = [{"name": "webhook", "webhook_configs": [webhook]}]
        file.write_text(yaml.safe_dump({"route": route, "receivers": receivers}))
        return file

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def silence() -> Iterator[str]:
    """Yields the address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
