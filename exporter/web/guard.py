"""What stands before the app: basic auth, and the headers of the web configuration file."""

from __future__ import annotations

import asyncio
import binascii
import os
from base64 import b64decode
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from exporter.web.config_file import WebConfig
from exporter.web.headers import SECURITY_HEADERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

REMEMBERED: Final = 128
"""Verified credentials that are remembered, wrong ones too."""

_AMBIGUOUS: Final = {b"content-length", b"transfer-encoding"}
"""Headers that together may make a proxy see another request than we do (RFC 9112, 6.1)."""

_BCRYPT_BYTES: Final = 72
"""bcrypt looks at no more of a password."""

_NOBODY: Final = "$2b$10$" + "." * 53
"""What the password of an unknown user is held against, so that it takes as long as a known one's."""


class Guard:
    """Lets requests through to ``app`` as ``config`` says, which may be exchanged at any time."""

    def __init__(self, app: ASGIApp) -> None:
        self.config = WebConfig()
        self._app = app
        self._passwords = Passwords()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if {name for name, _ in scope["headers"]} >= _AMBIGUOUS:
            refusal = PlainTextResponse("Both Content-Length and Transfer-Encoding\n", 400, {"Connection": "close"})
            await refusal(scope, receive, send)
            return
        config = self.config

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in config.headers():
                    headers[name] = value
            await send(message)

        users = config.basic_auth_users
        if users and not await self._passwords.admit(users, Headers(scope=scope).get("authorization", "")):
            refusal = PlainTextResponse(
                "Unauthorized\n",
                401,
                SECURITY_HEADERS | {"WWW-Authenticate": 'Basic realm="dict-rate-limit"', "Cache-Control": "no-store"},
            )
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


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
