"""Certificate files that cannot be used are refused in one sentence that names the file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization

from exporter.config.settings import TlsSettings
from exporter.errors import ConfigurationError
from exporter.grpc_tls import ChannelSource, read_pem, server_credentials
from tests.support.certificates import Authority

KEYS = ("ca_file", "cert_file", "key_file")


@pytest.fixture
def tls(tmp_path: Path) -> TlsSettings:
    return Authority(tmp_path).tls("client")


def rewrite(file: str | None, folder: Path) -> None:
    """Puts a file with the same contents in its place, as a renewal does."""
    replacement = folder / "replacement"
    replacement.write_bytes(Path(file or "").read_bytes())
    replacement.replace(file or "")


def remove(file: str | None) -> None:
    Path(file or "").unlink()


def test_files_are_read_as_they_are(tls: TlsSettings):
    pem = read_pem(tls)

    assert [pem.ca, pem.cert, pem.key] == [Path(getattr(tls, key)).read_bytes() for key in KEYS]


def test_no_files_at_all_means_the_authorities_that_grpc_brings_along():
    pem = read_pem(TlsSettings())

    assert (pem.ca, pem.cert, pem.key) == (None, None, None)


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_file_is_named(tls: TlsSettings, tmp_path: Path, key: str):
    missing = str(tmp_path / "missing.pem")

    with pytest.raises(ConfigurationError) as caught:
        read_pem(msgspec.structs.replace(tls, **{key: missing}))

    assert str(caught.value) == f"tls.{key}: {missing} cannot be read: No such file or directory"


@pytest.mark.parametrize("key", KEYS)
def test_a_file_that_is_not_pem_is_named(tls: TlsSettings, key: str):
    file = Path(getattr(tls, key))
    file.write_bytes(b"\x30\x82\x01\x00 DER, perhaps")

    with pytest.raises(ConfigurationError, match=f"tls.{key}: {file} is not PEM"):
        read_pem(tls)


def test_a_damaged_certificate_is_refused(tls: TlsSettings):
    Path(tls.ca_file or "").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")

    with pytest.raises(ConfigurationError, match=r"ca_file: .* holds no certificate that can be read"):
        read_pem(tls)


def test_a_key_of_another_certificate_is_refused(tls: TlsSettings, tmp_path: Path):
    other = Authority(tmp_path, "Other CA").issue("other")

    with pytest.raises(ConfigurationError, match="is not the key of the certificate"):
        read_pem(msgspec.structs.replace(tls, key_file=other.key_file))


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(tls: TlsSettings):
    file = Path(tls.key_file or "")
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )

    with pytest.raises(ConfigurationError, match=r"tls\.key_file: .* is protected by a password"):
        read_pem(tls)


def test_a_certificate_without_its_key_is_refused(tls: TlsSettings):
    with pytest.raises(ConfigurationError, match="belong together"):
        read_pem(msgspec.structs.replace(tls, key_file=None))


@pytest.mark.parametrize("key", [*KEYS, "server_name"])
def test_plaintext_and_tls_together_are_refused(key: str):
    with pytest.raises(ConfigurationError, match="both configured"):
        ChannelSource("bridge:50051", TlsSettings(**{key: "x"}), insecure=True)


async def test_a_channel_is_not_made_of_files_that_cannot_be_used(tmp_path: Path):
    source = ChannelSource("bridge:50051", TlsSettings(ca_file=str(tmp_path / "ca.pem")), insecure=False)

    with pytest.raises(ConfigurationError, match=r"ca\.pem cannot be read"):
        source.channel()


async def test_files_have_changed_only_when_they_have(tls: TlsSettings, tmp_path: Path):
    source = ChannelSource("localhost:50051", tls, insecure=False, stable_seconds=0)
    await source.channel().close()
    assert not source.changed()

    rewrite(tls.cert_file, tmp_path)

    assert source.changed()
    await source.channel().close()
    assert not source.changed()


async def test_a_file_that_went_away_is_a_change(tls: TlsSettings):
    source = ChannelSource("localhost:50051", tls, insecure=False, stable_seconds=0)
    await source.channel().close()

    remove(tls.key_file)

    assert source.changed()


async def test_plaintext_never_changes():
    source = ChannelSource("localhost:50051", TlsSettings(), insecure=True)
    await source.channel().close()

    assert not source.changed()


def test_a_server_needs_a_certificate(tls: TlsSettings):
    with pytest.raises(ConfigurationError, match="a server needs both"):
        server_credentials(TlsSettings(ca_file=tls.ca_file))


def test_a_server_that_asks_for_client_certificates_needs_their_authority(tls: TlsSettings):
    with pytest.raises(ConfigurationError, match=r"tls\.ca_file: not set"):
        server_credentials(msgspec.structs.replace(tls, ca_file=None))
