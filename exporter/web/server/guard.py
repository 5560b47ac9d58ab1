"""Refuses requests before the app sees them: malformed ones, and those that the web configuration forbids."""

from __future__ import annotations

import asyncio
import binascii
import os
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.web.server.config_file import RateLimit, WebConfig
from exporter.web.server.headers import SECURITY_HEADERS
from exporter.web.server.rate_limit import RateLimiter
from exporter.web.server.requests import Refusal, validate

_BCRYPT_BYTES: Final = 72
"""bcrypt reads no more of a password."""

_UNKNOWN_USER_HASH: Final = "$2b$10$" + "." * 53
"""What an unknown user's password is compared with, so that it takes as long as a known one's."""


class Guard:
    """Passes requests on to ``app`` as ``config`` says, which may be replaced at any time."""

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
        request = validate(scope)
        # A client that expects 100 Continue may send its body or not once it is answered.
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
        app = await self._refusal(config, request) or (_METHODS if request["path"] == "*" else self._app)
        await app(request, receive, send_with_headers)

    async def _refusal(self, config: WebConfig, scope: Scope) -> ASGIApp | None:
        """Returns the answer to a request that may not pass; None: it may."""
        limiter = self._limiter_of(config.rate_limit)
        if limiter is not None and not limiter.allows(self._monotonic()):
            return _answer(429, "Too Many Requests", {"Retry-After": str(limiter.retry_after_seconds)})
        users = config.basic_auth_users
        if users and not await self._passwords.verify(users, Headers(scope=scope).get("authorization", "")):
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


_METHODS: Final = PlainTextResponse(headers={**SECURITY_HEADERS, "Allow": "GET, HEAD, POST, PUT, OPTIONS"})
"""The answer to ``OPTIONS *``."""


class Passwords:
    """Compares passwords with bcrypt hashes, one at a time in a thread: each takes tens of milliseconds.

    The verdicts on the last ``remembered`` credentials are kept, on wrong ones too.
    """

    def __init__(self, remembered: int = 128) -> None:
        self._remembered = remembered
        self._key = os.urandom(32)
        self._verdicts: OrderedDict[bytes, bool] = OrderedDict()
        self._turn = asyncio.Lock()

    async def verify(self, users: Mapping[str, str], authorization: str) -> bool:
        """Whether an Authorization header names one of the users with its password."""
        user, password = _credentials(authorization)
        hashed = users.get(user, _UNKNOWN_USER_HASH)
        digest = blake2b(f"{user}\0{hashed}\0{password}".encode(), key=self._key, digest_size=32).digest()
        if digest not in self._verdicts:
            async with self._turn:
                if digest not in self._verdicts:
                    verdict = await asyncio.to_thread(_matches, password, hashed) and user in users
                    self._remember(digest, verdict=verdict)
                    return verdict
        return self._verdicts[digest]

    def _remember(self, digest: bytes, *, verdict: bool) -> None:
        self._verdicts[digest] = verdict
        while len(self._verdicts) > self._remembered:
            # Wrong ones go first: many of them must not make the right one be verified again.
            wrong = next((digest for digest, right in self._verdicts.items() if not right), None)
            self._verdicts.pop(wrong) if wrong is not None else self._verdicts.popitem(last=False)


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
