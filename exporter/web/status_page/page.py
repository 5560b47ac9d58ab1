"""Renders the status page."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from exporter import __version__
from exporter.web.status_page.recent import HOURS, STEPS
from exporter.web.status_page.status import (
    ALERTS_SHOWN,
    CRITICAL_LEFT_PERCENT,
    WARNING_LEFT_PERCENT,
    Asked,
    alert_rows,
    bucket_page,
    evaluation,
    overdue,
    rule_rows,
    worst_firing,
)
from exporter.web.status_page.templating import template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.alerts.alert import Alert
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View
    from exporter.health import Readiness
    from exporter.web.sources import RuleGroupStatus, Sources
    from exporter.web.status_page.recent import History

REFRESH_SECONDS = 10
"""How often the page asks for itself again, where there is JavaScript."""


class StatusPage:
    """Renders in a thread, one page at a time: 31,000 buckets take a while to sort."""

    def __init__(self, sources: Sources, history: History) -> None:
        self._sources = sources
        self._history = history
        self._turn = asyncio.Lock()

    async def render(self, asked: Asked) -> str:
        """Returns the page as HTML."""
        async with self._turn:
            # Read here, in the loop's thread: what they hand out does not change any more.
            sources = self._sources
            return await asyncio.to_thread(
                self._render,
                asked,
                views=sources.views(),
                alerts=sources.open_alerts() if sources.open_alerts is not None else [],
                groups=sources.rules() if sources.rules is not None else None,
                readiness=sources.readiness(),
                now=datetime.now(UTC),
            )

    def _render(
        self,
        asked: Asked,
        *,
        views: Mapping[Ispb, View],
        alerts: Sequence[Alert],
        groups: Sequence[RuleGroupStatus] | None,
        readiness: Readiness,
        now: datetime,
    ) -> str:
        rows = alert_rows(alerts, groups or [], views, asked, now)
        shown = rows[: ALERTS_SHOWN[asked.alerts]]
        open_alerts = [alert for row in rows for alert in (row.alert, *row.also)]
        only = [view for participant, view in views.items() if participant.startswith(asked.participant)]
        evaluated = evaluation(groups or [], views, now)
        return template("status.html").render(
            link=link,
            sparkline=sparkline,
            area=area,
            steps=STEPS,
            version=__version__,
            now=now,
            asked=asked,
            warning=WARNING_LEFT_PERCENT,
            critical=CRITICAL_LEFT_PERCENT,
            refresh_seconds=REFRESH_SECONDS,
            hours=HOURS,
            participants=len(views),
            silent=sum(not view.up for view in views.values()),
            policies=sorted({policy for view in views.values() for policy in view.buckets}),
            only=only[0] if len(only) == 1 else None,
            found=bucket_page(views, alerts, asked),
            alerts=shown,
            open_alerts=len(open_alerts),
            more_alerts=len(open_alerts) - sum(1 + len(row.also) for row in shown),
            worst_firing=worst_firing(open_alerts),
            evaluation=evaluated,
            overdue=overdue(evaluated, now),
            follows_rules=groups is not None,
            rules=list(rule_rows(groups or [], alerts)),
            readiness=readiness,
            history=self._history.utilization,
            remembered=self._sources.past is not None,
            unread=self._history.not_recalled(views),
        )


def sparkline(values: Sequence[float | None]) -> list[str]:
    """Returns the points of each unbroken line: tokens left, in a box of `STEPS` - 1 by 100."""
    lines: list[list[str]] = [[]]
    for step, value in enumerate(values):
        if value is None:
            lines.append([])
        else:
            lines[-1].append(f"{step},{value:.0f}")
    # A single point is drawn as a dash.
    return [" ".join(points if len(points) > 1 else [points[0], points[0]]) for points in lines if points]


def area(points: str) -> str:
    """Returns the points of what lies under a line of a sparkline."""
    first, last = points.partition(",")[0], points.rpartition(" ")[2].partition(",")[0]
    return f"{first},100 {points} {last},100"


def link(asked: Asked, **changed: Any) -> str:
    """Returns the query for the same page, but for what is ``changed``."""
    query = {name: getattr(asked, name) for name in ("participant", "policy", "level", "alerts", "page")} | changed
    if "page" not in changed:
        query["page"] = 1
    kept = {name: value for name, value in query.items() if value not in ("", "ok", "some", 1)}
    return "?" + urlencode(kept)
