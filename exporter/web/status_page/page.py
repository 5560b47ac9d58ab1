"""Renders the status page."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from exporter.alerts.alert import AlertState
from exporter.health import Readiness
from exporter.web.sources import CurrentState, Sources
from exporter.web.status_page.history import HOURS, STEPS, RecentUtilization
from exporter.web.status_page.queries import StatusQuery
from exporter.web.status_page.rows import alert_rows, list_buckets, rule_rows
from exporter.web.status_page.templating import render

MOST_ALERTS: Final = {"some": 10, "all": 500}
"""The most open alerts that the page shows, by `StatusQuery.alerts`."""


class StatusPage:
    """Renders in a thread, one page at a time: 31,000 buckets take a while to sort.

    Where there is JavaScript, the page is loaded again every ``refresh_seconds``.
    """

    def __init__(self, sources: Sources, recent: RecentUtilization, refresh_seconds: float) -> None:
        self._sources = sources
        self._recent = recent
        self._refresh_seconds = refresh_seconds
        self._turn = asyncio.Lock()

    async def render(self, query: StatusQuery) -> str:
        """Returns the page as HTML."""
        async with self._turn:
            state = self._sources.current(datetime.now(UTC))
            return await asyncio.to_thread(self._render, query, state, self._sources.readiness())

    def _render(self, query: StatusQuery, state: CurrentState, readiness: Readiness) -> str:
        rows = alert_rows(state, query)
        most = MOST_ALERTS[query.alerts]
        matching = [view for participant, view in state.views.items() if participant.startswith(query.participant)]
        return render(
            "status.html",
            state=state,
            query=query,
            refresh_seconds=self._refresh_seconds,
            silent=sum(not view.up for view in state.views.values()),
            only=matching[0] if len(matching) == 1 else None,
            buckets=list_buckets(state, query),
            alerts=rows[:most],
            open_alerts=sum(1 + len(row.also) for row in rows),
            more_alerts=sum(1 + len(row.also) for row in rows[most:]),
            worst_firing=next((row.alert.severity for row in rows if row.alert.state is AlertState.FIRING), None),
            evaluation=state.evaluation,
            has_rules=self._sources.rules is not None,
            rules=list(rule_rows(state)),
            readiness=readiness,
            hours=HOURS,
            steps=STEPS,
            recent=self._recent,
            has_database=self._sources.utilization is not None,
        )
