"""TLS, client certificates and basic auth on real sockets, and their renewal under way."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bcrypt
import httpx
import pytest
import uvloop
import yaml
from starlette.responses import PlainTextResponse

from exporter.config.settings import WebSettings
from exporter.errors import ConfigurationError
from exporter.health import Readiness
from exporter.metrics import Metrics
from exporter.web.app import create_app
from exporter.web.sources import Sources
from tests.support import http
from tests.support.builders import bucket, poll, view
from tests.support.certificates import Authority, Pair
from tests.support.http import WAIT_SECONDS, connect, read_to_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp

    from exporter.web.server.server import WebServer

HASH = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def write(folder: Path, **content: Any) -> str:
    """Writes the web configuration as an editor does: beside it, and then in its place."""
    file = folder / "web.yml"
    file.with_suffix(".new").write_text(yaml.safe_dump(content), encoding="utf-8")
    file.with_suffix(".new").replace(file)
    return str(file)


def tls(pair: Pair, **given: Any) -> dict[str, Any]:
    return {"cert_file": pair.cert_file, "key_file": pair.key_file} | given


def trusting(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca_file)
    if pair is not None:
        context.load_cert_chain(pair.cert_file, pair.key_file)
    return context


def app(participants: int = 1) -> ASGIApp:
    metrics = Metrics()
    buckets = [bucket(policy=f"SOME_POLICY_{number:02d}") for number in range(30)]
    for number in range(participants):
        metrics.publish(view(poll(*buckets, participant=f"{number:08d}")))
    return create_app(Sources(metrics, dict, lambda: Readiness(ready=True, dependencies=[])), WebSettings())


def serving(config_file: str, served: ASGIApp | None = None, **options: Any) -> AbstractAsyncContextManager[WebServer]:
    return http.serving(served or app(), http.settings(config_file=config_file), **options)


async def get(server: WebServer, context: ssl.SSLContext | None, **given: Any) -> httpx.Response:
    scheme = "http" if context is None else "https"
    async with httpx.AsyncClient(verify=context or True, timeout=WAIT_SECONDS) as client:
        return await client.get(f"{scheme}://{server.addresses[0]}/metrics", **given)


async def until(condition: Callable[[], Coroutine[None, None, object]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await condition():
            await asyncio.sleep(0.02)


def serial(server: WebServer) -> str:
    """Returns the certificate that the server shows now."""
    host, _, port = server.addresses[0].rpartition(":")
    return ssl.get_server_certificate((host, int(port)))


async def test_metrics_are_served_over_tls_only(tmp_path: Path, authority: Authority):
    async with serving(write(tmp_path, tls_server_config=tls(authority.issue("server")))) as server:
        answer = await get(server, trusting(authority))

        assert answer.status_code == 200
        with pytest.raises(httpx.TransportError):
            await get(server, None)


async def test_silent_tls_clients_do_not_delay_a_scrape(tmp_path: Path, authority: Authority):
    async with serving(write(tmp_path, tls_server_config=tls(authority.issue("server")))) as server:
        silent = [await connect(server, None) for _ in range(100)]
        for _, writer in silent[:50]:
            writer.write(b"\x16\x03\x01")

        assert (await get(server, trusting(authority))).status_code == 200
        for _, writer in silent:
            writer.close()


async def test_slow_tls_clients_do_not_delay_a_scrape(tmp_path: Path, authority: Authority):
    config = write(tmp_path, tls_server_config=tls(authority.issue("server")))
    async with serving(config, app(participants=300)) as server:
        slow = [await connect(server, trusting(authority)) for _ in range(30)]
        for number, (_, writer) in enumerate(slow):
            request = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"
            # Some never end their request, some never read their answer.
            writer.write(request[:-4] if number % 2 else request)
            await writer.drain()

        assert (await get(server, trusting(authority))).status_code == 200
        for _, writer in slow:
            writer.transport.abort()


async def test_a_handshake_that_does_not_end_is_closed_in_time(tmp_path: Path, authority: Authority):
    async with serving(
        write(tmp_path, tls_server_config=tls(authority.issue("server"))), request_seconds=0.1
    ) as server:
        reader, writer = await connect(server, None)
        writer.write(b"\x16\x03\x01")

        assert await read_to_end(reader) == b""
        writer.close()


async def test_a_request_that_drips_over_tls_is_closed_in_time(tmp_path: Path, authority: Authority):
    async with serving(write(tmp_path, tls_server_config=tls(authority.issue("server"))), request_seconds=2) as server:
        reader, writer = await connect(server, trusting(authority))
        closed = asyncio.create_task(read_to_end(reader))
        writer.write(b"GET /metrics HTTP/1.1\r\n")
        drips = 0
        while not closed.done():
            writer.write(b"X-Drip: 1\r\n")
            drips += 1
            await asyncio.wait([closed], timeout=0.02)

        assert await closed == b""
        assert drips > 1
        writer.transport.abort()


async def test_a_response_that_is_not_read_over_tls_is_given_up_in_time(tmp_path: Path, authority: Authority):
    config = write(tmp_path, tls_server_config=tls(authority.issue("server")))
    async with serving(config, app(participants=1000), response_seconds=0.2) as server:
        _, writer = await connect(server, trusting(authority))
        writer.transport.pause_reading()
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")

        async def answering() -> bool:
            return any(one.responding for one in server.connections)

        async def given_up() -> bool:
            return not server.connections

        await until(answering)
        await until(given_up)
        writer.transport.abort()


async def test_the_chosen_suite_is_what_is_spoken(tmp_path: Path, authority: Authority):
    chosen = {"max_version": "TLS12", "cipher_suites": ["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]}
    other = trusting(authority)
    other.maximum_version = ssl.TLSVersion.TLSv1_2
    other.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    async with serving(write(tmp_path, tls_server_config=tls(authority.issue("server"), **chosen))) as server:
        _, writer = await connect(server, trusting(authority))

        assert writer.get_extra_info("cipher")[:2] == ("ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2")
        with pytest.raises(httpx.TransportError):
            await get(server, other)
        writer.close()


async def test_beyond_the_limit_the_handshake_that_takes_longest_goes(tmp_path: Path, authority: Authority):
    async with serving(write(tmp_path, tls_server_config=tls(authority.issue("server"))), connections=5) as server:
        silent = [await connect(server, None) for _ in range(10)]

        assert (await get(server, trusting(authority))).status_code == 200
        async with asyncio.timeout(WAIT_SECONDS):
            assert await silent[0][0].read() == b""
        for _, writer in silent:
            writer.close()


async def test_a_client_without_a_certificate_is_refused_where_one_is_required(tmp_path: Path, authority: Authority):
    required = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": authority.ca_file}
    stranger = Authority(tmp_path, "Other CA").issue("stranger")
    config = write(tmp_path, tls_server_config=tls(authority.issue("server"), **required))
    async with serving(config) as server:
        assert (await get(server, trusting(authority, authority.issue("prometheus")))).status_code == 200
        for refused in (trusting(authority), trusting(authority, stranger)):
            with pytest.raises(httpx.TransportError):
                await get(server, refused)


async def test_a_certificate_may_be_left_out_where_it_is_only_verified_if_given(tmp_path: Path, authority: Authority):
    asked = {"client_auth_type": "VerifyClientCertIfGiven", "client_ca_file": authority.ca_file}
    stranger = Authority(tmp_path, "Other CA").issue("stranger")
    async with serving(write(tmp_path, tls_server_config=tls(authority.issue("server"), **asked))) as server:
        assert (await get(server, trusting(authority))).status_code == 200
        with pytest.raises(httpx.TransportError):
            await get(server, trusting(authority, stranger))


async def test_a_client_whose_name_is_not_allowed_reaches_nothing(tmp_path: Path, authority: Authority):
    reached = []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            reached.append(scope["path"])
            await PlainTextResponse("inside")(scope, receive, send)

    named = {
        "client_auth_type": "RequireAndVerifyClientCert",
        "client_ca_file": authority.ca_file,
        "client_allowed_sans": ["prometheus.example"],
    }
    allowed = authority.issue("allowed", ["prometheus.example"])
    other = authority.issue("other", ["grafana.example"])
    config = write(tmp_path, tls_server_config=tls(authority.issue("server"), **named))
    async with serving(config, noting) as server:
        with pytest.raises(httpx.TransportError):
            await get(server, trusting(authority, other))
        assert not reached

        assert (await get(server, trusting(authority, allowed))).status_code == 200


async def test_certificates_that_stand_in_the_file_itself_are_used_and_renewed(tmp_path: Path, authority: Authority):
    client = trusting(authority, authority.issue("prometheus"))

    def inline() -> str:
        pair = authority.issue("server")
        pem = {name: Path(file).read_text() for name, file in (("cert", pair.cert_file), ("key", pair.key_file))}
        required = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca": Path(authority.ca_file).read_text()}
        return write(tmp_path, tls_server_config=pem | required)

    async with serving(inline(), reload_seconds=0.02) as server:
        before = await asyncio.to_thread(serial, server)
        assert (await get(server, client)).status_code == 200
        with pytest.raises(httpx.TransportError):
            await get(server, trusting(authority))

        inline()

        async def renewed() -> bool:
            return await asyncio.to_thread(serial, server) != before

        await until(renewed)
        assert (await get(server, client)).status_code == 200


async def test_a_rate_limit_holds_without_a_restart(tmp_path: Path):
    async with serving(write(tmp_path), reload_seconds=0.02) as server:
        assert [(await get(server, None)).status_code for _ in range(5)] == [200] * 5

        write(tmp_path, rate_limit={"interval": "1h", "burst": 2})

        async def limited() -> bool:
            return (await get(server, None)).status_code == 429

        await until(limited)
        write(tmp_path, rate_limit={"interval": 0})

        async def free_again() -> bool:
            return (await get(server, None)).status_code == 200

        await until(free_again)


async def test_an_older_version_than_asked_for_is_refused(tmp_path: Path, authority: Authority):
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    config = write(tmp_path, tls_server_config=tls(authority.issue("server"), min_version="TLS13"))
    async with serving(config) as server:
        with pytest.raises(httpx.TransportError):
            await get(server, old)

        assert (await get(server, trusting(authority))).status_code == 200


async def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path, authority: Authority):
    async with serving(
        write(tmp_path, tls_server_config=tls(authority.issue("server"))), reload_seconds=0.02
    ) as server:
        before = await asyncio.to_thread(serial, server)
        async with httpx.AsyncClient(verify=trusting(authority), timeout=WAIT_SECONDS) as kept:
            await kept.get(f"https://{server.addresses[0]}/-/healthy")
            [connection] = server.connections

            authority.issue("server")

            async def renewed() -> bool:
                return await asyncio.to_thread(serial, server) != before

            await until(renewed)
            assert (await kept.get(f"https://{server.addresses[0]}/-/healthy")).status_code == 200
            assert connection in server.connections


async def test_users_change_without_a_restart(tmp_path: Path):
    async with serving(write(tmp_path, basic_auth_users={"prometheus": HASH}), reload_seconds=0.02) as server:
        assert (await get(server, None)).status_code == 401
        assert (await get(server, None, auth=("prometheus", "secret"))).status_code == 200

        write(tmp_path, basic_auth_users={"other": HASH})

        async def changed() -> bool:
            return (await get(server, None, auth=("prometheus", "secret"))).status_code == 401

        await until(changed)
        assert (await get(server, None, auth=("other", "secret"))).status_code == 200


async def test_tls_is_turned_on_without_a_restart(tmp_path: Path, authority: Authority):
    async with serving(write(tmp_path), reload_seconds=0.02) as server:
        assert (await get(server, None)).status_code == 200

        write(tmp_path, tls_server_config=tls(authority.issue("server")))

        async def turned_on() -> bool:
            with suppress(httpx.TransportError):
                return (await get(server, trusting(authority))).status_code == 200
            return False

        await until(turned_on)


async def test_a_bad_file_leaves_the_running_configuration(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    async with serving(write(tmp_path, basic_auth_users={"prometheus": HASH}), reload_seconds=0.02) as server:
        write(tmp_path, nonsense=1)

        async def noticed() -> bool:
            return any("nonsense: no such key" in getattr(record, "error", "") for record in caplog.records)

        await until(noticed)
        assert (await get(server, None, auth=("prometheus", "secret"))).status_code == 200
        assert (await get(server, None)).status_code == 401
    assert caplog.text.count("not reloaded") == 1


async def test_a_certificate_that_comes_late_is_used(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
):
    async with serving(write(tmp_path), reload_seconds=0.02) as server:
        write(tmp_path, tls_server_config={"cert_file": "server.pem", "key_file": "server.key"})

        async def missed() -> bool:
            return any("server.pem" in getattr(record, "error", "") for record in caplog.records)

        await until(missed)
        authority.issue("server")

        async def serves() -> bool:
            with suppress(httpx.TransportError):
                return (await get(server, trusting(authority))).status_code == 200
            return False

        await until(serves)


async def test_a_bad_file_at_the_start_is_a_configuration_error(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"web\.yml:1: nonsense: no such key"):
        async with serving(write(tmp_path, nonsense=1)):
            pass


@pytest.mark.parametrize(
    "fact",
    [
        test_metrics_are_served_over_tls_only,
        test_silent_tls_clients_do_not_delay_a_scrape,
        test_slow_tls_clients_do_not_delay_a_scrape,
        test_a_client_without_a_certificate_is_refused_where_one_is_required,
        test_a_client_whose_name_is_not_allowed_reaches_nothing,
    ],
    ids=lambda fact: fact.__name__,
)
def test_so_it_is_on_uvloop(
    fact: Callable[[Path, Authority], Coroutine[None, None, None]], tmp_path: Path, authority: Authority
):
    uvloop.run(fact(tmp_path, authority))


def test_a_renewed_certificate_is_used_on_uvloop_too(tmp_path: Path, authority: Authority):
    uvloop.run(test_a_renewed_certificate_is_used_without_a_restart(tmp_path, authority))


@pytest.mark.prometheus
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's package prometheus is not installed")
async def test_prometheus_scrapes_over_tls_with_a_client_certificate_and_a_password(
    tmp_path: Path, authority: Authority
):
    client = authority.issue("prometheus", ["prometheus.example"])
    config = write(
        tmp_path,
        tls_server_config=tls(
            authority.issue("server"),
            client_auth_type="RequireAndVerifyClientCert",
            client_ca_file=authority.ca_file,
            client_allowed_sans=["prometheus.example"],
        ),
        basic_auth_users={"prometheus": HASH},
    )
    async with serving(config) as server:
        scrape = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [
                {
                    "job_name": "dict",
                    "scheme": "https",
                    "tls_config": {"ca_file": authority.ca_file} | tls(client),
                    "basic_auth": {"username": "prometheus", "password": "secret"},
                    "static_configs": [{"targets": server.addresses}],
                }
            ],
        }
        (tmp_path / "prometheus.yml").write_text(json.dumps(scrape), encoding="utf-8")
        async with prometheus(tmp_path) as address, httpx.AsyncClient(timeout=WAIT_SECONDS) as client:

            async def scraped() -> bool:
                with suppress(httpx.TransportError):
                    answer = await client.get(f"{address}/api/v1/query", params={"query": "dict_rate_limit_up"})
                    return answer.status_code == 200 and bool(answer.json()["data"]["result"])
                return False

            await until(scraped)
            targets = (await client.get(f"{address}/api/v1/targets")).json()["data"]["activeTargets"]

    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]


@asynccontextmanager
async def prometheus(folder: Path) -> AsyncIterator[str]:
    """Runs a real Prometheus with ``prometheus.yml``; its address is read from its log."""
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
            stdout=output,
            stderr=output,
        )
    try:
        found: list[str] = []

        async def listens() -> bool:
            lines = log.read_text(encoding="utf-8").splitlines()
            found[:] = [line.rpartition("address=")[2] for line in lines if "Listening on" in line]
            return bool(found)

        await until(listens)
        yield f"http://{found[0]}"
    finally:
        process.terminate()
        await process.wait()
