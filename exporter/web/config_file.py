"""The web configuration file: TLS, headers and basic auth, in exporter-toolkit's format.

Unknown keys are errors. Paths in it are relative to its own folder.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from exporter import files, yaml_text
from exporter.errors import ConfigurationError
from exporter.yaml_text import YamlInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TlsVersion = Literal["TLS12", "TLS13"]
ClientAuth = Literal["", "NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]

_BCRYPT: Final = re.compile(r"\$2[abxy]\$\d{2}\$[./A-Za-z0-9]{53}")
_UNOFFERED: Final = {
    "TLS10": "TLS 1.0 and 1.1 are broken, and not offered here; use TLS12 or TLS13",
    "TLS11": "TLS 1.0 and 1.1 are broken, and not offered here; use TLS12 or TLS13",
    "RequestClientCert": "a certificate that nobody verifies proves nothing; use VerifyClientCertIfGiven",
    "RequireAnyClientCert": "a certificate that nobody verifies proves nothing; use RequireAndVerifyClientCert",
    "RequireClientCert": "a certificate that nobody verifies proves nothing; use RequireAndVerifyClientCert",
}


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class TlsServerConfig(_Section, frozen=True):
    cert_file: str
    key_file: str
    client_auth_type: ClientAuth = ""
    client_ca_file: str = ""
    client_allowed_sans: tuple[str, ...] = ()
    min_version: TlsVersion = "TLS12"
    max_version: TlsVersion = "TLS13"
    cipher_suites: tuple[str, ...] = ()
    prefer_server_cipher_suites: bool = True
    curve_preferences: Annotated[tuple[str, ...], msgspec.Meta(max_length=1)] = ()

    @property
    def verifies_clients(self) -> bool:
        return self.client_auth_type in ("VerifyClientCertIfGiven", "RequireAndVerifyClientCert")


class Headers(_Section, frozen=True, rename=lambda name: "-".join(map(str.title, name.split("_")))):
    """Headers for every answer, in place of those that it has otherwise."""

    content_security_policy: str = ""
    strict_transport_security: str = ""
    x_content_type_options: Literal["", "nosniff"] = ""
    x_frame_options: Literal["", "deny", "sameorigin", "DENY", "SAMEORIGIN"] = ""
    x_xss_protection: str = msgspec.field(default="", name="X-XSS-Protection")


class HttpServerConfig(_Section, frozen=True):
    """``http2`` is read and of no effect: answers are HTTP/1.1, which every scraper speaks."""

    http2: bool = True
    headers: Headers = Headers()


class WebConfig(_Section, frozen=True):
    """What the file says. ``basic_auth_users`` are bcrypt hashes by user name; none: everybody is let in."""

    tls_server_config: TlsServerConfig | None = None
    http_server_config: HttpServerConfig = HttpServerConfig()
    basic_auth_users: dict[str, str] = {}

    def headers(self) -> Iterator[tuple[str, str]]:
        """Yields the configured headers' names and values."""
        headers = self.http_server_config.headers
        for field in msgspec.structs.fields(Headers):
            if value := getattr(headers, field.name):
                yield field.encode_name, value

    def files(self) -> list[str]:
        """Returns the files that the configuration names."""
        tls = self.tls_server_config
        return [] if tls is None else [name for name in (tls.cert_file, tls.key_file, tls.client_ca_file) if name]


def load_web_config(file: Path) -> WebConfig:
    """Returns what ``file`` says. Raises ConfigurationError naming file, key, and what is wrong."""
    try:
        raw = yaml_text.read(files.read(file))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read: {error.strerror}") from error
    except YamlInvalid as error:
        raise ConfigurationError(f"{file}: {error}") from None
    try:
        config = msgspec.convert({} if raw is None else raw, WebConfig)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `$")
        key = where.rstrip("`").lstrip(".")
        raise ConfigurationError(f"{file}: {key + ': ' if key else ''}{_explained(raw, key, message)}") from error
    for user, hashed in config.basic_auth_users.items():
        if not _BCRYPT.fullmatch(hashed):
            raise ConfigurationError(f"{file}: basic_auth_users: the password of {user!r} is not a bcrypt hash")
    if config.tls_server_config is not None:
        tls = _beside(config.tls_server_config, file.parent)
        _check(tls, file)
        config = msgspec.structs.replace(config, tls_server_config=tls)
    return config


def _explained(raw: Any, key: str, message: str) -> str:
    value = raw
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if key.endswith("curve_preferences"):
        return "only one curve can be chosen"
    return _UNOFFERED.get(value, message) if isinstance(value, str) else message


def _beside(tls: TlsServerConfig, folder: Path) -> TlsServerConfig:
    def found(name: str) -> str:
        return str(folder / name) if name else ""

    return msgspec.structs.replace(
        tls, cert_file=found(tls.cert_file), key_file=found(tls.key_file), client_ca_file=found(tls.client_ca_file)
    )


def _check(tls: TlsServerConfig, file: Path) -> None:
    def refuse(key: str, message: str) -> None:
        raise ConfigurationError(f"{file}: tls_server_config.{key}: {message}")

    if tls.client_ca_file and not tls.verifies_clients:
        refuse("client_ca_file", "client_auth_type does not ask clients for certificates")
    if tls.verifies_clients and not tls.client_ca_file:
        refuse("client_auth_type", f"{tls.client_auth_type} needs client_ca_file")
    if tls.client_allowed_sans and tls.client_auth_type != "RequireAndVerifyClientCert":
        refuse("client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert")
    if tls.min_version > tls.max_version:
        refuse("min_version", f"{tls.min_version} is above max_version ({tls.max_version})")
