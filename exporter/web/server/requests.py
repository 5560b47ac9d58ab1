"""What HTTP asks of a request beyond what the parser checks (RFC 9112), and which resource its target names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from starlette.types import Scope

HEAD_BYTES: Final = 16 * 1024
"""The longest request line and headers together."""

_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[\w.~%!$&'()*+;=-]*)(?::\d*)?"
_AUTHORITY: Final = re.compile(_HOST, re.ASCII)
_ABSOLUTE: Final = re.compile(rf"https?://(?P<authority>(?!:|/|$){_HOST})(?P<path>/.*)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused, and with which status."""

    status: int
    reason: str


def validate(scope: Scope) -> Scope | Refusal:
    """Returns the request with its target as a path, or why it is refused.

    The authority of a target in absolute form, as clients send it to proxies,
    takes the place of the Host header (RFC 9112, 3.2.2).
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if not scope["http_version"].startswith("1."):
        return Refusal(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here")
    if b"transfer-encoding" in headers:
        # A proxy may see another request than we do (RFC 9112, 6.1).
        if b"content-length" in headers:
            return Refusal(400, "Both Content-Length and Transfer-Encoding")
        if scope["http_version"] == "1.0":
            return Refusal(400, "Transfer-Encoding is not known to HTTP/1.0")
    if _head_bytes(scope) > HEAD_BYTES:
        return Refusal(431, f"The request's head has more than {HEAD_BYTES} bytes")
    if not _AUTHORITY.fullmatch(headers.get(b"host", b"").decode("latin-1")):
        return Refusal(400, "The Host header is no host and port")
    return _with_a_path(scope)


def _with_a_path(scope: Scope) -> Scope | Refusal:
    target = scope["raw_path"].decode("ascii")
    if target.startswith("/") or (target == "*" and scope["method"] == "OPTIONS"):
        return scope
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or scope["method"] == "CONNECT":
        return Refusal(400, "The request's target is no path and no http:// URL; this is no proxy")
    path = absolute["path"] or "/"
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return dict(scope) | {
        "path": unquote(path),
        "raw_path": path.encode(),
        "headers": [(b"host", absolute["authority"].encode()), *others],
    }


def _head_bytes(scope: Scope) -> int:
    line = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"])
    return line + sum(len(name) + len(value) + 4 for name, value in scope["headers"])
