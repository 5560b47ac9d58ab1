"""A server that takes alerts as Alertmanager does, and does what a test tells it."""

from __future__ import annotations

import json
import ssl
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.config.settings import TlsSettings


class StandInAlertmanager:
    """``answer`` returns status, headers and text for a request's headers and alerts; ``posts`` are those it took."""

    def __init__(self, tls: TlsSettings | None = None) -> None:
        self.posts: list[list[dict[str, Any]]] = []
        self.requests: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.answer: Callable[[list[dict[str, Any]]], tuple[int, dict[str, str], str]] = lambda _: (200, {}, "")
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                alerts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, headers, text = stand_in.answer(alerts)
                stand_in.requests.append(dict(self.headers))
                stand_in.paths.append(self.path)
                if status == 200:
                    stand_in.posts.append(alerts)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *arguments: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            assert tls.cert_file is not None
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls.ca_file)
            context.load_cert_chain(tls.cert_file, tls.key_file)
            context.verify_mode = ssl.CERT_REQUIRED
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'' if tls is None else 's'}://127.0.0.1:{self.server.server_port}"

    def names(self) -> list[str]:
        """The alerts that it took, in order, by name."""
        return [alert["labels"]["alertname"] for post in self.posts for alert in post]

    def refuse(self, *names: str, status: int = 400) -> None:
        """From now on it takes no list that holds one of these."""

        def answer(alerts: list[dict[str, Any]]) -> tuple[int, dict[str, str], str]:
            found = {alert["labels"]["alertname"] for alert in alerts} & set(names)
            return (status, {}, f"bad: {', '.join(sorted(found))}") if found else (200, {}, "")

        self.answer = answer

    def say(self, status: int, text: str = "", **headers: str) -> None:
        """From now on it answers this."""
        self.answer = lambda _: (status, headers, text)

    def hang(self, seconds: float) -> None:
        """From now on it answers late."""

        def answer(_: list[dict[str, Any]]) -> tuple[int, dict[str, str], str]:
            time.sleep(seconds)
            return 200, {}, ""

        self.answer = answer


@contextmanager
def stand_in(tls: TlsSettings | None = None) -> Iterator[StandInAlertmanager]:
    made = StandInAlertmanager(tls)
    threading.Thread(target=made.server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
