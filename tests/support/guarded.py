"""A Pulsar that asks who is there."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulsar

from tests.support.broker import PulsarServer, new_pulsar
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.support.topic import arrived

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PLUGINS = "org.apache.pulsar.broker.authentication.AuthenticationProvider"
_CLIENT = "org.apache.pulsar.client.impl.auth.AuthenticationToken"


@dataclass
class Guarded:
    """A Pulsar that lets in who has a token, and lets produce who may; also over TLS."""

    server: PulsarServer
    tls_url: str
    authority: Authority
    stranger: Authority
    key: bytes

    def token(self, role: str) -> str:
        return signed_token(self.key, role)

    def permit(self, topic: str, role: str) -> None:
        namespace = topic.removeprefix("persistent://").rpartition("/")[0]
        self.server.admin("POST", f"namespaces/{namespace}/permissions/{role}", ["produce"])

    def arrived(self, topic: str, field: str = "number") -> list[Any]:
        admin = pulsar.AuthenticationToken(self.token("admin"))
        return [message.body[field] for message in arrived(self.server.url, topic, authentication=admin)]


@contextmanager
def guarded_pulsar(folder: Path) -> Iterator[Guarded]:
    """Lends one; its certificates are written to ``folder``."""
    key = os.urandom(32)
    authority, stranger = Authority(folder), Authority(folder, "Stranger")
    pair, tls_port = authority.issue("broker"), free_port()
    server = new_pulsar(
        {
            "authenticationEnabled": "true",
            "authorizationEnabled": "true",
            "authenticationProviders": f"{_PLUGINS}Token",
            "tokenSecretKey": f"data:;base64,{base64.b64encode(key).decode()}",
            "superUserRoles": "admin",
            "authenticationRefreshCheckSeconds": "1",
            "brokerClientAuthenticationPlugin": _CLIENT,
            "brokerClientAuthenticationParameters": f"token:{signed_token(key, 'admin')}",
            "brokerServicePortTls": str(tls_port),
            "tlsCertificateFilePath": pair.cert_file,
            "tlsKeyFilePath": pair.key_file,
            "tlsTrustCertsFilePath": authority.ca_file,
        },
        token=signed_token(key, "admin"),
        tls_port=tls_port,
    )
    try:
        yield Guarded(server, f"pulsar+ssl://127.0.0.1:{tls_port}", authority, stranger, key)
    finally:
        server.remove()


def signed_token(key: bytes, role: str, *, expires: float | None = None) -> str:
    """Returns a JSON Web Token (HS256) for ``role``, which ``expires`` (seconds since 1970) or never does."""

    def encoded(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    ownership = {"sub": role} if expires is None else {"sub": role, "exp": int(expires)}
    said = encoded(b'{"alg":"HS256"}') + b"." + encoded(json.dumps(ownership).encode())
    return (said + b"." + encoded(hmac.new(key, said, hashlib.sha256).digest())).decode()
