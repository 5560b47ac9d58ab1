"""The ASGI app: the paths of the contract, and nothing else."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from exporter.errors import DictRateLimitError
from exporter.web.api import alerts_json, buckets_json, error_json, rules_json
from exporter.web.negotiation import OPENMETRICS, TEXT, wants_gzip, wants_openmetrics
from exporter.web.server.headers import SecurityHeaders
from exporter.web.status_page.history_pages import PastPages
from exporter.web.status_page.page import StatusPage
from exporter.web.status_page.recent import History
from exporter.web.status_page.status import Asked, evaluation, overdue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from exporter.config import WebSettings
    from exporter.web.sources import Sources

_JSON: Final = "application/json"


def create_app(sources: Sources, settings: WebSettings) -> ASGIApp:
    """Returns the app that serves ``sources``."""
    history = History()
    pages = _Pages(sources, settings, history)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(history.follow(sources.views, _now))]
        if sources.past is not None:
            tasks.append(asyncio.create_task(history.recall(sources.views, sources.past, _now)))
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = Starlette(
        lifespan=lifespan,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=settings.allowed_hosts or ["*"], www_redirect=False)
        ],
        routes=[
            Route("/", pages.status),
            Route("/buckets/{participant}/{policy:path}", pages.bucket),
            Route("/alerts", pages.past_alerts),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "status_page" / "static")),
            Route("/metrics", pages.metrics),
            Route("/-/healthy", pages.healthy),
            Route("/-/ready", pages.ready),
            Route("/-/reload", pages.reload, methods=["POST", "PUT"]),
            Route("/api/v1/alerts", pages.alerts),
            Route("/api/v1/rules", pages.rules),
            Route("/api/v1/buckets", pages.buckets),
        ],
    )
    app.router.redirect_slashes = False
    return SecurityHeaders(app)


class _Pages:
    def __init__(self, sources: Sources, settings: WebSettings, history: History) -> None:
        self._sources = sources
        self._settings = settings
        self._status = StatusPage(sources, history)
        self._past = PastPages(sources)

    async def status(self, request: Request) -> Response:
        if request.method == "HEAD":
            return _head("text/html")
        return HTMLResponse(await self._status.render(Asked.of(request.query_params)))

    async def bucket(self, request: Request) -> Response:
        path = request.path_params
        found = await self._past.bucket(path["participant"], path["policy"], request.query_params, _root(request))
        return HTMLResponse(found.html, found.status)

    async def past_alerts(self, request: Request) -> Response:
        found = await self._past.alerts(request.query_params, _root(request))
        return HTMLResponse(found.html, found.status)

    async def metrics(self, request: Request) -> Response:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        gzip = wants_gzip(request.headers.get("accept-encoding", ""))
        headers = {"Vary": "Accept, Accept-Encoding"}
        if gzip:
            headers["Content-Encoding"] = "gzip"
        kind = OPENMETRICS if openmetrics else TEXT
        if request.method == "HEAD":
            return _head(kind, headers)
        page = self._sources.metrics.page(openmetrics=openmetrics, gzip=gzip)
        return StreamingResponse(_in_turns(page), headers=headers, media_type=kind)

    async def healthy(self, _request: Request) -> Response:
        return PlainTextResponse("dict-rate-limit is healthy.\n")

    async def ready(self, _request: Request) -> Response:
        readiness = self._sources.readiness()
        return JSONResponse(
            {
                "ready": readiness.ready,
                "dependencies": [
                    {"name": needed.name, "ok": needed.ok, "message": needed.message}
                    for needed in readiness.dependencies
                ],
            },
            status_code=200 if readiness.ready else 503,
        )

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
        alerts = self._sources.open_alerts() if self._sources.open_alerts is not None else []
        return Response(alerts_json(alerts, self._overdue()), media_type=_JSON)

    async def rules(self, request: Request) -> Response:
        asked = request.query_params
        kind = asked.get("type", "")
        if kind not in ("", "alert", "record"):
            return Response(error_json("bad_data", f"not supported value {kind!r}"), 400, media_type=_JSON)
        groups = self._sources.rules() if self._sources.rules is not None and kind != "record" else []
        body = rules_json(
            groups,
            self._sources.open_alerts() if self._sources.open_alerts is not None else [],
            rule_names=asked.getlist("rule_name[]"),
            group_names=asked.getlist("rule_group[]"),
            files=asked.getlist("file[]"),
            with_alerts=asked.get("exclude_alerts", "false").lower() not in ("true", "1", "t"),
            warning=self._overdue(),
        )
        return Response(body, media_type=_JSON)

    def _overdue(self) -> str | None:
        groups = self._sources.rules() if self._sources.rules is not None else []
        now = _now()
        return overdue(evaluation(groups, self._sources.views(), now), now)

    async def buckets(self, request: Request) -> Response:
        if request.method == "HEAD":
            return _head(_JSON)
        asked = request.query_params
        body = buckets_json(self._sources.views(), asked.getlist("participant"), asked.getlist("policy"))
        return StreamingResponse(_in_turns(body), media_type=_JSON)


def _same_site(request: Request) -> bool:
    """Whether a request that changes something comes from this server's own page, or from no browser at all.

    A browser names the page's origin with each POST; Sec-Fetch-Site it sends to secure origins only.
    """
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = request.headers.get("origin") or request.headers.get("referer")
    return origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()


def _head(media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    """Returns what HEAD is answered where nothing is rendered for it: a length of 0 would not be GET's."""
    return StreamingResponse(_in_turns(()), headers=headers, media_type=media_type)


def _root(request: Request) -> str:
    """Returns the way from a page to the status page: browsers count the slashes of the address as it was sent."""
    deep = request.scope["raw_path"].count(b"/") - 1
    return "../" * deep or "./"


def _now() -> datetime:
    return datetime.now(UTC)


async def _in_turns(slices: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yields slices, and lets the rest of the program have its turn after each."""
    for made in slices:
        yield made
        await asyncio.sleep(0)
