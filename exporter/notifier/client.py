"""One Alertmanager's API: a list of alerts posted, and what became of it."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import ssl
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore
import msgspec

from exporter.config.settings import AlertmanagerSettings, TlsSettings
from exporter.errors import AlertmanagerUnavailable, AlertsRefused, ConfigurationError
from exporter.watched_files import WatchedFiles

log = logging.getLogger(__name__)

PATH: Final = "/api/v2/alerts"
ANSWER_BYTES: Final = 4096
"""How much of the body of a refusal is read."""
ANSWER_CHARACTERS: Final = 300
"""How much of it is quoted."""
IDLE_SECONDS: Final = 30.0
"""A connection that is idle for longer is made again: its name may stand for another server by then."""

_BODY_REFUSED: Final = frozenset({400, 413, 422})


class Client:
    """Posts to the Alertmanager at ``target``; one request at a time, over one connection."""

    def __init__(self, target: str, settings: AlertmanagerSettings) -> None:
        self._url = target.rstrip("/") + PATH
        self._settings = settings
        self._encrypted = self._url.lower().startswith("https://")
        self._watched = WatchedFiles()
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def post(self, alerts: Sequence[dict[str, Any]], timeout_seconds: float) -> None:
        """Raises AlertsRefused where it takes these alerts never, AlertmanagerUnavailable."""
        try:
            async with asyncio.timeout(timeout_seconds):
                status, location, said = await self._request(msgspec.json.encode(alerts))
        except TimeoutError as error:
            raise AlertmanagerUnavailable(f"no answer within {timeout_seconds:.1f} s") from error
        except ConfigurationError as error:
            raise AlertmanagerUnavailable(str(error)) from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            await self.close()
            raise AlertmanagerUnavailable(_reason(error)) from error
        if 200 <= status < 300:
            return
        if status in _BODY_REFUSED:
            raise AlertsRefused(f"it answers {status}: {said or 'nothing more'}")
        raise AlertmanagerUnavailable(self._explain(status, location, said))

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def _request(self, body: bytes) -> tuple[int, str, str]:
        pool = await self._connections()
        server_name = self._settings.tls.server_name
        extensions = {"sni_hostname": server_name} if server_name and self._encrypted else {}
        headers = [("Content-Type", "application/json"), ("User-Agent", "dict-rate-limit"), *self._authorization()]
        # The host is written by httpcore, from the URL.
        async with pool.stream("POST", self._url, headers=headers, content=body, extensions=extensions) as answer:
            said = b""
            async for part in answer.aiter_stream():
                said += part
                if len(said) > ANSWER_BYTES:
                    break
            location = dict(answer.headers).get(b"Location", dict(answer.headers).get(b"location", b""))
            return answer.status, location.decode("latin-1"), _sentence(said)

    async def _connections(self) -> httpcore.AsyncConnectionPool:
        """Returns the connections, new ones where a certificate has changed. Raises ConfigurationError."""
        if self._pool is not None and not self._watched.changed():
            return self._pool
        tls = self._settings.tls
        self._watched.take(name for name in (tls.ca_file, tls.cert_file, tls.key_file) if name is not None)
        try:
            context = tls_context(tls) if self._encrypted else None
        except ConfigurationError as error:
            if self._pool is None:
                raise
            fields = {"error": f"alertmanager.{error}"}
            log.error("changed certificates are unusable, keeping the last ones", extra=fields)  # noqa: TRY400
            return self._pool
        await self.close()
        self._pool = httpcore.AsyncConnectionPool(ssl_context=context, max_connections=1, keepalive_expiry=IDLE_SECONDS)
        return self._pool

    def _authorization(self) -> list[tuple[str, str]]:
        settings, basic = self._settings, self._settings.basic_auth
        if settings.bearer_token is not None:
            token = settings.bearer_token.reveal()
            if not (token.isascii() and token.isprintable()):
                # A later refusal would quote it.
                raise ConfigurationError("alertmanager.bearer_token: holds what no header can hold")
            return [("Authorization", f"Bearer {token}")]
        if basic.username is not None and basic.password is not None:
            pair = f"{basic.username}:{basic.password.reveal()}"
            return [("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")]
        return []

    def _explain(self, status: int, location: str, said: str) -> str:
        if status in (401, 403):
            if self._authorization():
                return f"it answers {status}: it does not let in who alertmanager.basic_auth or bearer_token names"
            return f"it answers {status}: it wants alertmanager.basic_auth, bearer_token, or a certificate (tls)"
        if status in (404, 405):
            return f"it answers {status} at {urlsplit(self._url).path}: it is no Alertmanager, or has another prefix"
        if 300 <= status < 400:
            return f"it answers {status}: it sends to {location[:200] or 'nowhere'}; name that in alertmanager.targets"
        return f"it answers {status}{f': {said}' if said else ''}"


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Returns what an Alertmanager is reached with over TLS. Raises ConfigurationError naming the file."""
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"tls.ca_file: {tls.ca_file} cannot be used: {_reason(error)}") from error
    if tls.cert_file is not None:
        try:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=_no_password)
        except (OSError, ValueError) as error:
            what = f"{tls.cert_file} and {tls.key_file}"
            raise ConfigurationError(f"tls.cert_file: {what} cannot be used: {_reason(error)}") from error
    return context


def _no_password() -> str:
    """Is called for the password of an encrypted key, which no one can type here."""
    raise ValueError("the key is encrypted")


def _reason(error: BaseException) -> str:
    """Returns why, in the words of the error that all others came from."""
    deepest = error
    while (under := deepest.__cause__ or deepest.__context__) is not None:
        deepest = under.exceptions[0] if isinstance(under, BaseExceptionGroup) else under
    if isinstance(deepest, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {deepest.verify_message}"
    if isinstance(deepest, ssl.SSLError):
        return f"TLS: {deepest.reason or deepest}"
    if isinstance(deepest, OSError) and deepest.errno is not None:
        # What asyncio says of a connection names every address again.
        return os.strerror(deepest.errno) if deepest.errno > 0 else str(deepest.strerror)
    return _sentence(str(deepest).encode()) or type(deepest).__name__


def _sentence(said: bytes) -> str:
    text = " ".join(said.decode("utf-8", "replace").split())
    return text if len(text) <= ANSWER_CHARACTERS else f"{text[:ANSWER_CHARACTERS]} ..."
