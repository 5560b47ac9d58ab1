"""What the status page says: worked out here, laid out by the template. Pure: time is an argument."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args

from exporter.alerts.alert import AlertState, Severity
from exporter.durations import spaced
from exporter.web.status_page.formatting import short_paths, unit_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from exporter.alerts.alert import Alert
    from exporter.buckets.bucket import Bucket, Ispb, PolicyName
    from exporter.buckets.observation import BucketObservation, View, VisibleBucket
    from exporter.web.sources import RuleGroupStatus, RuleStatus

WARNING_LEFT_PERCENT: Final = 20
CRITICAL_LEFT_PERCENT: Final = 10
"""Tokens left at which the shipped rules warn. A test holds them against the rule file."""

BUCKETS_PER_PAGE: Final = 50
ALERTS_SHOWN: Final[Mapping[str, int]] = {"some": 10, "all": 500}
"""How many open alerts the page shows at most: as it comes, and where all are asked for."""

OVERDUE_SECONDS: Final = 60.0
OVERDUE_POLLS: Final = 3
"""Rules that were not evaluated for so long, and for so many polls, do not say how it is now."""

Level = Literal["ok", "warning", "critical", "empty"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

_TOKEN_GAUGES: Final = ("dict_rate_limit_available_tokens", "dict_rate_limit_utilization_percent")

_SEVERITY: Final = {Severity.INFO: 1, Severity.WARNING: 2, Severity.CRITICAL: 3}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the reader asked to see.

    ``participant`` is the beginning of an ISPB; ``level`` the least bad one;
    ``alerts`` a key of `ALERTS_SHOWN`.
    """

    participant: str = ""
    policy: str = ""
    level: Level = "ok"
    alerts: str = "some"
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        """Reads a query string; what makes no sense is left out."""
        level: Level = next((known for known in LEVELS if known == query.get("level")), "ok")
        page = query.get("page", "1")
        return cls(
            participant=query.get("participant", "").strip(),
            policy=query.get("policy", "").strip(),
            level=level,
            alerts="all" if query.get("alerts") == "all" else "some",
            page=max(1, min(int(page[:7]), 1_000_000)) if page.isascii() and page.isdigit() else 1,
        )

    def admits(self, participant: str, policy: str | None) -> bool:
        return participant.startswith(self.participant) and (not self.policy or policy == self.policy)


@dataclass(frozen=True, slots=True)
class BucketRow:
    """One bucket. ``alerts`` are its open ones, worst first; ``answered`` whether its state is the last poll's."""

    participant: Ispb
    policy: PolicyName
    level: Level
    left_percent: float
    observation: BucketObservation
    observed_at: datetime
    answered: bool
    alerts: tuple[Alert, ...]

    @property
    def bucket(self) -> Bucket:
        return self.observation.bucket

    @property
    def refill_period(self) -> str:
        seconds = self.bucket.refill_period_seconds
        return {60: "min", 3_600: "h", 86_400: "day"}.get(seconds, spaced(seconds))


@dataclass(frozen=True, slots=True)
class BucketPage:
    """Some rows, most dangerous first, of ``total`` that were asked for.

    ``at_most`` counts, whatever level was asked for, the buckets at each level or a worse one.
    """

    rows: list[BucketRow]
    total: int
    first: int
    pages: int
    page: int
    at_most: dict[Level, int]


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One line: an alert, and ``also`` those of the same bucket that say the same, less loudly."""

    alert: Alert
    age: timedelta
    value: str
    waits_for: str
    also: tuple[Alert, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """When a rule was last evaluated (None: not by this process), and whether that is as recent as can be expected."""

    at: datetime | None
    current: bool


@dataclass(frozen=True, slots=True)
class RuleRow:
    group: RuleGroupStatus
    rule: RuleStatus
    firing: int
    pending: int
    file: str


def bucket_page(views: Mapping[Ispb, View], alerts: Sequence[Alert], asked: Asked) -> BucketPage:
    """Returns the page of buckets that was asked for: alerts first, by severity, then by tokens left."""
    by_bucket: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        if alert.policy is not None:
            by_bucket.setdefault((alert.participant, alert.policy), []).append(alert)
    ranks = {key: max(map(_danger, some)) for key, some in by_bucket.items()}
    levels: dict[Level, int] = dict.fromkeys(LEVELS, 0)
    least = LEVELS.index(asked.level)
    found: list[tuple[float, float, Ispb, PolicyName, VisibleBucket]] = []
    for participant, view in views.items():
        if not participant.startswith(asked.participant):
            continue
        for policy, visible in view.buckets.items():
            if asked.policy and policy != asked.policy:
                continue
            bucket = visible.observation.bucket
            left = bucket.left_percent
            level = _level(bucket)
            levels[level] += 1
            if LEVELS.index(level) >= least:
                found.append((-ranks.get((participant, policy), 0.0), left, participant, policy, visible))

    pages = max(1, math.ceil(len(found) / BUCKETS_PER_PAGE))
    page = min(asked.page, pages)
    first = (page - 1) * BUCKETS_PER_PAGE
    worst = heapq.nsmallest(first + BUCKETS_PER_PAGE, found)[first:]
    rows = [
        BucketRow(
            participant=participant,
            policy=policy,
            level=_level(visible.observation.bucket),
            left_percent=left,
            observation=visible.observation,
            observed_at=visible.observed_at,
            answered=visible.confirmed_at == views[participant].poll.polled_at,
            alerts=tuple(sorted(by_bucket.get((participant, policy), ()), key=_danger, reverse=True)),
        )
        for _, left, participant, policy, visible in worst
    ]
    at_most = {level: sum(levels[worse] for worse in LEVELS[index:]) for index, level in enumerate(LEVELS)}
    return BucketPage(rows, len(found), first, pages, page, at_most)


def alert_rows(
    alerts: Sequence[Alert],
    groups: Sequence[RuleGroupStatus],
    views: Mapping[Ispb, View],
    asked: Asked,
    now: datetime,
) -> list[AlertRow]:
    """Returns the open alerts that were asked for, worst first, and of equals the oldest."""
    rules = {(group.name, rule.name): rule for group in groups for rule in group.rules}
    admitted = [alert for alert in alerts if asked.admits(alert.participant, alert.policy)]
    admitted.sort(key=lambda alert: (-_danger(alert), alert.active_since, alert.participant, alert.policy or ""))
    rows: list[AlertRow] = []
    for alert, *also in folded(admitted, rules):
        rule, view = rules.get((alert.group, alert.name)), views.get(alert.participant)
        rows.append(
            AlertRow(
                alert,
                now - (alert.firing_since or alert.active_since),
                value_of(alert, rule, view),
                waits_for(alert, rule, view, now),
                tuple(also),
            )
        )
    return rows


def folded(alerts: Sequence[Alert], rules: Mapping[tuple[str, str], RuleStatus]) -> list[list[Alert]]:
    """Returns the alerts as lines, in their order: those that fire because one bucket holds few tokens are one line."""
    lines: list[list[Alert]] = []
    of_bucket: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        rule = rules.get((alert.group, alert.name))
        if alert.policy is None or alert.state is not AlertState.FIRING or rule is None or not _is_about_level(rule):
            lines.append([alert])
            continue
        line = of_bucket.setdefault((alert.participant, alert.policy), [])
        line.append(alert)
        if len(line) == 1:
            lines.append(line)
    return lines


def value_of(alert: Alert, rule: RuleStatus | None, view: View | None) -> str:
    """Returns an alert's value with its unit, where the rule's expression tells one."""
    known = view is not None and view.up and (alert.policy is None or alert.policy in view.buckets)
    if rule is not None and alert.value == 1 and not known and "ALERTS" in rule.expr:
        return "held"
    unit = unit_of(rule.expr) if rule is not None else None
    if unit is None:
        return figure(alert.value)
    if unit == "s":
        return spaced(alert.value)
    return f"{figure(100 * alert.value)} %" if unit == "share" else f"{figure(alert.value)} {unit}"


def evaluation(groups: Sequence[RuleGroupStatus], views: Mapping[Ispb, View], now: datetime) -> Evaluation:
    """Returns whether the open alerts are those of now."""
    rules = [rule for group in groups for rule in group.rules]
    at = max((rule.evaluated_at for rule in rules if rule.evaluated_at is not None), default=None)
    interval = max((view.poll.interval_seconds for view in views.values()), default=0.0)
    return Evaluation(at, current=not rules or (at is not None and is_current((now - at).total_seconds(), interval)))


def is_current(age_seconds: float, interval_seconds: float) -> bool:
    """Returns whether an evaluation is as recent as can be expected."""
    return age_seconds <= max(OVERDUE_SECONDS, OVERDUE_POLLS * interval_seconds)


def overdue(found: Evaluation, now: datetime) -> str | None:
    """Returns why the open alerts may not be those of now, in a sentence; None: they are."""
    if found.current:
        return None
    if found.at is None:
        return "Not known: this process has evaluated no rule yet. If it waits, the one that leads knows."
    age = spaced((now - found.at).total_seconds())
    return f"As of {found.at:%Y-%m-%d %H:%M:%S} UTC: no rule has been evaluated for {age}."


def worst_firing(alerts: Sequence[Alert]) -> Severity | None:
    return max((a.severity for a in alerts if a.state is AlertState.FIRING), key=_SEVERITY.__getitem__, default=None)


def rule_rows(groups: Sequence[RuleGroupStatus], alerts: Sequence[Alert]) -> Iterator[RuleRow]:
    """Yields every rule, and how many of its alerts are firing and pending."""
    counts: dict[tuple[str, str, AlertState], int] = {}
    for alert in alerts:
        key = (alert.group, alert.name, alert.state)
        counts[key] = counts.get(key, 0) + 1
    files = short_paths(group.file for group in groups)
    for group in groups:
        for rule in group.rules:
            firing, pending = (
                counts.get((group.name, rule.name, state), 0) for state in (AlertState.FIRING, AlertState.PENDING)
            )
            yield RuleRow(group, rule, firing, pending, files[group.file])


def waits_for(alert: Alert, rule: RuleStatus | None, view: View | None, now: datetime) -> str:
    """Returns what must happen for the alert to change its state, as a phrase."""
    if alert.state is AlertState.PENDING:
        if rule is None:
            return "its condition to stay true"
        left = alert.active_since + timedelta(seconds=rule.for_seconds) - now
        return f"its condition to stay true for {spaced(left.total_seconds())} more"
    if alert.keep_firing_since is not None and rule is not None:
        left = alert.keep_firing_since + timedelta(seconds=rule.keep_firing_for_seconds) - now
        return f"its condition to stay away for {spaced(left.total_seconds())} more"
    if view is not None and not view.up:
        return "the Bridge to answer"
    visible = view.buckets.get(alert.policy) if view is not None and alert.policy is not None else None
    if rule is not None and not _is_about_level(rule):
        visible = None
    if visible is not None and visible.observation.bucket.available_tokens < visible.observation.bucket.capacity:
        recovery = spaced(visible.observation.bucket.recovery_eta_seconds)
        return f"tokens to come back (full in {recovery})"
    return "its condition to end"


def figure(value: float) -> str:
    """Returns an alert's value, which may be of any size: ``0.3563``, ``36,000``."""
    return f"{value:,.0f}" if math.isfinite(value) and abs(value) >= 1_000 else f"{value:.4g}"


def _level(bucket: Bucket) -> Level:
    if bucket.is_empty:
        return "empty"
    left_percent = bucket.left_percent
    if left_percent <= CRITICAL_LEFT_PERCENT:
        return "critical"
    return "warning" if left_percent <= WARNING_LEFT_PERCENT else "ok"


def _is_about_level(rule: RuleStatus) -> bool:
    return any(gauge in rule.expr for gauge in _TOKEN_GAUGES)


def _danger(alert: Alert) -> float:
    """A firing alert is worse than any that is only pending; then the severity counts."""
    return _SEVERITY[alert.severity] + (10.0 if alert.state is AlertState.FIRING else 0.0)
