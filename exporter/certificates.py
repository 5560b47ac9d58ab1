"""What is wrong with certificates and keys in PEM, in words for operators: OpenSSL's errors name no file."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from exporter import files
from exporter.config.settings import PulsarTlsSettings, TlsSettings

CERTIFICATE: Final = b"CERTIFICATE-----"
KEY: Final = b"PRIVATE KEY-----"


def tls_problems(tls: TlsSettings | PulsarTlsSettings) -> Iterator[tuple[str, str]]:
    """Yields the keys (``ca_file``, ...) of files that cannot be used, each with a sentence that says why."""
    if tls.ca_file:
        message = file_problem(tls.ca_file, CERTIFICATE) or authorities_problem(_content(tls.ca_file))
        if message:
            yield "ca_file", f"{tls.ca_file} {message}"
    pair = ((tls.cert_file, CERTIFICATE, "cert_file"), (tls.key_file, KEY, "key_file"))
    unread = [(key, f"{file} {why}") for file, kind, key in pair if file and (why := file_problem(file, kind))]
    yield from unread
    if tls.cert_file and tls.key_file and not unread:
        problem = pair_problem(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls.cert_file, tls.key_file)
        if problem is not None:
            key, message = problem
            yield f"{key}_file", f"{tls.cert_file if key == 'cert' else tls.key_file} {message}"


def file_problem(file: str, kind: bytes) -> str:
    """Returns why a file does not hold PEM of this kind, or nothing."""
    try:
        content = files.read(file)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if kind in content else f"is not PEM: it holds no '{kind.decode()}' line"


def authorities_problem(pem: bytes) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii", "replace"))
    except (OSError, ValueError):
        return "holds no certificate that can be read"
    return ""


def pair_problem(context: ssl.SSLContext, cert_file: str, key_file: str) -> tuple[str, str] | None:
    """Loads the pair into ``context``; returns which of the two is at fault (``cert``, ``key``) and why, or None."""
    for part, file, kind in (("cert", cert_file, CERTIFICATE), ("key", key_file, KEY)):
        if problem := file_problem(file, kind):
            return part, problem
    try:
        # Without a password OpenSSL would ask for that of an encrypted key, on the terminal.
        context.load_cert_chain(cert_file, key_file, password="")
    except (OSError, ValueError) as error:
        return _fault(_content(cert_file), _content(key_file), getattr(error, "reason", None))
    return None


def _content(file: str) -> bytes:
    """Returns nothing where the file was removed meanwhile."""
    with suppress(OSError):
        return files.read(file)
    return b""


def _fault(cert: bytes, key: bytes, reason: str | None) -> tuple[str, str]:
    if b"ENCRYPTED" in key:
        return "key", "is protected by a password, which no one can type here: `openssl pkey` writes it without"
    if reason == "KEY_VALUES_MISMATCH":
        return "key", "is not the key of the certificate"
    if authorities_problem(cert):
        return "cert", "holds no certificate that can be read"
    if reason is not None and reason.endswith(("TOO_SMALL", "TOO_WEAK")):
        return "cert", f"is refused by OpenSSL: {reason.replace('_', ' ').lower()}"
    return "key", "holds no key that can be read"
