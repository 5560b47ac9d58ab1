"""What stands before the app: broken requests, and what the web configuration file asks for."""

from __future__ import annotations

import asyncio
import binascii
import os
import time
from base64 import b64decode
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from exporter.web.server.config_file import RateLimit, WebConfig
from exporter.web.server.headers import SECURITY_HEADERS
from exporter.web.server.rate_limit import RateLimiter
from exporter.web.server.requests import Refusal, understood

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REMEMBERED: Final = 128
"""Verified credentials that are remembered, wrong ones too."""

_BCRYPT_BYTES: Final = 72
"""bcrypt looks at no more of a password."""

_NOBODY: Final = "$2b$10$" + "." * 53
"""What the password of an unknown user is held against, so that it takes as long as a known one's."""


class Guard:
    """Lets requests through to ``app`` as ``config`` says, which may be exchanged at any time."""

    def __init__(self, app: ASGIApp, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.config = WebConfig()
        self._app = app
        self._monotonic = monotonic
        self._passwords = Passwords()
        self._limit = RateLimit()
        self._limiter: RateLimiter | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        config = self.config
        request = understood(scope)
        # A client that waits to be asked for its body sends it or not, when an answer comes instead.
        closing = isinstance(request, Refusal) or Headers(scope=scope).get("expect", "").lower() == "100-continue"

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in config.headers():
                    headers[name] = value
                if closing:
                    headers["Connection"] = "close"
            await send(message)

        if isinstance(request, Refusal):
            await _answer(request.status, request.reason)(scope, receive, send_with_headers)
            return
        app = await self._refusal(config, request) or (_SERVED if request["path"] == "*" else self._app)
        await app(request, receive, send_with_headers)

    async def _refusal(self, config: WebConfig, scope: Scope) -> ASGIApp | None:
        """Returns the answer to a request that is not let through; None: it is."""
        limiter = self._limiter_of(config.rate_limit)
        if limiter is not None and not limiter.admits(self._monotonic()):
            return _answer(429, "Too Many Requests", {"Retry-After": str(limiter.retry_after_seconds)})
        users = config.basic_auth_users
        if users and not await self._passwords.admit(users, Headers(scope=scope).get("authorization", "")):
            return _answer(401, "Unauthorized", {"WWW-Authenticate": 'Basic realm="dict-rate-limit"'})
        return None

    def _limiter_of(self, limit: RateLimit) -> RateLimiter | None:
        if limit != self._limit:
            self._limit = limit
            self._limiter = None
            if limit.interval > 0:
                self._limiter = RateLimiter(limit.interval, limit.burst, self._monotonic())
        return self._limiter


def _answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> ASGIApp:
    return PlainTextResponse(f"{text}\n", status, {**SECURITY_HEADERS, "Cache-Control": "no-store", **(headers or {})})


_SERVED: Final = PlainTextResponse(headers={**SECURITY_HEADERS, "Allow": "GET, HEAD, POST, PUT, OPTIONS"})
"""To OPTIONS *: which methods there are."""


class Passwords:
    """Holds passwords against bcrypt hashes, one at a time in a thread: each takes tens of milliseconds."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, bool] = OrderedDict()
        self._turn = asyncio.Lock()

    async def admit(self, users: Mapping[str, str], authorization: str) -> bool:
        """Whether an Authorization header names one of the users with its password."""
        user, password = _credentials(authorization)
        hashed = users.get(user, _NOBODY)
        asked = blake2b(f"{user}\0{hashed}\0{password}".encode(), key=self._key, digest_size=32).digest()
        known = self._known.get(asked)
        if known is None:
            async with self._turn:
                known = self._known.get(asked)
                if known is None:
                    known = await asyncio.to_thread(_matches, password, hashed) and user in users
                    self._remember(asked, admitted=known)
        return known

    def _remember(self, asked: bytes, *, admitted: bool) -> None:
        self._known[asked] = admitted
        while len(self._known) > REMEMBERED:
            # Wrong ones go first: many of them must not make the right one be verified again.
            wrong = next((one for one, right in self._known.items() if not right), None)
            self._known.pop(wrong) if wrong is not None else self._known.popitem(last=False)


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
