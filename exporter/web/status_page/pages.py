"""Renders the pages: the status, a bucket's history, and past alerts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse

from exporter.alerts.alert import AlertState
from exporter.buckets.bucket import Ispb, PolicyName
from exporter.health import Readiness
from exporter.structures import nearest
from exporter.web.sources import CurrentState, RuleExplanation, Sources
from exporter.web.status_page.bucket_charts import MOST_BANDS, BucketCharts
from exporter.web.status_page.history import HOURS, STEPS, History, HistoryUnavailable, RecentUtilization
from exporter.web.status_page.queries import (
    PAGES,
    PER_PAGE,
    RANGES,
    SEVERITIES,
    STATES,
    AlertsQuery,
    HistoryQuery,
    InvalidQuery,
    StatusQuery,
    is_ispb,
    range_around,
)
from exporter.web.status_page.rows import REASONS, alert_rows, describe_change, list_buckets, rule_rows
from exporter.web.status_page.templating import bucket_path, message, render, root_of

if TYPE_CHECKING:
    from exporter.store.timeline import Change, PastAlert, Steps, Timeline


MOST_ALERTS: Final = {"some": 10, "all": 500}
"""The most open alerts that the page shows, by `StatusQuery.alerts`."""

MOST_CHANGES: Final = 20
"""The most changes of alerts that the page shows."""

REFRESH_SECONDS: Final = (10, 60)
"""How often the page is loaded again: every step of the chart, within these."""

_MOST_COMPARED: Final = 2_000
"""Among more names the nearest one would take long to find."""


@dataclass(frozen=True, slots=True)
class BucketHistory:
    """What the database holds about a bucket, or why it did not answer."""

    trouble: str | None = None
    steps: Steps | None = None
    charts: BucketCharts | None = None
    changes: Sequence[Change] = ()


class Pages:
    """Renders in a thread, the status one page at a time: 31,000 buckets take a while to sort.

    Where there is JavaScript, the status is loaded again every ``refresh_seconds``; the other pages wait for the
    database ``patience_seconds`` at most.
    """

    def __init__(
        self, sources: Sources, recent: RecentUtilization, *, refresh_seconds: float, patience_seconds: float
    ) -> None:
        self._sources = sources
        self._recent = recent
        self._refresh_seconds = refresh_seconds
        self._history = History(sources.record, patience_seconds)
        self._turn = asyncio.Lock()

    async def status(self, request: Request) -> HTMLResponse:
        query = StatusQuery.parse(request.query_params)
        async with self._turn:
            state = self._sources.current(datetime.now(UTC))
            html = await asyncio.to_thread(self._render_status, query, state, self._sources.readiness())
        return HTMLResponse(html)

    def _render_status(self, query: StatusQuery, state: CurrentState, readiness: Readiness) -> str:
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

    async def bucket(self, request: Request) -> HTMLResponse:
        participant, policy = Ispb(request.path_params["participant"]), PolicyName(request.path_params["policy"])
        root, now = root_of(request), datetime.now(UTC)
        try:
            query = HistoryQuery.parse(request.query_params, now)
        except InvalidQuery as error:
            return message(400, "Invalid query", str(error), root, bucket_path(participant, policy))
        state = self._sources.current(now)
        view = state.views.get(participant)
        exists = view is not None and policy in view.buckets
        try:
            async with self._history.reading() as record:
                if not exists and (problem := await _unknown(participant, policy, state, record)):
                    return message(404, "There is no such bucket", problem, root)
                history = BucketHistory() if record is None else await _read(record, participant, policy, query, now)
        except HistoryUnavailable as error:
            if not exists:
                text = f"No answer of the Bridge holds {policy} of {participant} now. {error}"
                return message(503, "It is not known whether this bucket exists", text, root)
            history = BucketHistory(trouble=str(error))
        explanations = self._explanations(state, participant, policy)
        bucket = (participant, policy)
        html = await asyncio.to_thread(
            self._render_bucket, query, state, history, bucket, explanations=explanations, root=root
        )
        return HTMLResponse(html)

    def _explanations(self, state: CurrentState, participant: Ispb, policy: PolicyName) -> list[RuleExplanation]:
        """Explains the rules that look at a bucket, in the loop's thread: what they look back at changes."""
        view, why = state.views.get(participant), self._sources.why
        if view is None or why is None:
            return []
        rules = ((group.name, rule) for group in state.groups for rule in group.rules)
        failing = {
            (group, rule.name): rule.last_error
            for group, rule in rules
            if (rule.kind, rule.health) == ("alerting", "err")
        }
        own = [alert for alert in state.alerts if alert.participant == participant]
        return why(view, own, policy, failing, state.now)

    def _render_bucket(
        self,
        query: HistoryQuery,
        state: CurrentState,
        history: BucketHistory,
        bucket: tuple[Ispb, PolicyName],
        *,
        explanations: list[RuleExplanation],
        root: str,
    ) -> str:
        now, (participant, policy) = state.now, bucket
        view = state.views.get(participant)
        own = [alert for alert in state.alerts if alert.participant == participant]
        local = replace(
            state,
            views={} if view is None else {participant: view},
            alerts=[alert for alert in own if alert.policy in {policy, None}],
        )
        rows = list_buckets(local, StatusQuery(participant, policy)).rows
        since, until = query.window(now)
        least, most = REFRESH_SECONDS
        return render(
            "bucket.html",
            root=root,
            now=now,
            refresh_seconds=None if query.at else min(max(least, query.range.step_seconds), most),
            participant=participant,
            policy=policy,
            row=rows[0] if rows else None,
            view=view,
            query=query,
            ranges=RANGES.values(),
            alerts=alert_rows(local, StatusQuery(participant)),
            has_rules=self._sources.rules is not None,
            alerts_warning=state.alerts_warning,
            history=history,
            has_database=self._sources.record is not None,
            earlier=since,
            until=until,
            later=None if query.at is None or until >= now else until,
            charts=history.charts,
            explanations=explanations,
            describe_change=describe_change,
        )

    async def alerts(self, request: Request) -> HTMLResponse:
        root, now = root_of(request), datetime.now(UTC)
        try:
            query = AlertsQuery.parse(request.query_params, now)
        except InvalidQuery as error:
            return message(400, "Invalid query", str(error), root, "alerts")
        alerts, trouble = [], None
        try:
            async with self._history.reading() as record:
                alerts = [] if record is None else await _read_alerts(record, query, now)
        except HistoryUnavailable as error:
            trouble = str(error)
        html = await asyncio.to_thread(self._render_alerts, query, alerts, trouble, self._sources.current(now), root)
        return HTMLResponse(html)

    def _render_alerts(
        self, query: AlertsQuery, alerts: Sequence[PastAlert], trouble: str | None, state: CurrentState, root: str
    ) -> str:
        more = len(alerts) > PER_PAGE
        return render(
            "alerts.html",
            root=root,
            now=state.now,
            query=query,
            rows=[(alert, _link(alert, state.now)) for alert in alerts[:PER_PAGE]],
            has_next=more and query.page < PAGES,
            cut=more and query.page == PAGES,
            trouble=trouble,
            has_database=self._sources.record is not None,
            names=sorted({r.name for group in state.groups for r in group.rules if r.kind == "alerting"}),
            policies=state.policies,
            severities=SEVERITIES,
            states=STATES,
            reasons=REASONS,
        )


async def _read(record: Timeline, participant: str, policy: str, query: HistoryQuery, now: datetime) -> BucketHistory:
    since, until = query.window(now)
    steps = await record.steps(participant, policy, since, query.range.step, query.range.steps)
    bands = await record.bands(participant, policy, since, until, MOST_BANDS)
    changes = await record.changes(participant, policy, until, MOST_CHANGES)
    charts = BucketCharts(steps.steps, bands, query.range, since, now, query.at)
    return BucketHistory(steps=steps, charts=charts, changes=changes)


async def _unknown(participant: str, policy: str, state: CurrentState, record: Timeline | None) -> str | None:
    """Returns that a participant, or its bucket, is unknown, with the nearest name; None: it once existed."""
    view = state.views.get(Ispb(participant))
    policies = set(view.buckets) if view is not None else set()
    if record is not None and is_ispb(participant):
        policies.update(await record.buckets(participant))
    if policy in policies:
        return None
    if policies:
        return f"{participant} has no bucket {policy}{_hint(policy, policies)}"
    participants = set(state.views)
    if record is not None:
        participants.update(await record.participants())
    return f"There is no participant {participant}{_hint(participant, participants)}"


def _hint(name: str, names: Iterable[str]) -> str:
    meant = nearest(name, sorted(names)[:_MOST_COMPARED])
    return f"; did you mean {meant}?" if meant else "."


async def _read_alerts(record: Timeline, query: AlertsQuery, now: datetime) -> list[PastAlert]:
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
