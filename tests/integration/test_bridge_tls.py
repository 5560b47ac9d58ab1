"""Mutual TLS between client and server: who is accepted, and certificates renewed under way."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from exporter.config.settings import TlsSettings
from exporter.errors import BridgeUnavailable
from exporter.grpc_tls import server_credentials
from tests.support.bridge import GOOD, bridge, client, good
from tests.support.builders import PARTICIPANT
from tests.support.certificates import Authority

if TYPE_CHECKING:
    import grpc

    from exporter.bridge.client import BridgeClient


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def fetch(made: BridgeClient) -> None:
    await made.fetch(PARTICIPANT, retries=0, time_limit_seconds=30)


async def refused(made: BridgeClient) -> str:
    with pytest.raises(BridgeUnavailable) as caught:
        await fetch(made)
    return str(caught.value)


async def test_a_client_with_a_certificate_is_served(authority: Authority):
    async with (
        bridge(good, server_credentials(authority.tls("server"))) as server,
        client(server.target, tls=authority.tls("client-1")) as made,
    ):
        await fetch(made)

        assert server.client_names == ["client-1"]


async def test_a_client_without_a_certificate_is_not_served(authority: Authority):
    async with (
        bridge(good, server_credentials(authority.tls("server"))) as server,
        client(server.target, tls=TlsSettings(ca_file=authority.ca_file)) as made,
    ):
        message = await refused(made)

        assert server.calls == 0
        assert "perhaps the Bridge wants a client certificate (mutual TLS): see bridge.tls.cert_file" in message


async def test_a_client_of_another_authority_is_not_served(authority: Authority, tmp_path: Path):
    stranger = Authority(tmp_path, "Other CA").issue("stranger")
    tls = TlsSettings(ca_file=authority.ca_file, cert_file=stranger.cert_file, key_file=stranger.key_file)

    async with (
        bridge(good, server_credentials(authority.tls("server"))) as server,
        client(server.target, tls=tls) as made,
    ):
        message = await refused(made)

        assert server.calls == 0
        assert "perhaps the Bridge does not take this client's certificate (mutual TLS)" in message


async def test_a_server_of_another_authority_is_not_asked(authority: Authority, tmp_path: Path):
    tls = msgspec.structs.replace(authority.tls("client"), ca_file=Authority(tmp_path, "Other CA").ca_file)

    async with (
        bridge(good, server_credentials(authority.tls("server"))) as server,
        client(server.target, tls=tls) as made,
    ):
        message = await refused(made)

        assert server.calls == 0
        assert "certificate" in message.lower()


async def test_a_server_is_known_by_its_configured_name(authority: Authority):
    pair = authority.issue("server", names=["bridge.example"])
    served = TlsSettings(ca_file=authority.ca_file, cert_file=pair.cert_file, key_file=pair.key_file)

    async with bridge(good, server_credentials(served)) as server:
        async with client(server.target, tls=authority.tls("client", server_name="bridge.example")) as made:
            await fetch(made)
        async with client(server.target, tls=authority.tls("client")) as made:
            await refused(made)

        assert server.calls == 1


async def test_a_plaintext_client_is_not_served(authority: Authority):
    async with (
        bridge(good, server_credentials(authority.tls("server"))) as server,
        client(server.target) as made,
    ):
        await refused(made)

        assert server.calls == 0


async def test_a_server_may_do_without_client_certificates(authority: Authority):
    credentials = server_credentials(authority.tls("server"), client_required=False)

    async with (
        bridge(good, credentials) as server,
        client(server.target, tls=TlsSettings(ca_file=authority.ca_file)) as made,
    ):
        await fetch(made)

        assert server.client_names == [None]


async def test_the_next_fetch_shows_a_renewed_certificate(authority: Authority):
    tls = authority.tls("client")

    async with (
        bridge(good, server_credentials(authority.tls("server"))) as server,
        client(server.target, tls=tls, stable_seconds=0) as made,
    ):
        await fetch(made)
        renew(tls, authority.tls("renewed"))
        await fetch(made)
        await fetch(made)

        assert server.client_names == ["client", "renewed", "renewed"]
        assert len(set(server.peers)) == 2


async def test_a_call_in_progress_outlives_the_renewal(authority: Authority):
    tls = authority.tls("client")
    go_on = asyncio.Event()

    async def answer(call: int, _context: grpc.aio.ServicerContext) -> bytes:
        if call == 1:
            await go_on.wait()
        return GOOD

    async with (
        bridge(answer, server_credentials(authority.tls("server"))) as server,
        client(server.target, tls=tls, stable_seconds=0) as made,
    ):
        first = asyncio.create_task(fetch(made))
        await server.called.wait()
        renew(tls, authority.tls("renewed"))
        await fetch(made)
        go_on.set()
        await first

        assert server.client_names == ["client", "renewed"]


async def test_a_half_written_pair_leaves_the_connection_as_it_is(
    authority: Authority, caplog: pytest.LogCaptureFixture
):
    tls, renewed = authority.tls("client"), authority.tls("renewed")

    async with (
        bridge(good, server_credentials(authority.tls("server"))) as server,
        client(server.target, tls=tls, stable_seconds=0) as made,
    ):
        await fetch(made)
        copy(renewed.cert_file, tls.cert_file)
        with caplog.at_level(logging.WARNING):
            await fetch(made)
            await fetch(made)
        copy(renewed.key_file, tls.key_file)
        await fetch(made)

        assert server.client_names == ["client", "client", "client", "renewed"]
        warnings = [r.error for r in caplog.records if r.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "is not the key of the certificate" in warnings[0]


async def test_a_server_shows_its_renewed_certificate_at_the_next_handshake(authority: Authority, tmp_path: Path):
    tls = authority.tls("server")
    newer = Authority(tmp_path, "Newer CA")

    async with bridge(good, server_credentials(tls, stable_seconds=0)) as server:
        async with client(server.target, tls=authority.tls("client")) as made:
            await fetch(made)
        renew(tls, newer.tls("renewed"))
        copy(newer.ca_file, tls.ca_file)
        async with client(server.target, tls=newer.tls("newer-client")) as made:
            await fetch(made)

        assert server.client_names == ["client", "newer-client"]


async def test_a_server_keeps_its_certificate_while_the_new_one_cannot_be_used(authority: Authority):
    tls = authority.tls("server")

    async with bridge(good, server_credentials(tls, stable_seconds=0)) as server:
        overwrite(tls.key_file, b"no key at all")
        async with client(server.target, tls=authority.tls("client")) as made:
            await fetch(made)

        assert server.calls == 1


def renew(tls: TlsSettings, renewed: TlsSettings) -> None:
    copy(renewed.cert_file, tls.cert_file)
    copy(renewed.key_file, tls.key_file)


def copy(source: str | None, target: str | None) -> None:
    overwrite(target, Path(source or "").read_bytes())


def overwrite(file: str | None, content: bytes) -> None:
    """Replaces a file, as a renewal does: another inode, so that even the same second is a change."""
    replacement = Path(f"{file}.new")
    replacement.write_bytes(content)
    replacement.replace(file or "")
