"""The real server on real sockets: slow, silent, big and broken clients."""

from __future__ import annotations

import asyncio
import gzip
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvloop

from exporter.config.settings import WebSettings
from exporter.errors import ConfigurationError
from exporter.health import Readiness
from exporter.metrics import Metrics
from exporter.metrics.exposition import SLICE_BYTES
from exporter.web.app import create_app
from exporter.web.server.server import WebServer
from exporter.web.sources import Sources
from tests.support import conditions, http
from tests.support.builders import bucket, poll, view
from tests.support.garbage import uncollected
from tests.support.http import WAIT_SECONDS, connect, read_to_end

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Receive, Scope, Send

until = partial(conditions.until, seconds=WAIT_SECONDS)


def big_metrics(participants: int) -> Metrics:
    metrics = Metrics()
    buckets = [bucket(7, policy=f"SOME_POLICY_{number:02d}", capacity=10) for number in range(30)]
    for number in range(participants):
        metrics.publish(view(poll(*buckets, participant=f"{number:08d}")))
    return metrics


def app_of(metrics: Metrics) -> ASGIApp:
    return create_app(Sources(metrics, dict, lambda: Readiness(ready=True, dependencies=[])), WebSettings())


def serving(
    app: ASGIApp | None = None, address: str = "127.0.0.1:0", **limits: Any
) -> AbstractAsyncContextManager[WebServer]:
    return http.serving(app or app_of(big_metrics(1)), http.settings(address), **limits)


async def scrape(server: WebServer) -> httpx.Response:
    async with httpx.AsyncClient(timeout=WAIT_SECONDS) as client:
        return await client.get(f"http://{server.addresses[0]}/metrics")


async def test_silent_clients_do_not_delay_a_scrape():
    async with serving() as server:
        silent = [await connect(server) for _ in range(200)]

        answer = await scrape(server)

        assert answer.status_code == 200
        for _, writer in silent:
            writer.close()


async def test_a_client_that_reads_nothing_does_not_delay_a_scrape():
    async with serving(app_of(big_metrics(300))) as server:
        slow = [await connect(server) for _ in range(20)]
        for _, writer in slow:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")
            await writer.drain()

        answer = await scrape(server)

        assert answer.status_code == 200
        for _, writer in slow:
            writer.close()


async def test_clients_that_drip_do_not_delay_a_scrape():
    async with serving() as server:
        slow = [await connect(server) for _ in range(100)]
        for _, writer in slow:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: exp")
            await writer.drain()

        answer = await scrape(server)

        assert answer.status_code == 200
        for _, writer in slow:
            writer.close()


async def test_a_connection_that_asks_nothing_is_closed_in_time():
    async with serving(request_seconds=0.05) as server:
        reader, writer = await connect(server)

        assert await read_to_end(reader) == b""
        writer.close()


async def test_a_request_that_drips_is_closed_in_time():
    async with serving(request_seconds=1) as server:
        reader, writer = await connect(server)
        closed = asyncio.create_task(read_to_end(reader))
        writer.write(b"GET /metrics HTTP/1.1\r\n")
        drips = 0
        while not closed.done():
            writer.write(b"X-Drip: 1\r\n")
            drips += 1
            await asyncio.wait([closed], timeout=0.02)

        assert await closed == b""
        assert drips > 1
        writer.close()


async def test_a_body_that_never_ends_is_closed_in_time():
    async with serving(request_seconds=0.2) as server:
        reader, writer = await connect(server)
        closed = asyncio.create_task(read_to_end(reader))
        writer.write(b"POST /-/reload HTTP/1.1\r\nHost: exporter\r\nContent-Length: 1000000\r\n\r\n")
        while not closed.done():
            writer.write(b"x")
            await asyncio.wait([closed], timeout=0.02)

        assert (await closed).startswith(b"HTTP/1.1 403")
        writer.close()


async def test_a_response_that_is_not_read_is_given_up_in_time():
    metrics = big_metrics(1000)
    async with serving(app_of(metrics), response_seconds=0.2) as server:
        reader, writer = await connect(server)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")
        await until(lambda: server.connections)
        await until(lambda: not server.connections)

        assert len(await read_to_end(reader)) < len(metrics.exposition())
        writer.close()


async def test_what_a_client_was_sent_that_went_away_is_freed_without_the_garbage_collector(
    monkeypatch: pytest.MonkeyPatch,
):
    metrics = big_metrics(1000)
    exposition, slices = metrics.exposition(), []

    def page(**_: object) -> Iterator[memoryview]:
        for begin in range(0, len(exposition), SLICE_BYTES):
            part = memoryview(exposition)[begin : begin + SLICE_BYTES]
            slices.append(weakref.ref(part))
            yield part

    monkeypatch.setattr(metrics, "page", page)
    with uncollected():
        async with serving(app_of(metrics)) as server:
            reader, writer = await connect(server)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")
            await reader.readexactly(1024)
            writer.transport.abort()

            await until(lambda: not server.connections and not any(part() is not None for part in slices))
            assert 0 < len(slices) < len(exposition) // SLICE_BYTES


async def test_a_response_to_a_request_that_was_waiting_is_given_up_in_time():
    async with serving(app_of(big_metrics(1000)), response_seconds=0.2) as server:
        _, writer = await connect(server)
        both = b"GET /-/healthy HTTP/1.1\r\nHost: exporter\r\n\r\nGET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"
        writer.write(both)
        await until(lambda: server.connections)

        await until(lambda: not server.connections)
        writer.close()


async def test_a_connection_is_kept_between_scrapes():
    async with (
        serving(request_seconds=0.5) as server,
        httpx.AsyncClient(base_url=f"http://{server.addresses[0]}", timeout=WAIT_SECONDS) as client,
    ):
        await client.get("/-/healthy")
        [kept] = server.connections
        reader, writer = await connect(server)
        await read_to_end(reader)  # a request's time has passed
        writer.close()

        await client.get("/-/healthy")

        assert server.connections == {kept}


async def test_a_head_that_is_too_long_is_refused():
    async with serving() as server:
        reader, writer = await connect(server)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\nX-Long: " + b"x" * 20_000)

        assert (await read_to_end(reader)).startswith(b"HTTP/1.1 4")
        writer.close()


async def test_what_is_not_http_is_refused():
    async with serving() as server:
        reader, writer = await connect(server)
        writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")

        assert (await read_to_end(reader)).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_beyond_the_limit_of_connections_the_longest_waiting_goes():
    async with serving(connections=3) as server:
        silent = []
        for number in range(3):
            silent.append(await connect(server))
            await until(lambda open_=number + 1: len(server.connections) == open_)

        answer = await scrape(server)

        assert answer.status_code == 200
        assert await read_to_end(silent[0][0]) == b""
        assert not silent[1][0].at_eof()
        for _, writer in silent:
            writer.close()


async def test_clients_that_read_nothing_do_not_take_all_connections():
    async with serving(app_of(big_metrics(1000)), connections=3) as server:
        deaf = []
        for number in range(1, 6):
            _, writer = await connect(server)
            deaf.append(writer)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n")
            reading_nothing = min(number, 3)
            await until(lambda n=reading_nothing: sum(c.flow.write_paused for c in server.connections) == n)

        assert len(server.connections) == 3
        for writer in deaf:
            writer.close()


async def test_a_scrape_is_served_after_connections_could_not_be_accepted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    loop = asyncio.get_running_loop()
    accept, failures = loop.sock_accept, [OSError(24, "Too many open files")] * 2

    async def failing(listening: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", failing)
    async with serving() as server:
        assert (await scrape(server)).status_code == 200

    errors = [record.error for record in caplog.records if record.message == "connection not accepted"]
    assert errors == ["[Errno 24] Too many open files"] * 2


async def test_a_gzip_page_arrives_whole():
    metrics = big_metrics(300)
    async with serving(app_of(metrics)) as server:
        answer = await scrape(server)

    assert answer.headers["content-encoding"] == "gzip"
    samples = [line for line in answer.text.splitlines() if line.startswith("dict_rate_limit_capacity{")]
    assert len(samples) == 300 * 30
    assert gzip.decompress(metrics.exposition(gzip=True)).count(b"dict_rate_limit_capacity{") == 300 * 30


async def test_stopping_lets_a_response_end():
    go_on = asyncio.Event()
    asked = asyncio.Event()

    async def slow_app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        asked.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    async with serving(slow_app) as server:
        answer = asyncio.create_task(scrape(server))
        await asked.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        go_on.set()

        assert (await answer).text == "done"
        await stopping
        with pytest.raises(httpx.ConnectError):
            await scrape(server)


async def test_stopping_gives_a_response_that_does_not_end_up():
    asked, over = asyncio.Event(), asyncio.Event()

    async def stuck_app(scope: Scope, _receive: Receive, _send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        asked.set()
        await over.wait()

    async with serving(stuck_app, stop_seconds=0.05) as server:
        answer = asyncio.create_task(scrape(server))
        await asked.wait()
        try:
            async with asyncio.timeout(WAIT_SECONDS / 2):
                await server.stop()
        finally:
            over.set()

        with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
            await answer


async def test_a_port_in_use_is_a_configuration_error():
    async with serving() as server:
        address = server.addresses[0]
        second = WebServer(app_of(Metrics()), WebSettings(listen_address=address))

        with pytest.raises(ConfigurationError, match=f"cannot listen on {address}: address already in use"):
            await second.start()


async def test_every_address_serves():
    async with serving(address="127.0.0.1:0,127.0.0.1:0") as server, httpx.AsyncClient(timeout=WAIT_SECONDS) as client:
        for address in server.addresses:
            assert (await client.get(f"http://{address}/-/healthy")).status_code == 200


@pytest.mark.parametrize(
    "fact",
    [
        test_silent_clients_do_not_delay_a_scrape,
        test_a_client_that_reads_nothing_does_not_delay_a_scrape,
        test_a_gzip_page_arrives_whole,
        test_stopping_lets_a_response_end,
        test_a_port_in_use_is_a_configuration_error,
    ],
    ids=lambda fact: fact.__name__,
)
def test_so_it_is_on_uvloop(fact: Callable[[], Coroutine[None, None, None]]):
    uvloop.run(fact())


@pytest.mark.parametrize("path", ["/-/reload", "/metrics", "/nothing-here"])
@pytest.mark.parametrize("body", [b"ZZ\r\nxx", b"5\r\nhelloXX\r\n", b"-1\r\n", b"99999999999999999999999\r\n"])
async def test_a_broken_chunk_is_refused_in_one_line(path: str, body: bytes, caplog: pytest.LogCaptureFixture):
    async with serving() as server:
        reader, writer = await connect(server)
        head = f"POST {path} HTTP/1.1\r\nHost: {server.addresses[0]}\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        writer.write(body)

        assert (await read_to_end(reader))[:10] in (b"HTTP/1.1 4", b"")
        writer.close()
        await scrape(server)

    assert not [record for record in caplog.records if record.exc_info]
    assert all(len(message) < 200 for message in caplog.messages)


async def test_a_request_of_two_lengths_is_refused_and_its_connection_closed():
    async with serving() as server:
        reader, writer = await connect(server)
        writer.write(
            b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            b"GET /-/healthy HTTP/1.1\r\nHost: exporter\r\n\r\n"
        )
        answer = await read_to_end(reader)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1") == 1
