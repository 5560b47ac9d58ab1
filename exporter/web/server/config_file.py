"""The web configuration file: TLS, headers, rate limit and basic auth, in the format of exporter-toolkit 0.17.1.

Unknown keys are errors. Paths in it are relative to its own folder. What exporter-toolkit
can do, and Python's TLS cannot, is refused; what has no effect here gets a remark.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec

from exporter.config.configuration import read_document
from exporter.config.secrets import Secret
from exporter.errors import ConfigurationError
from exporter.structures import Mistake, Reader, key_of, wrong_type

TlsVersion = Literal["TLS12", "TLS13"]
ClientAuth = Literal["", "NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]

_BCRYPT: Final = re.compile(r"\$2[abxy]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}")
_VERSION: Final = "TLS 1.0 and 1.1 are broken, and not offered here; use TLS12 or TLS13"
_UNVERIFIED: Final = "a certificate that is not verified proves nothing, and is not requested here; use {}"
_UNOFFERED: Final = {
    "TLS10": _VERSION,
    "TLS11": _VERSION,
    "RequestClientCert": _UNVERIFIED.format("VerifyClientCertIfGiven"),
    "RequireAnyClientCert": _UNVERIFIED.format("RequireAndVerifyClientCert"),
    "RequireClientCert": _UNVERIFIED.format("RequireAndVerifyClientCert"),
}
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_GO_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_GO_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class GoDuration(float):
    """Seconds, written as in Go: ``1s``, ``1.5s``, ``100ms``."""

    __slots__ = ()


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class TlsServerConfig(_Section, frozen=True):
    """A certificate, its key and the clients' CA: names of files, or PEM in the file itself."""

    cert: str = ""
    key: Secret = Secret("")
    client_ca: str = ""
    cert_file: str = ""
    key_file: str = ""
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
    """Headers of every answer, instead of its own."""

    content_security_policy: str = ""
    strict_transport_security: str = ""
    x_content_type_options: Literal["", "nosniff"] = ""
    x_frame_options: Literal["", "deny", "sameorigin", "DENY", "SAMEORIGIN"] = ""
    x_xss_protection: str = msgspec.field(default="", name="X-XSS-Protection")


class HttpServerConfig(_Section, frozen=True):
    """``http2`` has no effect: answers are HTTP/1.1, which every scraper speaks."""

    http2: bool | None = None
    headers: Headers = Headers()


class RateLimit(_Section, frozen=True):
    """One request each ``interval``, up to ``burst`` at once after a pause; 0: no limit."""

    interval: GoDuration = GoDuration(0)
    burst: Annotated[int, msgspec.Meta(ge=0)] = 0


class WebConfig(_Section, frozen=True):
    """What the file says. ``basic_auth_users`` are bcrypt hashes by user name; none: no password is required."""

    tls_server_config: TlsServerConfig | None = None
    http_server_config: HttpServerConfig = HttpServerConfig()
    rate_limit: RateLimit = RateLimit()
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
    """Returns what ``file`` says. Raises ConfigurationError with all that is wrong: file, line, key, and what."""
    document = read_document(file)
    refused: list[str] = []

    def refuse(path: Sequence[str | int], message: str) -> None:
        refused.append(": ".join(filter(None, (f"{file}:{document.line_of(path) or 1}", key_of(path), message))))

    refused += [f"{file}:{repeated}" for repeated in document.repeated()]
    raw = _as_go_reads_it({} if document.value is None else document.value)
    reader = Reader(_decode)
    config = reader.struct(WebConfig, raw)
    for mistake in reader.mistakes:
        refuse(mistake.path, _message(raw, mistake))
    for path, message in _problems(config):
        if not any(mistake.path[: len(path)] == path[: len(mistake.path)] for mistake in reader.mistakes):
            refuse(path, message)
    if refused:
        raise ConfigurationError(*dict.fromkeys(refused))
    tls = config.tls_server_config
    used = None if tls is None or tls == TlsServerConfig() else _in_folder(tls, file.parent)
    return msgspec.structs.replace(config, tls_server_config=used)


def location_of(file: Path, key: str) -> str:
    """Returns file and line of a key, or of the nearest section above it."""
    with suppress(ConfigurationError):
        path, document = key.split("."), read_document(file)
        for length in range(len(path), 0, -1):
            if line := document.line_of(path[:length]):
                return f"{file}:{line}"
    return str(file)


def _as_go_reads_it(raw: Any) -> Any:
    """Returns ``raw`` without empty values, and numbers as text where text is expected."""
    if not isinstance(raw, dict):
        return raw
    values = {name: _as_go_reads_it(value) for name, value in raw.items() if value is not None}
    if isinstance(users := values.get("basic_auth_users"), dict):
        values["basic_auth_users"] = {_text(user): hashed for user, hashed in users.items()}
    if isinstance(headers := values.get("headers"), dict):
        values["headers"] = {name: _text(value) for name, value in headers.items()}
    return values


def _text(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _decode(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if kind is GoDuration:
        if value == 0 and type(value) is int:
            return GoDuration(0)
        if isinstance(value, str) and (value == "0" or _GO_DURATION.fullmatch(value)):
            amounts = re.findall(r"([\d.]+)(\D+)", value)
            return GoDuration(sum(float(amount) * _GO_UNITS[unit] for amount, unit in amounts))
        if isinstance(value, (str, int, float)):
            raise ValueError(f"{value!r} is not a duration; write it with its unit, as in 1s or 100ms")
        raise ValueError(wrong_type(value, "a duration, as in 1s or 100ms"))
    raise ValueError(wrong_type(value, "text"))


def _message(raw: Any, mistake: Mistake) -> str:
    value = raw
    for name in mistake.path:
        value = value.get(name) if isinstance(value, dict) else None
    return _UNOFFERED.get(value, mistake.message) if isinstance(value, str) else mistake.message


def _in_folder(tls: TlsServerConfig, folder: Path) -> TlsServerConfig:
    files = {key: getattr(tls, key) for key in ("cert_file", "key_file", "client_ca_file")}
    return msgspec.structs.replace(tls, **{key: str(folder / name) for key, name in files.items() if name})


def _problems(config: WebConfig) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields keys whose values are of the right type, and what is wrong with them."""
    for user, hashed in config.basic_auth_users.items():
        if not _BCRYPT.fullmatch(hashed):
            message = f"the password of {user!r} is not a bcrypt hash; `htpasswd -nBC 10 {user}` makes one"
            yield ("basic_auth_users", user), message
    for name, value in config.headers():
        if not _HEADER_VALUE.fullmatch(value):
            yield ("http_server_config", "headers", name), "is no line of printable ASCII"
    if config.rate_limit.interval > 0 and config.rate_limit.burst < 1:
        yield ("rate_limit", "burst"), "0 lets no request through; write 1 or more"
    if config.tls_server_config not in (None, TlsServerConfig()):
        for key, message in _tls_problems(config.tls_server_config):
            yield ("tls_server_config", key), message


def _tls_problems(tls: TlsServerConfig) -> Iterator[tuple[str, str]]:
    for key, inline, name in (
        ("cert", tls.cert, tls.cert_file),
        ("key", tls.key.reveal(), tls.key_file),
        ("client_ca", tls.client_ca, tls.client_ca_file),
    ):
        if inline and name:
            yield key, f"{key} and {key}_file are both set; keep one"
        if not inline and not name and key != "client_ca":
            yield f"{key}_file", f"not set; TLS needs {key}_file, or {key}"
    if (tls.client_ca or tls.client_ca_file) and not tls.verifies_clients:
        key = "client_ca" if tls.client_ca else "client_ca_file"
        yield key, "client_auth_type does not ask clients for certificates; write RequireAndVerifyClientCert there"
    if tls.verifies_clients and not (tls.client_ca or tls.client_ca_file):
        yield "client_auth_type", f"{tls.client_auth_type} needs client_ca_file, or client_ca"
    if tls.client_allowed_sans and tls.client_auth_type != "RequireAndVerifyClientCert":
        yield "client_allowed_sans", "needs client_auth_type RequireAndVerifyClientCert"
    if tls.min_version > tls.max_version:
        yield "min_version", f"{tls.min_version} is above max_version ({tls.max_version})"
