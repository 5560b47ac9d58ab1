"""The status page's list of buckets: filtered, ordered by danger, cut into pages. Pure."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from dataclasses import dataclass
from typing import Final

from exporter.alerts.alert import Alert
from exporter.buckets.bucket import Bucket, Ispb, PolicyName
from exporter.buckets.observation import VisibleBucket
from exporter.durations import spaced
from exporter.web.sources import CurrentState
from exporter.web.status_page.alert_rows import danger
from exporter.web.status_page.formatting import LEVELS, Level, level_of
from exporter.web.status_page.queries import StatusQuery

BUCKETS_PER_PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class BucketRow:
    """One bucket. ``alerts`` are its open ones, worst first; ``answered`` whether its state is the last poll's."""

    participant: Ispb
    visible: VisibleBucket
    answered: bool
    alerts: tuple[Alert, ...]

    @property
    def bucket(self) -> Bucket:
        return self.visible.observation.bucket

    @property
    def policy(self) -> PolicyName:
        return self.bucket.policy

    @property
    def level(self) -> Level:
        return level_of(self.bucket)

    @property
    def refill_period(self) -> str:
        seconds = self.bucket.refill_period_seconds
        return {60: "min", 3_600: "h", 86_400: "day"}.get(seconds, spaced(seconds))


@dataclass(frozen=True, slots=True)
class BucketList:
    """One page of the ``total`` rows, from the row ``first`` on.

    ``at_most`` counts the buckets at each level or a worse one, whatever level the query names.
    """

    rows: list[BucketRow]
    total: int
    first: int
    pages: int
    page: int
    at_most: dict[Level, int]


def list_buckets(state: CurrentState, query: StatusQuery) -> BucketList:
    """Returns a page of buckets: those with alerts first, by severity, then by tokens left."""
    alerts: dict[tuple[str, str | None], list[Alert]] = {}
    for alert in state.alerts:
        alerts.setdefault((alert.participant, alert.policy), []).append(alert)
    ranks = {bucket: max(map(danger, some)) for bucket, some in alerts.items()}
    levels: Counter[Level] = Counter()
    shown = LEVELS[LEVELS.index(query.level) :]
    listed: list[tuple[int, float, Ispb, PolicyName, VisibleBucket]] = []
    for participant, view in state.views.items():
        for policy, visible in view.buckets.items():
            if query.matches(participant, policy):
                bucket = visible.observation.bucket
                level = level_of(bucket)
                levels[level] += 1
                if level in shown:
                    rank = ranks.get((participant, policy), 0)
                    listed.append((-rank, bucket.left_percent, participant, policy, visible))
    pages = max(1, math.ceil(len(listed) / BUCKETS_PER_PAGE))
    page = min(query.page, pages)
    first = (page - 1) * BUCKETS_PER_PAGE
    rows = [
        BucketRow(
            participant,
            visible,
            visible.confirmed_at == state.views[participant].poll.polled_at,
            tuple(sorted(alerts.get((participant, policy), ()), key=danger, reverse=True)),
        )
        for _, _, participant, policy, visible in heapq.nsmallest(first + BUCKETS_PER_PAGE, listed)[first:]
    ]
    at_most = {level: sum(levels[worse] for worse in LEVELS[index:]) for index, level in enumerate(LEVELS)}
    return BucketList(rows, len(listed), first, pages, page, at_most)
