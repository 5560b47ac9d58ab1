"""TLS as the web configuration file asks for it; both are read again when they changed."""

from __future__ import annotations

import ipaddress
import os
import ssl
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from exporter import files
from exporter.certificates import CERTIFICATE, file_problem, pair_problem
from exporter.errors import ConfigurationError
from exporter.structures import did_you_mean
from exporter.watched_files import STABLE_SECONDS, WatchedFiles
from exporter.web.server.config_file import TlsServerConfig, WebConfig, load_web_config, location_of

_VERSIONS: Final = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CURVES: Final = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}

_TLS13_SUITES: Final = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
_TLS12_SUITES: Final = {
    f"TLS_{exchange}_WITH_{iana}": f"{exchange.replace('_', '-')}-{openssl}"
    for exchange in ("ECDHE_ECDSA", "ECDHE_RSA")
    for iana, openssl in (
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("AES_128_CBC_SHA256", "AES128-SHA256"),
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
    )
} | {
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
}
"""Suites by their registered name, as Go writes them, and by OpenSSL's."""


class WebConfigFile:
    """Reads ``path``; None: there is no file, and nothing changes."""

    def __init__(self, path: str | None, stable_seconds: float = STABLE_SECONDS) -> None:
        self._path = path
        self._watched = WatchedFiles(stable_seconds)
        self._held_settings = False

    def read(self) -> tuple[WebConfig, ssl.SSLContext | None]:
        """Returns the configuration, and its TLS context (None: plain HTTP).

        Raises ConfigurationError, also where a file that held settings is empty now: somebody may be editing it.
        """
        if self._path is None:
            return WebConfig(), None
        self._watched.take([self._path])
        file = Path(self._path)
        config = load_web_config(file)
        if self._held_settings and not files.read(file).strip():
            raise ConfigurationError(f"{self._path}: is empty; where that is meant, write {{}}")
        self._held_settings = config != WebConfig()
        self._watched.add(config.files())
        tls = config.tls_server_config
        return config, server_context(tls, file) if tls is not None else None

    def changed(self) -> bool:
        """Whether a file differs from the last one that was read, or refused, and is no longer being written."""
        return self._watched.changed()


def server_context(tls: TlsServerConfig, file: Path) -> ssl.SSLContext:
    """Returns the context. Raises ConfigurationError naming ``file``, the web configuration, its line, and the key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    with _file(tls.cert_file, tls.cert) as cert, _file(tls.key_file, tls.key.reveal()) as key:
        problem = pair_problem(context, cert, key)
        if problem is not None:
            part, why = problem
            raise _unusable(file, part, tls.cert_file if part == "cert" else tls.key_file, why)
    if tls.verifies_clients:
        required = tls.client_auth_type == "RequireAndVerifyClientCert"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(tls.client_ca_file or None, cadata=tls.client_ca or None)
        except (OSError, ValueError) as error:
            why = file_problem(tls.client_ca_file, CERTIFICATE) if tls.client_ca_file else ""
            why = why or "holds no certificate that can be read"
            raise _unusable(file, "client_ca", tls.client_ca_file, why) from error
    _choose_suites(context, tls, file)
    for curve in tls.curve_preferences:
        if curve not in _CURVES:
            raise _refusal(file, "curve_preferences", f"{curve!r} is none of {', '.join(_CURVES)}")
        context.set_ecdh_curve(_CURVES[curve])
    return context


def remarks(config: WebConfig) -> Iterator[str]:
    """Yields what has no effect of what the file asks for."""
    if config.http_server_config.http2:
        yield "http_server_config.http2: true has no effect; answers are HTTP/1.1, which every scraper speaks"
    tls = config.tls_server_config
    if tls is None:
        return
    named = set(tls.cipher_suites)
    if tls.max_version == "TLS13" and named & _TLS13_SUITES and _TLS13_SUITES - named:
        yield "tls_server_config.cipher_suites: all three suites of TLS 1.3 are offered, whichever are named"
    if tls.min_version == "TLS13" and named - _TLS13_SUITES:
        yield "tls_server_config.cipher_suites: suites of TLS 1.2 have no effect with min_version TLS13"


def has_allowed_san(certificate: dict[str, Any] | None, allowed: Collection[str]) -> bool:
    """Whether a client's certificate (as ssl decodes it) holds an allowed name; none allowed: any will do."""
    if not allowed:
        return True
    names = (certificate or {}).get("subjectAltName", ())
    return any(_san(value, kind) in allowed for kind, value in names if kind in _SANS)


_SANS: Final = frozenset({"DNS", "email", "IP Address", "URI"})
"""Kinds of names that exporter-toolkit compares, as ssl calls them."""


def _san(value: str, kind: str) -> str:
    if kind == "IP Address":
        # ssl writes IPv6 addresses out in full, and <invalid> for what is no address.
        with suppress(ValueError):
            return str(ipaddress.ip_address(value))
    return value


@contextmanager
def _file(name: str, inline: str) -> Iterator[str]:
    """Lends the name of a file, for OpenSSL reads nothing else; without one, that of ``inline`` in memory."""
    if name:
        yield name
        return
    descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
    with open(descriptor, "wb") as content:  # noqa: PTH123 - it has no path but this one
        content.write(inline.encode())
        content.flush()
        yield f"/proc/self/fd/{descriptor}"


def _choose_suites(context: ssl.SSLContext, tls: TlsServerConfig, file: Path) -> None:
    suites = tls.cipher_suites
    if not suites:
        return
    unknown = [suite for suite in suites if suite not in _TLS12_SUITES and suite not in _TLS13_SUITES]
    if unknown:
        hint = did_you_mean(unknown[0], (*_TLS13_SUITES, *_TLS12_SUITES))
        raise _refusal(file, "cipher_suites", f"{unknown[0]!r} is not known{hint}")
    chosen = [_TLS12_SUITES[suite] for suite in suites if suite in _TLS12_SUITES]
    if chosen:
        context.set_ciphers(":".join(chosen))
    elif tls.max_version == "TLS12":
        raise _refusal(file, "cipher_suites", "names suites of TLS 1.3 only, and max_version is TLS12")
    else:
        # TLS 1.3 has its suites always; naming only those means that 1.2 has none.
        context.minimum_version = ssl.TLSVersion.TLSv1_3


def _unusable(file: Path, part: str, name: str, why: str) -> ConfigurationError:
    """``name`` is that of a file; empty: the part is PEM in ``file`` itself."""
    return _refusal(file, f"{part}_file" if name else part, f"{name} {why}" if name else why)


def _refusal(file: Path, key: str, message: str) -> ConfigurationError:
    return ConfigurationError(f"{location_of(file, f'tls_server_config.{key}')}: tls_server_config.{key}: {message}")
