"""Pages as they are sent, over a database that is not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import httpx

from exporter.buckets.bucket import Ispb, PolicyName
from exporter.config.settings import WebSettings
from exporter.health import Readiness
from exporter.metrics import Metrics
from exporter.store.timeline import AlertQuery, Band, Change, PastAlert, Step, Steps
from exporter.web.app import create_app
from exporter.web.sources import Sources
from tests.support.builders import PARTICIPANT, POLICY, bucket, observed, poll, view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.errors import StoreError

BUCKET = f"/buckets/{PARTICIPANT}/{POLICY}"
NOW = datetime.now(UTC)
LOW_STEP = Step(7, 5, 9, 100, 10.0, 3.0, 4.0)
PAST_ALERT = PastAlert(
    *("f", "TokensLow", "warning", PARTICIPANT, POLICY, "resolved"),
    *(NOW - timedelta(hours=2), NOW - timedelta(hours=2), NOW - timedelta(hours=1), "recovered", "s", "https://r/low"),
    *(3_000, 36_000),
)


@dataclass
class StoredHistory:
    """What a database holds, as the store returns it."""

    past_alerts: Sequence[PastAlert] = ()
    extremes: bool = True
    queries: list[Any] = field(default_factory=list)
    error: StoreError | None = None

    async def buckets(self, participant: str) -> list[PolicyName]:
        await self._query(participant)
        return [PolicyName("GONE")] if participant == PARTICIPANT else []

    async def participants(self) -> list[Ispb]:
        return [PARTICIPANT]

    async def steps(self, _participant: str, _policy: str, since: datetime, step: timedelta, steps: int) -> Steps:
        await self._query((since, step, steps))
        return Steps([Step(), *[LOW_STEP] * (steps - 1)], with_extremes=self.extremes)

    async def bands(self, *_: object) -> list[Band]:
        return [Band("TokensLow", "warning", NOW - timedelta(minutes=10), None)]

    async def changes(self, *_: object) -> list[Change]:
        began = NOW - timedelta(minutes=10)
        return [Change("TokensLow", "warning", "firing", began, None, 7, 100, began, began, None)]

    async def alerts(self, wanted: AlertQuery) -> list[PastAlert]:
        await self._query(wanted)
        return list(self.past_alerts)

    async def _query(self, query: object) -> None:
        self.queries.append(query)
        if self.error is not None:
            raise self.error


class Shape(HTMLParser):
    """The page's words, its elements, and whether they are closed as they should be."""

    VOID = frozenset({"meta", "link", "input", "rect", "line", "polyline", "br", "polygon", "path", "wbr", "circle"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


async def request(url: str, method: str = "GET", **sources: Any) -> httpx.Response:
    sources.setdefault("views", lambda: {PARTICIPANT: view(poll(observed(bucket(3_000), rate=1_500.0, empty=600.0)))})
    sources.setdefault("readiness", lambda: Readiness(ready=True, dependencies=[]))
    app = create_app(Sources(Metrics(), **sources), WebSettings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://exporter") as http:
        return await http.request(method, url)


async def page(url: str = BUCKET, *, status: int = 200, **sources: Any) -> Shape:
    answer = await request(url, **sources)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    return Shape(answer.text)


def links(shape: Shape) -> list[str | None]:
    return [attributes.get("href") for tag, attributes in shape.elements if tag == "a"]
