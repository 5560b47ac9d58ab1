"""A log where a webhook's receiver stands: each body that is posted becomes a line on stdout.

python alert-log.py PORT
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Log(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sys.stdout.write(f"{self.path} {body.decode(errors='replace')}\n")
        sys.stdout.flush()
        self.do_GET()

    def do_GET(self) -> None:
        # What Slack says; Alertmanager takes anything else from there as a failure.
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Requests are no news: only what is posted is."""


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Log).serve_forever()
