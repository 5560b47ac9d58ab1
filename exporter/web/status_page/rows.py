"""The rows of the pages' tables: buckets, open alerts and what is said of them, rules. Pure."""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from exporter.alerts.alert import Alert, AlertState, Severity
from exporter.buckets.bucket import Bucket, Ispb, PolicyName
from exporter.buckets.observation import View, VisibleBucket
from exporter.durations import spaced
from exporter.web.sources import CurrentState, RuleGroupStatus, RuleStatus
from exporter.web.status_page.queries import LEVELS, Level, StatusQuery, level_of
from exporter.web.status_page.templating import figure, short_paths, unit_of

if TYPE_CHECKING:
    from exporter.store.timeline import Change


BUCKETS_PER_PAGE: Final = 50

_SEVERITIES: Final = tuple(Severity)
"""From the least to the most severe."""

REASONS: Final = {
    "recovered": "its condition was no longer true",
    "policy_gone": "the answers no longer held the bucket",
    "no_data": "its series vanished",
    "rule_removed": "its rule was removed",
    "rule_changed": "its rule was changed",
    "participant_removed": "the participant was removed from the configuration",
}
"""Why an alert resolved."""

_TOKEN_GAUGES: Final = (
    "dict_rate_limit_available_tokens",
    "dict_rate_limit_lowest_available_tokens",
    "dict_rate_limit_utilization_percent",
)


@dataclass(frozen=True, slots=True)
class BucketRow:
    """One bucket. ``alerts`` are its open ones, worst first; ``answered``: the last poll told it, or a read since."""

    participant: Ispb
    visible: VisibleBucket
    answered: bool
    alerts: tuple[Alert, ...]

    @property
    def bucket(self) -> Bucket:
        return self.visible.observation.bucket

    @property
    def level(self) -> Level:
        return level_of(self.visible.observation)

    @property
    def was_lower(self) -> bool:
        """Whether the bucket was low of late, and lower than it is."""
        return self.level != "ok" and self.visible.observation.lowest_tokens < self.bucket.available_tokens

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
    """Returns a page of buckets: those with alerts first, by severity, then by the fewest tokens of late."""
    alerts: dict[tuple[str, str | None], list[Alert]] = defaultdict(list)
    for alert in state.alerts:
        alerts[alert.participant, alert.policy].append(alert)
    ranks = {bucket: max(map(danger, some)) for bucket, some in alerts.items()}
    levels: Counter[Level] = Counter()
    shown = LEVELS[LEVELS.index(query.level) :]
    listed: list[tuple[int, float, Ispb, PolicyName, VisibleBucket]] = []
    for participant, view in state.views.items():
        for policy, visible in view.buckets.items():
            if query.matches(participant, policy):
                observed = visible.observation
                level = level_of(observed)
                levels[level] += 1
                if level in shown:
                    rank = ranks.get((participant, policy), 0)
                    listed.append((-rank, observed.lowest_left_percent, participant, policy, visible))
    pages = max(1, math.ceil(len(listed) / BUCKETS_PER_PAGE))
    page = min(query.page, pages)
    first = (page - 1) * BUCKETS_PER_PAGE
    rows = [
        BucketRow(
            participant,
            visible,
            state.views[participant].is_current(visible),
            tuple(sorted(alerts.get((participant, policy), ()), key=danger, reverse=True)),
        )
        for _, _, participant, policy, visible in heapq.nsmallest(first + BUCKETS_PER_PAGE, listed)[first:]
    ]
    at_most = {level: sum(levels[worse] for worse in LEVELS[index:]) for index, level in enumerate(LEVELS)}
    return BucketList(rows, len(listed), first, pages, page, at_most)


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One line: an alert, and ``also`` those that fire because the same bucket holds few tokens, less severely."""

    alert: Alert
    age: timedelta
    value: str
    waits_for: str
    also: list[Alert] = field(default_factory=list)


def alert_rows(state: CurrentState, query: StatusQuery) -> list[AlertRow]:
    """Returns the open alerts that the query matches, worst first, and of equals the oldest."""
    in_force = ((group.name, rule) for group in state.groups for rule in group.rules)
    rules = {(group, rule.name): rule for group, rule in in_force if rule.kind == "alerting"}
    alerts = [alert for alert in state.alerts if query.matches(alert.participant, alert.policy)]
    alerts.sort(key=lambda alert: (-danger(alert), alert.active_since, alert.participant, alert.policy or ""))
    rows: list[AlertRow] = []
    about_tokens: dict[tuple[str, str | None], AlertRow] = {}
    for alert in alerts:
        rule, view = rules.get((alert.group, alert.name)), state.views.get(alert.participant)
        bucket = alert.participant, alert.policy
        is_low = alert.policy is not None and alert.state is AlertState.FIRING and is_about_tokens(rule)
        if is_low and bucket in about_tokens:
            about_tokens[bucket].also.append(alert)
            continue
        age = state.now - (alert.firing_since or alert.active_since)
        rows.append(AlertRow(alert, age, value_text(alert, rule, view), waits_for(alert, rule, view, state.now)))
        if is_low:
            about_tokens[bucket] = rows[-1]
    return rows


def danger(alert: Alert) -> int:
    """Returns how bad an alert is, from 1 on: firing is worse than pending; then the severity counts."""
    return 1 + _SEVERITIES.index(alert.severity) + (10 if alert.state is AlertState.FIRING else 0)


def is_about_tokens(rule: RuleStatus | None) -> bool:
    return rule is not None and any(gauge in rule.expr for gauge in _TOKEN_GAUGES)


def value_text(alert: Alert, rule: RuleStatus | None, view: View | None) -> str:
    """Returns an alert's value with its unit, where the rule's expression has one."""
    if rule is None:
        return figure(alert.value)
    answered = view is not None and view.up and (alert.policy is None or alert.policy in view.buckets)
    if alert.value == 1 and not answered and "ALERTS" in rule.expr:
        return "kept firing"
    unit = unit_of(rule.expr)
    if unit is None:
        return figure(alert.value)
    if unit == "s":
        return spaced(alert.value)
    return f"{figure(100 * alert.value)} %" if unit == "share" else f"{figure(alert.value)} {unit}"


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
    if visible is not None and (rule is None or is_about_tokens(rule)):
        bucket = visible.observation.bucket
        if bucket.available_tokens < bucket.capacity:
            return f"tokens to come back (full in {spaced(bucket.recovery_eta_seconds)})"
    return "its condition to end"


def describe_change(change: Change) -> str:
    """Returns what an alert waited for before a change of its state, in a sentence."""
    if change.state == "pending":
        return "Its condition became true."
    if change.state == "firing":
        waited = (change.at - change.active_since).total_seconds()
        if waited < 1:
            return "Its condition became true; it waited for nothing more."
        return f"Its condition had been true for {spaced(waited)}, as `for` asks."
    fired = spaced((change.at - (change.firing_since or change.active_since)).total_seconds())
    reason = REASONS.get(change.reason or "", change.reason or "it ended")
    kept = ""
    if change.keep_firing_since is not None and change.keep_firing_since < change.at:
        seconds = (change.at - change.keep_firing_since).total_seconds()
        kept = f", the last {spaced(seconds)} because of `keep_firing_for`"
    return f"It fired for {fired}{kept}, until {reason}."


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule, how many of its alerts are firing and pending, and the end of its file's path."""

    group: RuleGroupStatus
    rule: RuleStatus
    firing: int
    pending: int
    file: str


def rule_rows(state: CurrentState) -> Iterator[RuleRow]:
    counts = Counter((alert.group, alert.name, alert.state) for alert in state.alerts)
    files = short_paths(group.file for group in state.groups)
    for group in state.groups:
        for rule in group.rules:
            firing, pending = (counts[group.name, rule.name, s] for s in (AlertState.FIRING, AlertState.PENDING))
            yield RuleRow(group, rule, firing, pending, files[group.file])
