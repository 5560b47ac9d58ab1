"""Renders the page of past alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import HTMLResponse

from exporter.web.sources import CurrentState, Sources
from exporter.web.status_page.history import History, HistoryUnavailable
from exporter.web.status_page.queries import (
    PAGES,
    PER_PAGE,
    SEVERITIES,
    STATES,
    AlertsQuery,
    HistoryQuery,
    InvalidQuery,
    range_around,
)
from exporter.web.status_page.rows import REASONS
from exporter.web.status_page.templating import bucket_path, message, render, root_of

if TYPE_CHECKING:
    from exporter.store.timeline import PastAlert, Timeline


class AlertsPage:
    def __init__(self, sources: Sources, history: History) -> None:
        self._sources = sources
        self._history = history

    async def render(self, request: Request) -> HTMLResponse:
        root, now = root_of(request), datetime.now(UTC)
        try:
            query = AlertsQuery.parse(request.query_params, now)
        except InvalidQuery as error:
            return message(400, "Invalid query", str(error), root, "alerts")
        alerts, trouble = [], None
        try:
            async with self._history.reading() as record:
                if record is not None:
                    alerts = await _read(record, query, now)
        except HistoryUnavailable as error:
            trouble = str(error)
        html = await asyncio.to_thread(self._render, query, alerts, trouble, self._sources.current(now), root)
        return HTMLResponse(html)

    def _render(
        self, query: AlertsQuery, alerts: Sequence[PastAlert], trouble: str | None, state: CurrentState, root: str
    ) -> str:
        more = len(alerts) > PER_PAGE
        return render(
            "alerts.html",
            root=root,
            now=state.now,
            refresh_seconds=None,
            query=query,
            rows=[(alert, _link(alert, state.now)) for alert in alerts[:PER_PAGE]],
            has_next=more and query.page < PAGES,
            cut=more and query.page == PAGES,
            trouble=trouble,
            has_database=self._history.record is not None,
            names=sorted({rule.name for group in state.groups for rule in group.rules}),
            policies=state.policies,
            severities=SEVERITIES,
            states=STATES,
            reasons=REASONS,
        )


async def _read(record: Timeline, query: AlertsQuery, now: datetime) -> list[PastAlert]:
    from exporter.store.timeline import AlertQuery

    alert_query = AlertQuery(
        since=query.since,
        until=query.until or now,
        participant=query.participant,
        policy=query.policy,
        name=query.alert,
        severity=query.severity,
        state=query.state,
        sort=query.sort,
        skip=(query.page - 1) * PER_PAGE,
        limit=PER_PAGE + 1,
    )
    return await record.alerts(alert_query)


def _link(alert: PastAlert, now: datetime) -> str | None:
    """Returns the page of an alert's bucket, around when it began."""
    if alert.policy is None:
        return None
    lasted = ((alert.resolved_at or now) - alert.began_at).total_seconds()
    return bucket_path(alert.participant, alert.policy) + HistoryQuery(range_around(lasted), alert.began_at).link()
