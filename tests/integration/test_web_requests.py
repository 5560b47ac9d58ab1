"""Requests as clients and proxies really send them, and as nobody should, on real sockets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from exporter.health import Readiness
from exporter.metrics import Metrics
from exporter.web.app import create_app
from exporter.web.sources import Sources
from tests.support import http
from tests.support.builders import PARTICIPANT, view

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from exporter.web.server.server import WebServer

HEALTHY = b"dict-rate-limit is healthy.\n"
HOST = b"Host: exporter:9862\r\n"


class Reloads:
    asked = 0

    async def __call__(self) -> None:
        self.asked += 1


def serving(*allowed_hosts: str, reload: Reloads | None = None) -> AbstractAsyncContextManager[WebServer]:
    settings = http.settings(allowed_hosts=allowed_hosts, enable_lifecycle=True)
    metrics = Metrics()
    metrics.publish(view())
    sources = Sources(
        metrics, lambda: {PARTICIPANT: view()}, lambda: Readiness(ready=True, dependencies=[]), reload=reload
    )
    return http.serving(create_app(sources, settings), settings)


async def exchange(server: WebServer, request: bytes) -> bytes:
    """Returns all that comes until the server closes the connection."""
    reader, writer = await http.connect(server)
    writer.write(request)
    answer = await http.read_to_end(reader)
    writer.close()
    return answer


def last(line: bytes, headers: bytes = HOST, body: bytes = b"") -> bytes:
    """Returns a request after which the connection is to be closed."""
    return line + b"\r\n" + headers + b"Connection: close\r\n\r\n" + body


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "target",
    [
        "/-/healthy",
        "/-/healthy?x=%zz",
        "/%2D/healthy",
        "http://exporter:9862/-/healthy",
        "HTTP://exporter/-/healthy?x",
        "https://exporter/-/healthy",
        "http://[::1]:9862/-/healthy",
    ],
)
async def test_a_target_may_be_a_path_or_an_absolute_url(target: str):
    async with serving() as server:
        answer = await exchange(server, last(f"GET {target} HTTP/1.1".encode()))

    assert (status(answer), body(answer)) == (200, HEALTHY)


async def test_an_absolute_url_without_a_path_is_the_status_page():
    async with serving() as server:
        answer = await exchange(server, last(b"GET http://exporter?participant=99 HTTP/1.1"))

    assert status(answer) == 200
    assert b'value="99"' in answer


async def test_the_query_of_an_absolute_url_is_read():
    async with serving() as server:
        answer = await exchange(server, last(b"GET http://exporter/api/v1/buckets?participant=1 HTTP/1.1"))

    assert status(answer) == 200
    assert PARTICIPANT.encode() not in answer


@pytest.mark.parametrize(
    ("target", "host", "expected"),
    [
        ("http://allowed/-/healthy", "elsewhere", 200),
        ("http://elsewhere/-/healthy", "allowed", 400),
        ("/-/healthy", "allowed:9862", 200),
        ("/-/healthy", "elsewhere", 400),
    ],
)
async def test_the_authority_of_an_absolute_url_stands_for_the_host(target: str, host: str, expected: int):
    async with serving("allowed") as server:
        answer = await exchange(server, last(f"GET {target} HTTP/1.1".encode(), f"Host: {host}\r\n".encode()))

    assert status(answer) == expected


async def test_http_1_0_needs_no_host_and_gets_no_chunks():
    async with serving() as server:
        answer = await exchange(server, b"GET /metrics HTTP/1.0\r\n\r\n")

    assert status(answer) == 200
    assert b"transfer-encoding" not in answer.lower()
    assert body(answer).startswith(b"# HELP")


async def test_options_of_the_whole_server_names_its_methods():
    async with serving() as server:
        answer = await exchange(server, last(b"OPTIONS * HTTP/1.1"))

    assert (status(answer), body(answer)) == (200, b"")
    assert b"\r\nallow: GET, HEAD" in answer


@pytest.mark.parametrize(
    "line",
    [
        "CONNECT exporter:443 HTTP/1.1",
        "CONNECT http://exporter/ HTTP/1.1",
        "GET exporter:443 HTTP/1.1",
        "GET * HTTP/1.1",
        "GET metrics HTTP/1.1",
        "GET http:///metrics HTTP/1.1",
        "GET http://:80/metrics HTTP/1.1",
        "GET http://user:password@exporter/metrics HTTP/1.1",
        "GET ftp://exporter/metrics HTTP/1.1",
    ],
)
async def test_any_other_target_is_refused_and_the_connection_closed(line: str):
    async with serving() as server:
        answer = await exchange(server, f"{line}\r\nHost: exporter\r\n\r\n".encode())

    assert status(answer) == 400
    assert b"this is no proxy" in body(answer)


@pytest.mark.parametrize("path", ["//metrics", "/-//healthy", "/static/../metrics", "/static/%2e%2e/app.py"])
async def test_paths_are_not_rewritten(path: str):
    async with serving() as server:
        assert status(await exchange(server, last(f"GET {path} HTTP/1.1".encode()))) == 404


@pytest.mark.parametrize(
    "headers",
    [
        b"",
        HOST + HOST,
        b"Host: a, b\r\n",
        b"Host: user@exporter\r\n",
        b"Host: exporter/path\r\n",
        b"Host: two words\r\n",
        b"Host: exporter:port\r\n",
        HOST + b"Space : before\r\n",
        b" Folded: first\r\n" + HOST,
        HOST + b"Nul: a\0b\r\n",
        HOST + b"Bare-CR: a\rb\r\n",
    ],
)
async def test_broken_headers_are_refused(headers: bytes):
    async with serving() as server:
        assert status(await exchange(server, last(b"GET /-/healthy HTTP/1.1", headers))) == 400


async def test_a_folded_header_is_one_line():
    async with serving("folded") as server:
        answer = await exchange(server, last(b"GET /-/healthy HTTP/1.1", b"Host:\r\n folded\r\n"))

    assert status(answer) == 200


async def test_another_version_of_http_is_refused():
    async with serving() as server:
        assert status(await exchange(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")) == 505


@pytest.mark.parametrize("head", [b"X: " + b"x" * 17_000, b"\r\n".join([b"X: x"] * 4000)])
async def test_a_head_that_is_too_long_is_refused_though_it_arrives_at_once(head: bytes):
    async with serving() as server:
        answer = await exchange(server, b"GET /-/healthy HTTP/1.1\r\n" + HOST + head + b"\r\n\r\n")

    assert status(answer) == 431


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
    ],
)
async def test_a_body_of_doubtful_length_is_refused_and_what_follows_is_not_answered(framing: bytes):
    reload = Reloads()
    async with serving(reload=reload) as server:
        request = b"POST /-/healthy HTTP/1.1\r\n" + HOST + framing + b"\r\n0\r\n\r\nPOST /-/reload HTTP/1.1\r\n" + HOST
        answer = await exchange(server, request + b"\r\n")

    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1
    assert reload.asked == 0


async def test_chunks_are_not_known_to_http_1_0():
    async with serving() as server:
        request = b"POST /-/reload HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"

        assert status(await exchange(server, request)) == 400


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        (b"Content-Length: 3\r\n", b"abc"),
        (b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"),
        (b"Transfer-Encoding: chunked\r\n", b"3;ext=1\r\nabc\r\n0\r\nTrailer: x\r\n\r\n"),
    ],
)
async def test_a_body_is_read_and_the_next_request_answered(framing: bytes, sent: bytes):
    reload = Reloads()
    async with serving(reload=reload) as server:
        first = b"POST /-/reload HTTP/1.1\r\n" + HOST + framing + b"\r\n" + sent
        answer = await exchange(server, first + last(b"GET /-/healthy HTTP/1.1"))

    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.endswith(HEALTHY)
    assert reload.asked == 1


async def test_a_body_that_waits_to_be_asked_for_is_answered_without_it_and_the_connection_closed():
    reload = Reloads()
    async with serving(reload=reload) as server:
        request = b"POST /-/reload HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        answer = await exchange(server, request)

    assert status(answer) == 200
    assert reload.asked == 1


@pytest.mark.parametrize("connection", [b"close", b"Close", b"keep-alive, close", b"close, TE"])
async def test_a_connection_is_closed_where_the_client_asks_for_it(connection: bytes):
    async with serving() as server:
        request = b"GET /-/healthy HTTP/1.1\r\n" + HOST + b"Connection: " + connection + b"\r\n\r\n"

        assert body(await exchange(server, request)) == HEALTHY


@pytest.mark.parametrize("path", ["/", "/metrics", "/api/v1/buckets"])
async def test_head_tells_no_other_length_than_get(path: str):
    async with serving() as server:
        head = await exchange(server, last(f"HEAD {path} HTTP/1.1".encode()))

    assert status(head) == 200
    assert body(head) == b""
    assert b"content-length" not in head.lower()


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Host: allowed", "Forwarded: host=allowed;proto=https", "X-Original-URL: /-/healthy"]
)
async def test_what_a_proxy_says_of_the_request_is_not_believed(header: str):
    async with serving("allowed") as server:
        headers = f"Host: elsewhere\r\n{header}\r\n".encode()

        assert status(await exchange(server, last(b"GET /metrics HTTP/1.1", headers))) == 400


async def test_another_sites_page_cannot_reload_by_saying_that_a_proxy_is_between():
    reload = Reloads()
    async with serving(reload=reload) as server:
        headers = HOST + b"Origin: http://elsewhere\r\nX-Forwarded-Host: elsewhere\r\nContent-Length: 0\r\n"

        assert status(await exchange(server, last(b"POST /-/reload HTTP/1.1", headers))) == 403
    assert reload.asked == 0


async def test_the_status_page_works_below_a_prefix_that_a_proxy_strips():
    prefix = "http://proxy/dict/"
    async with serving() as server:
        page = body(await exchange(server, last(b"GET / HTTP/1.1"))).decode()
        links = set(re.findall(r'(?:href|src|action)="([^"#]+)', page))
        reached = {link: urljoin(prefix, link.replace("&amp;", "&")) for link in links}

        assert len(links) > 8
        assert {link for link, url in reached.items() if not url.startswith(prefix)} == set()
        for url in reached.values():
            path = "/" + url.removeprefix(prefix)
            assert status(await exchange(server, last(f"GET {path} HTTP/1.1".encode()))) == 200, path
