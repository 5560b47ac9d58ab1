"""TLS for gRPC, both sides: certificates in PEM files, read again when the files change."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import grpc

from exporter import files
from exporter.certificates import tls_problems
from exporter.config.settings import TlsSettings
from exporter.errors import ConfigurationError
from exporter.watched_files import STABLE_SECONDS, WatchedFiles

log = logging.getLogger(__name__)

CHANNEL_OPTIONS: Final[tuple[tuple[str, int | str], ...]] = (
    # By default gRPC waits up to two minutes before it reconnects: too long to be blind.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A name is resolved at each attempt to connect, not only twice a minute: its address may have changed.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    # A new channel is a new connection: channels would share one otherwise.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Pem:
    """The contents of the files; None: not configured."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None


class ChannelSource:
    """Makes channels to ``target`` with the current certificates.

    Raises ConfigurationError where ``insecure`` and TLS are both configured.
    """

    def __init__(
        self, target: str, tls: TlsSettings, *, insecure: bool, stable_seconds: float = STABLE_SECONDS
    ) -> None:
        if insecure and (tls.ca_file or tls.cert_file or tls.key_file or tls.server_name):
            raise ConfigurationError(f"{target}: insecure (plaintext) and tls are both configured; keep one of them")
        self.target = target
        self._tls = tls
        self._insecure = insecure
        self._watched = WatchedFiles(stable_seconds)

    def channel(self) -> grpc.aio.Channel:
        """Returns a new channel. Raises ConfigurationError naming the file that cannot be used."""
        if self._insecure:
            return grpc.aio.insecure_channel(self.target, options=CHANNEL_OPTIONS)
        pem = read_pem(self._tls, self._watched)
        options = list(CHANNEL_OPTIONS)
        if self._tls.server_name:
            options.append(("grpc.ssl_target_name_override", self._tls.server_name))
        credentials = grpc.ssl_channel_credentials(pem.ca, pem.key, pem.cert)
        return grpc.aio.secure_channel(self.target, credentials, options=options)

    def changed(self) -> bool:
        """Returns whether a file differs from what ``channel`` last read, or tried to, and is stable."""
        return self._watched.changed()


def server_credentials(
    tls: TlsSettings, *, client_required: bool = True, stable_seconds: float = STABLE_SECONDS
) -> grpc.ServerCredentials:
    """Returns credentials that follow the files; ``client_required``: clients need a certificate of ``ca_file``.

    A handshake reads files that changed; where these cannot be used, the last
    good ones stay. Raises ConfigurationError where the first ones cannot.
    """
    if not tls.cert_file or not tls.key_file:
        raise ConfigurationError("tls.cert_file and tls.key_file: not set; a server needs both")
    if client_required and not tls.ca_file:
        raise ConfigurationError("tls.ca_file: not set; it says whose client certificates are accepted")
    watched = WatchedFiles(stable_seconds)
    first = _server_configuration(read_pem(tls, watched))

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        # Called in gRPC's own thread at each handshake; None: no change.
        if not watched.changed():
            return None
        try:
            configuration = _server_configuration(read_pem(tls, watched))
        except ConfigurationError as error:
            log.warning("changed certificates are unusable, keeping the last ones", extra={"error": str(error)})
            return None
        log.info("certificates reloaded", extra={"cert_file": tls.cert_file})
        return configuration

    return grpc.dynamic_ssl_server_credentials(
        first,
        fetch,  # type: ignore[arg-type] # None is allowed, and means no change
        require_client_authentication=client_required,
    )


def read_pem(tls: TlsSettings, watched: WatchedFiles | None = None) -> Pem:
    """Returns the files' contents. Raises ConfigurationError naming the file that cannot be used, and why."""
    names = (tls.ca_file, tls.cert_file, tls.key_file)
    if watched is not None:
        watched.take(filter(None, names))
    # gRPC says nothing of bad files until a handshake fails, and not much then.
    problems = [f"tls.{key}: {message}" for key, message in tls_problems(tls)]
    if (tls.cert_file is None) != (tls.key_file is None):
        problems.append("tls: cert_file and key_file belong together")
    if problems:
        raise ConfigurationError(*problems)
    try:
        return Pem(*(files.read(file) if file else None for file in names))
    except OSError as error:
        raise ConfigurationError(f"tls: a file cannot be read any more: {error.strerror}") from error


def _server_configuration(pem: Pem) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pem.key or b"", pem.cert or b"")], pem.ca)
