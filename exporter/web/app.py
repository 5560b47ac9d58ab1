"""The ASGI app: the paths of the contract, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.config.settings import WebSettings
from exporter.errors import DictRateLimitError
from exporter.web.api import alerts_json, buckets_json, error_json, rules_json
from exporter.web.headroom import HeadroomQuery, HeadroomRefusal, headroom_json
from exporter.web.negotiation import OPENMETRICS, TEXT, wants_gzip, wants_openmetrics
from exporter.web.server.guard import SecurityHeaders
from exporter.web.sources import Sources
from exporter.web.status_page.history import RecentUtilization
from exporter.web.status_page.pages import Pages

_JSON: Final = "application/json"


def create_app(
    sources: Sources, settings: WebSettings, *, refresh_seconds: float = 10, history_seconds: float = 6.0
) -> ASGIApp:
    """Returns the app that serves ``sources``.

    The status page is loaded again every ``refresh_seconds``; pages wait for the database ``history_seconds`` at most.
    """
    recent = RecentUtilization()
    pages = Pages(sources, recent, refresh_seconds=refresh_seconds, patience_seconds=history_seconds)
    endpoints = _Endpoints(sources, settings)

    async def status(request: Request) -> Response:
        if request.method == "HEAD":
            return _streamed(request, tuple, "text/html")
        return await pages.status(request)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(recent.follow(sources.views, _now))]
        if sources.utilization is not None:
            tasks.append(asyncio.create_task(recent.recall(sources.views, sources.utilization, _now)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    hosts = settings.allowed_hosts or ["*"]
    app = Starlette(
        lifespan=lifespan,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)],
        routes=[
            Route("/", status),
            Route("/buckets/{participant}/{policy:path}", pages.bucket),
            Route("/alerts", pages.alerts),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "status_page" / "static")),
            Route("/metrics", endpoints.metrics),
            Route("/-/healthy", endpoints.healthy),
            Route("/-/ready", endpoints.ready),
            Route("/-/reload", endpoints.reload, methods=["POST", "PUT"]),
            Route("/api/v1/alerts", endpoints.alerts),
            Route("/api/v1/rules", endpoints.rules),
            Route("/api/v1/buckets", endpoints.buckets),
            Route("/api/v1/headroom", endpoints.headroom),
        ],
    )
    app.router.redirect_slashes = False
    return SecurityHeaders(app)


class _Endpoints:
    """Answers to programs: metrics, health, the API."""

    def __init__(self, sources: Sources, settings: WebSettings) -> None:
        self._sources = sources
        self._settings = settings

    async def metrics(self, request: Request) -> Response:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        gzip = wants_gzip(request.headers.get("accept-encoding", ""))
        headers = {"Vary": "Accept, Accept-Encoding"} | ({"Content-Encoding": "gzip"} if gzip else {})
        page = partial(self._sources.metrics.page, openmetrics=openmetrics, gzip=gzip)
        return _streamed(request, page, OPENMETRICS if openmetrics else TEXT, headers)

    async def healthy(self, _request: Request) -> Response:
        return PlainTextResponse("dict-rate-limit is healthy.\n")

    async def ready(self, _request: Request) -> Response:
        readiness = self._sources.readiness()
        return JSONResponse(asdict(readiness), 200 if readiness.ready else 503)

    async def reload(self, request: Request) -> Response:
        if not self._settings.enable_lifecycle:
            return PlainTextResponse("Reloading over HTTP is off; --web.enable-lifecycle turns it on.\n", 403)
        if self._sources.reload is None:
            return PlainTextResponse("This role has no rules to reload.\n", 404)
        if not _same_site(request):
            return PlainTextResponse("Another site may not ask for a reload.\n", 403)
        try:
            await self._sources.reload()
        except DictRateLimitError as error:
            return PlainTextResponse(f"not reloaded, the running rules stay: {error}\n", 400)
        return PlainTextResponse("reloaded\n")

    async def alerts(self, _request: Request) -> Response:
        state = self._sources.current(_now())
        return Response(alerts_json(state.alerts, state.alerts_warning), media_type=_JSON)

    async def rules(self, request: Request) -> Response:
        parameters, state = request.query_params, self._sources.current(_now())
        kind = parameters.get("type", "")
        if kind not in ("", "alert", "record"):
            return Response(error_json("bad_data", f"not supported value {kind!r}"), 400, media_type=_JSON)
        body = rules_json(
            state.groups,
            state.alerts,
            kind={"alert": "alerting", "record": "recording"}.get(kind, ""),
            rule_names=parameters.getlist("rule_name[]"),
            group_names=parameters.getlist("rule_group[]"),
            files=parameters.getlist("file[]"),
            with_alerts=parameters.get("exclude_alerts", "false").lower() not in ("true", "1", "t"),
            warning=state.alerts_warning,
        )
        return Response(body, media_type=_JSON)

    async def buckets(self, request: Request) -> Response:
        participants, policies = (request.query_params.getlist(name) for name in ("participant", "policy"))
        return _streamed(request, partial(buckets_json, self._sources.views(), participants, policies), _JSON)

    async def headroom(self, request: Request) -> Response:
        parameters = (request.query_params.getlist(name) for name in ("participant", "policy", "tokens"))
        try:
            body = headroom_json(HeadroomQuery.parse(*parameters), self._sources.views(), _now())
        except HeadroomRefusal as refusal:
            return Response(error_json(refusal.kind, str(refusal)), refusal.status, media_type=_JSON)
        return Response(body, media_type=_JSON)


def _same_site(request: Request) -> bool:
    """Whether a request that changes something comes from this server's own page, or from no browser at all.

    A browser names the page's origin with each POST; Sec-Fetch-Site it sends to secure origins only.
    """
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = request.headers.get("origin") or request.headers.get("referer")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()


def _streamed(
    request: Request, slices: Callable[[], Iterable[bytes]], media_type: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Returns an answer in slices, after each of which other tasks run.

    To HEAD nothing is rendered, and no length is named: 0 would not be GET's.
    """
    return _Slices(slices() if request.method != "HEAD" else (), headers, media_type)


class _Slices(StreamingResponse):
    """Ends where the client has gone away, with the slice that is being sent.

    It is not cancelled: the traceback of that is a cycle, and would hold the slice until garbage is collected.
    """

    def __init__(self, slices: Iterable[bytes], headers: Mapping[str, str] | None, media_type: str) -> None:
        self._disconnected = asyncio.Event()
        super().__init__(_in_turns(slices, self._disconnected), headers=headers, media_type=media_type)

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        disconnect = asyncio.create_task(self.listen_for_disconnect(receive))
        try:
            await self.stream_response(send)
        finally:
            disconnect.cancel()

    async def listen_for_disconnect(self, receive: Receive) -> None:
        await super().listen_for_disconnect(receive)
        self._disconnected.set()


async def _in_turns(slices: Iterable[bytes], disconnected: asyncio.Event) -> AsyncIterator[bytes]:
    for part in slices:
        yield part
        if disconnected.is_set():
            return
        await asyncio.sleep(0)


def _now() -> datetime:
    return datetime.now(UTC)
