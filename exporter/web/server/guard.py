"""Stands before the app: refuses requests that are malformed or forbidden, and adds the headers of every answer."""

from __future__ import annotations

import asyncio
import binascii
import math
import os
import re
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.web.server.config_file import RateLimit, WebConfig

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

HEAD_BYTES: Final = 16 * 1024
"""The longest request line and headers together."""

_HOST: Final = r"(?:\[[0-9A-Fa-f:.]+\]|[\w.~%!$&'()*+;=-]*)(?::\d*)?"
_AUTHORITY: Final = re.compile(_HOST, re.ASCII)
_ABSOLUTE: Final = re.compile(rf"https?://(?P<authority>(?!:|/|$){_HOST})(?P<path>/.*)?", re.ASCII | re.IGNORECASE)

_BCRYPT_BYTES: Final = 72
"""bcrypt reads no more of a password."""

_UNKNOWN_USER_HASH: Final = "$2b$10$" + "." * 53
"""What an unknown user's password is compared with, so that it takes as long as a known one's."""


class SecurityHeaders:
    """Adds the headers that keep browsers from doing more with an answer than showing it.

    Caches store static files, and revalidate them; nothing else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache" if scope["path"].startswith("/static/") else "no-store")
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Guard:
    """Passes requests on to ``app`` as ``config`` says, which may be replaced at any time."""

    def __init__(self, app: ASGIApp, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.config = WebConfig()
        self._app = app
        self._monotonic = monotonic
        self._passwords = Passwords()
        self._limiter = RateLimiter(RateLimit(), 0.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        config = self.config
        request = validate(scope)
        # A client that expects 100 Continue may send its body or not once it is answered.
        closing = isinstance(request, Response) or Headers(scope=scope).get("expect", "").lower() == "100-continue"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in config.headers():
                    headers[name] = value
                if closing:
                    headers["Connection"] = "close"
            await send(message)

        if isinstance(request, Response):
            await request(scope, receive, send_with_headers)
            return
        app = await self._refusal(config, request) or (_METHODS if request["path"] == "*" else self._app)
        await app(request, receive, send_with_headers)

    async def _refusal(self, config: WebConfig, scope: Scope) -> ASGIApp | None:
        """Returns the answer to a request that may not pass; None: it may."""
        now = self._monotonic()
        if config.rate_limit != self._limiter.limit:
            self._limiter = RateLimiter(config.rate_limit, now)
        if not self._limiter.allows(now):
            return _answer(429, "Too Many Requests", {"Retry-After": str(self._limiter.retry_after_seconds)})
        users = config.basic_auth_users
        if users and not await self._passwords.verify(users, Headers(scope=scope).get("authorization", "")):
            return _answer(401, "Unauthorized", {"WWW-Authenticate": 'Basic realm="dict-rate-limit"'})
        return None


def _answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{text}\n", status, {**SECURITY_HEADERS, "Cache-Control": "no-store", **(headers or {})})


_METHODS: Final = PlainTextResponse(headers={**SECURITY_HEADERS, "Allow": "GET, HEAD, POST, PUT, OPTIONS"})
"""The answer to ``OPTIONS *``."""


class Passwords:
    """Compares passwords with bcrypt hashes, one at a time in a thread: each takes tens of milliseconds.

    The verdicts on the last ``remembered`` credentials are kept, on wrong ones too.
    """

    def __init__(self, remembered: int = 128) -> None:
        self._remembered = remembered
        self._key = os.urandom(32)
        self._verdicts: dict[bytes, bool] = {}
        self._turn = asyncio.Lock()

    async def verify(self, users: Mapping[str, str], authorization: str) -> bool:
        """Whether an Authorization header names one of the users with its password."""
        user, password = _credentials(authorization)
        hashed = users.get(user, _UNKNOWN_USER_HASH)
        digest = blake2b(f"{user}\0{hashed}\0{password}".encode(), key=self._key, digest_size=32).digest()
        if digest in self._verdicts:
            return self._verdicts[digest]
        async with self._turn:
            if digest in self._verdicts:
                return self._verdicts[digest]
            verdict = await asyncio.to_thread(_matches, password, hashed) and user in users
            self._verdicts[digest] = verdict
            while len(self._verdicts) > self._remembered:
                # Wrong ones go first: many of them must not make the right one be verified again.
                del self._verdicts[min(self._verdicts, key=self._verdicts.__getitem__)]
            return verdict


def _matches(password: str, hashed: str) -> bool:
    import bcrypt

    return bcrypt.checkpw(password.encode()[:_BCRYPT_BYTES], hashed.encode())


def _credentials(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        user, _, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def validate(scope: Scope) -> Scope | Response:
    """Returns the request with its target as a path, or the answer that refuses it.

    The authority of a target in absolute form, as clients send it to proxies,
    takes the place of the Host header (RFC 9112, 3.2.2).
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    if not scope["http_version"].startswith("1."):
        return _answer(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here")
    if b"transfer-encoding" in headers:
        # A proxy may see another request than we do (RFC 9112, 6.1).
        if b"content-length" in headers:
            return _answer(400, "Both Content-Length and Transfer-Encoding")
        if scope["http_version"] == "1.0":
            return _answer(400, "Transfer-Encoding is not known to HTTP/1.0")
    line_bytes = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"])
    if line_bytes + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > HEAD_BYTES:
        return _answer(431, f"The request's head has more than {HEAD_BYTES} bytes")
    if not _AUTHORITY.fullmatch(headers.get(b"host", b"").decode("latin-1")):
        return _answer(400, "The Host header is no host and port")
    return _with_a_path(scope)


def _with_a_path(scope: Scope) -> Scope | Response:
    target = scope["raw_path"].decode("ascii")
    if target.startswith("/") or (target == "*" and scope["method"] == "OPTIONS"):
        return scope
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or scope["method"] == "CONNECT":
        return _answer(400, "The request's target is no path and no http:// URL; this is no proxy")
    path = absolute["path"] or "/"
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return dict(scope) | {
        "path": unquote(path),
        "raw_path": path.encode(),
        "headers": [(b"host", absolute["authority"].encode()), *others],
    }


class RateLimiter:
    """Limits the rate of requests by a token bucket, as exporter-toolkit does."""

    def __init__(self, limit: RateLimit, at: float) -> None:
        self.limit = limit
        self._tokens = float(limit.burst)
        self._at = at

    def allows(self, at: float) -> bool:
        """Whether a request at ``at`` (seconds of a clock that never goes back) may pass; it is counted then."""
        if not self.limit.interval:
            return True
        self._tokens = min(self.limit.burst, self._tokens + (at - self._at) / self.limit.interval)
        self._at = at
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def retry_after_seconds(self) -> int:
        """Whole seconds until the next request may pass, at least 1."""
        return max(1, math.ceil((1 - self._tokens) * self.limit.interval))
