"""Renders a bucket's page, and that of past alerts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from exporter import __version__
from exporter.buckets.bucket import PolicyName
from exporter.errors import QueryTooSlow, StoreError
from exporter.web.status_page.bucket import BANDS, CHANGES, REASONS, drawn, range_around, told
from exporter.web.status_page.formatting import near
from exporter.web.status_page.queries import (
    PAGES,
    PER_PAGE,
    RANGES,
    SEVERITIES,
    SORTS,
    STATES,
    AskedAlerts,
    AskedBucket,
    NotUnderstood,
    is_ispb,
)
from exporter.web.status_page.status import (
    CRITICAL_LEFT_PERCENT,
    WARNING_LEFT_PERCENT,
    Asked,
    alert_rows,
    bucket_page,
    evaluation,
    overdue,
)
from exporter.web.status_page.templating import bucket_path, instant, template

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.alerts.alert import Alert
    from exporter.buckets.bucket import Ispb
    from exporter.buckets.observation import View
    from exporter.store.timeline import Band, Change, PastAlert, Steps
    from exporter.web.sources import RuleGroupStatus, Sources

PATIENCE_SECONDS: Final = 6.0
"""How long a page waits for the database, and for those who asked before; then it shows the present."""

REFRESH_SECONDS: Final = (10, 60)
"""How often a page asks for itself again: not more often than there is something new to draw."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    html: str


@dataclass(frozen=True, slots=True)
class Past:
    """What the database holds about a bucket, or why that is not known."""

    trouble: str | None = None
    steps: Steps | None = None
    bands: Sequence[Band] = ()
    changes: Sequence[Change] = ()


class PastPages:
    """One page asks the database at a time: readers wait for each other, and nothing else for them."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._turn = asyncio.Lock()

    async def bucket(self, participant: str, policy: str, query: Mapping[str, str], root: str) -> Answer:
        """Returns the page of one bucket."""
        now = datetime.now(UTC)
        try:
            asked = AskedBucket.of(query, now)
        except NotUnderstood as error:
            return _message(400, "That cannot be shown", str(error), root, bucket_path(participant, policy))
        sources = self._sources
        views = sources.views()
        view = next((seen for name, seen in views.items() if name == participant), None)
        here = view is not None and policy in view.buckets
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), self._turn:
                known = set(view.buckets) if view is not None else set[PolicyName]()
                if sources.record is not None and not here and is_ispb(participant):
                    known.update(await sources.record.buckets(participant))
                if policy not in known:
                    others = set(views)
                    if sources.record is not None and not known:
                        others.update(await sources.record.participants())
                    words = _nearest(participant, policy, sorted(known), sorted(others))
                    return _message(404, "There is no such bucket", words, root)
                past = await self._past(participant, policy, asked, now)
        except (StoreError, TimeoutError) as error:
            past = Past(trouble=_trouble(error))
            if not here:
                words = f"No answer of the Bridge holds {policy} of {participant} now. {past.trouble}"
                return _message(503, "Whether there is such a bucket is not known", words, root)
        return Answer(
            200,
            await asyncio.to_thread(
                self._render_bucket,
                asked,
                participant=participant,
                policy=policy,
                views=views,
                alerts=sources.open_alerts() if sources.open_alerts is not None else [],
                groups=sources.rules() if sources.rules is not None else None,
                past=past,
                now=now,
                root=root,
            ),
        )

    async def _past(self, participant: str, policy: str, asked: AskedBucket, now: datetime) -> Past:
        record = self._sources.record
        if record is None:
            return Past()
        since, until = asked.window(now)
        return Past(
            steps=await record.steps(participant, policy, since, asked.range.step, asked.range.steps),
            bands=await record.bands(participant, policy, since, until, BANDS),
            changes=await record.changes(participant, policy, until, CHANGES),
        )

    def _render_bucket(
        self,
        asked: AskedBucket,
        *,
        participant: str,
        policy: str,
        views: Mapping[Ispb, View],
        alerts: Sequence[Alert],
        groups: Sequence[RuleGroupStatus] | None,
        past: Past,
        now: datetime,
        root: str,
    ) -> str:
        own = {name: view for name, view in views.items() if name == participant}
        mine = [alert for alert in alerts if alert.participant == participant and alert.policy in {policy, None}]
        rows = bucket_page(own, mine, Asked(participant=participant, policy=policy)).rows
        since, until = asked.window(now)
        view = next(iter(own.values()), None)
        why = self._sources.why
        evaluated = evaluation(groups or [], views, now)
        least, most = REFRESH_SECONDS
        return template("bucket.html").render(
            version=__version__,
            root=root,
            now=now,
            refresh_seconds=None if asked.at else min(max(least, asked.range.seconds), most),
            participant=participant,
            policy=policy,
            row=rows[0] if rows else None,
            view=view,
            asked=asked,
            ranges=RANGES.values(),
            link=_bucket_link,
            warning=WARNING_LEFT_PERCENT,
            critical=CRITICAL_LEFT_PERCENT,
            alerts=alert_rows(mine, groups or [], views, Asked(participant=participant), now),
            follows_rules=groups is not None,
            overdue=overdue(evaluated, now),
            past=past,
            has_record=self._sources.record is not None,
            since=since,
            until=until,
            earlier=since,
            later=None if asked.at is None or until >= now else until,
            chart=None
            if past.steps is None
            else drawn(past.steps, past.bands, asked.range, since, now=now, mark=asked.at),
            explained=[]
            if why is None or view is None
            else why(
                view,
                [alert for alert in alerts if alert.participant == participant],
                PolicyName(policy),
                {(g.name, r.name): r.last_error for g in groups or [] for r in g.rules if r.health == "err"},
                now,
            ),
            told=told,
        )

    async def alerts(self, query: Mapping[str, str], root: str) -> Answer:
        """Returns the page of past alerts."""
        now = datetime.now(UTC)
        try:
            asked = AskedAlerts.of(query, now)
        except NotUnderstood as error:
            return _message(400, "That cannot be shown", str(error), root, "alerts")
        found: list[PastAlert] = []
        trouble = None
        record = self._sources.record
        if record is not None:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS), self._turn:
                    found = await record.alerts(_wanted(asked, now))
            except (StoreError, TimeoutError) as error:
                trouble = _trouble(error)
        # Read here, in the loop's thread: what they hand out does not change any more.
        groups = self._sources.rules() if self._sources.rules is not None else []
        views = self._sources.views()
        return Answer(
            200,
            await asyncio.to_thread(
                self._render_alerts,
                asked,
                found=found,
                trouble=trouble,
                names=sorted({rule.name for group in groups for rule in group.rules}),
                policies=sorted({policy for view in views.values() for policy in view.buckets}),
                now=now,
                root=root,
            ),
        )

    def _render_alerts(
        self,
        asked: AskedAlerts,
        *,
        found: Sequence[PastAlert],
        trouble: str | None,
        names: Sequence[str],
        policies: Sequence[str],
        now: datetime,
        root: str,
    ) -> str:
        return template("alerts.html").render(
            version=__version__,
            root=root,
            now=now,
            refresh_seconds=None,
            asked=asked,
            link=lambda **changed: "?" + urlencode(asked.query(**changed)),
            rows=[(alert, _alert_link(alert, now)) for alert in found[:PER_PAGE]],
            has_next=len(found) > PER_PAGE and asked.page < PAGES,
            cut=len(found) > PER_PAGE and asked.page == PAGES,
            trouble=trouble,
            has_record=self._sources.record is not None,
            names=names,
            policies=policies,
            severities=SEVERITIES,
            states=STATES,
            sorts=SORTS,
            reasons=REASONS,
        )


def _wanted(asked: AskedAlerts, now: datetime) -> Any:
    from exporter.store.timeline import Wanted

    return Wanted(
        since=asked.since,
        until=asked.until or now,
        participant=asked.participant,
        policy=asked.policy,
        name=asked.alert,
        severity=asked.severity,
        state=asked.state,
        sort=asked.sort,
        skip=(asked.page - 1) * PER_PAGE,
        limit=PER_PAGE + 1,
    )


def _trouble(error: Exception) -> str:
    """Returns why the database did not say what was asked, for people."""
    if isinstance(error, QueryTooSlow):
        return f"{error}: ask for a shorter time, or for less."
    if isinstance(error, TimeoutError):
        return f"PostgreSQL did not answer within {PATIENCE_SECONDS:g}s."
    return f"{error}."


def _nearest(participant: str, policy: str, policies: Sequence[PolicyName], participants: Sequence[Ispb]) -> str:
    if policies:
        return f"{participant} has no bucket {policy}{near(policy, policies)}"
    return f"There is no participant {participant}{near(participant, participants)}"


def _bucket_link(asked: AskedBucket, **changed: Any) -> str:
    """Returns the query for the same page, but for what is ``changed``."""
    query = {"range": asked.range.name, "at": asked.at} | changed
    return "?" + urlencode(
        {name: instant(value) if isinstance(value, datetime) else value for name, value in query.items() if value}
    )


def _alert_link(alert: PastAlert, now: datetime) -> str | None:
    """Returns the page of an alert's bucket, around when it began."""
    if alert.policy is None:
        return None
    lasted = ((alert.resolved_at or now) - alert.began_at).total_seconds()
    asked = AskedBucket(range_around(lasted, list(RANGES.values())), alert.began_at)
    return bucket_path(alert.participant, alert.policy) + _bucket_link(asked)


def _message(status: int, title: str, words: str, root: str, back: str = "") -> Answer:
    html = template("message.html").render(
        version=__version__, root=root, now=datetime.now(UTC), refresh_seconds=None, title=title, words=words, back=back
    )
    return Answer(status, html)
