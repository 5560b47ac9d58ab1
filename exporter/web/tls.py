"""TLS as the web configuration file asks for it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

from exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from exporter.web.config_file import TlsServerConfig

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


def server_context(tls: TlsServerConfig, file: Path) -> ssl.SSLContext:
    """Returns the context. Raises ConfigurationError naming ``file``, the web configuration, and the key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    if tls.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    try:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"{file}: tls_server_config: {tls.cert_file} and {tls.key_file} cannot be used: {_reason(error)}"
        ) from error
    if tls.verifies_clients:
        required = tls.client_auth_type == "RequireAndVerifyClientCert"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(
                f"{file}: tls_server_config.client_ca_file: {tls.client_ca_file} cannot be used: {_reason(error)}"
            ) from error
    _choose_suites(context, tls.cipher_suites, file)
    for curve in tls.curve_preferences:
        if curve not in _CURVES:
            raise ConfigurationError(
                f"{file}: tls_server_config.curve_preferences: {curve!r} is not one of {', '.join(_CURVES)}"
            )
        context.set_ecdh_curve(_CURVES[curve])
    return context


def has_allowed_san(certificate: dict[str, Any] | None, allowed: Collection[str]) -> bool:
    """Whether a client's certificate (as ssl shows it) holds one of the allowed names; none allowed: any will do."""
    if not allowed:
        return True
    return any(value in allowed for _, value in (certificate or {}).get("subjectAltName", ()))


def _choose_suites(context: ssl.SSLContext, suites: Collection[str], file: Path) -> None:
    if not suites:
        return
    unknown = [suite for suite in suites if suite not in _TLS12_SUITES and suite not in _TLS13_SUITES]
    if unknown:
        raise ConfigurationError(f"{file}: tls_server_config.cipher_suites: {unknown[0]!r} is not known")
    chosen = [_TLS12_SUITES[suite] for suite in suites if suite in _TLS12_SUITES]
    if chosen:
        context.set_ciphers(":".join(chosen))
    else:
        # TLS 1.3 has its suites always; naming only those means that 1.2 has none.
        context.minimum_version = ssl.TLSVersion.TLSv1_3


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return str(error.strerror or error)
