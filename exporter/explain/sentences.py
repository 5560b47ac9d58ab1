"""Why an alert stands as it does, in sentences."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from exporter.alerts.alert import AlertState
from exporter.buckets.observation import MISSED_INTERVALS
from exporter.durations import short
from exporter.numbers import counted
from exporter.rules.promql.sources import ALERT_SERIES, BUCKET_GAUGE_BY_NAME, PARTICIPANT_GAUGE_BY_NAME
from exporter.rules.promql.traversal import selectors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from exporter.alerts.alert import Alert
    from exporter.explain.explanation import Explanation


def sentences(why: Explanation, at: datetime) -> Iterator[str]:
    """Yields why the alert stands as it does, the most important first."""
    if why.failed is not None:
        yield f"The rule failed at that poll, which leaves its alerts as they are: {why.failed}."
    if why.alert is None:
        yield from _inactive(why)
    elif why.alert.state is AlertState.PENDING:
        yield _pending(why, why.alert)
    else:
        yield from _firing(why, why.alert)
    yield from _missing(why)
    if not why.view.up:
        staleness = short(why.view.poll.staleness_seconds)
        yield f"The Bridge did not answer that poll: the gauges are the last known, for at most {staleness}."
    if (at - why.view.at).total_seconds() > MISSED_INTERVALS * why.view.poll.interval_seconds:
        yield f"Nobody polled from then to {utc(at)}: rules are silent about that time."
    yield from _recorded(why)


def _inactive(why: Explanation) -> Iterator[str]:
    subject = "this bucket" if why.policy else "the participant" if not why.rule.per_policy else "any bucket"
    if why.failed is None:
        yield f"Not firing: the expression is not true for {subject}."
    if why.last_true_at is not None:
        before = short((why.view.at - why.last_true_at).total_seconds())
        yield f"It was last true at {utc(why.last_true_at)}, {before} before."
    elif why.polls:
        yield f"Nor was it at any of the {counted(why.polls, 'poll')} since {utc(why.since)}."
    if why.last is not None and why.last.resolved_at is not None:
        of = f" for {why.last.policy}" if why.policy is None and why.last.policy else ""
        yield f"It last fired{of} from {utc(why.last.began_at)} to {utc(why.last.resolved_at)} ({why.last.reason})."


def _pending(why: Explanation, alert: Alert) -> str:
    waits = why.rule.for_seconds
    true_for = (why.view.at - alert.active_since).total_seconds()
    return (
        f"Pending: true since {utc(alert.active_since)}, {short(true_for)} of the {short(waits)} that `for` asks. "
        f"It fires at the first poll from {utc(alert.active_since + timedelta(seconds=waits))} on, "
        "if it is true at every poll until then."
    )


def _firing(why: Explanation, alert: Alert) -> Iterator[str]:
    since = alert.firing_since or alert.active_since
    waited = f"; true since {utc(alert.active_since)}" if alert.active_since != since else ""
    yield f"Firing since {utc(since)} ({short((why.view.at - since).total_seconds())}){waited}."
    keeps = why.rule.keep_firing_for_seconds
    if alert.keep_firing_since is not None:
        until = alert.keep_firing_since + timedelta(seconds=keeps)
        yield (
            f"The expression is not true since {utc(alert.keep_firing_since)}: `keep_firing_for` ({short(keeps)}) "
            f"holds the alert. It resolves at the first poll from {utc(until)} on, if it does not become true again."
        )
        return
    if why.true:
        branches = [branch for branch in why.part.branches() if branch.series]
        if branches and all(branch.uses_alerts for branch in branches):
            yield f"It would not begin to fire now: it goes on by `{branches[0].text}`."
        if keeps:
            yield f"It fires on for {short(keeps)} (`keep_firing_for`) once the expression is no longer true."
        else:
            yield "It resolves at the first poll at which the expression is not true."


def _missing(why: Explanation) -> Iterator[str]:
    """Yields which gauges the rule looks at in vain."""
    looked_at = dict.fromkeys(s.metric for s in selectors(why.part.tree) if s.metric not in ALERT_SERIES)
    by_reason: dict[str, list[str]] = {}
    for name in looked_at:
        reason = _absence(why, name)
        if reason is not None:
            by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        yield f"No data of {', '.join(names)}: {reason}."


def _absence(why: Explanation, gauge: str) -> str | None:
    """Returns why a gauge has no series; None: it has, or it is about every bucket and some have."""
    view, policy = why.view, why.policy
    if gauge not in BUCKET_GAUGE_BY_NAME:
        return "it was not known" if PARTICIPANT_GAUGE_BY_NAME[gauge].value(view) is None else None
    if policy is None:
        return None if view.buckets else f"no bucket was confirmed within {short(view.poll.staleness_seconds)}"
    visible = view.buckets.get(policy)
    if visible is not None:
        unknown = BUCKET_GAUGE_BY_NAME[gauge].value(visible.observation) is None
        return "it was not known for this bucket" if unknown else None
    if policy in view.refused:
        return "the answer held impossible figures for this bucket"
    if view.up:
        return "the answer did not hold this bucket"
    return f"no answer held this bucket within {short(view.poll.staleness_seconds)}"


def _recorded(why: Explanation) -> Iterator[str]:
    """The rules are those of today: where the database has something else, others were in force."""
    fires = why.alert is not None and why.alert.state is AlertState.FIRING
    if fires and why.recorded is None:
        yield "The database has no such alert firing then: other rules were in force."
    elif why.recorded is not None and (why.alert is None or why.alert.firing_since != why.recorded.began_at):
        of = f" for {why.recorded.policy}" if why.policy is None and why.recorded.policy else ""
        yield f"The database has it firing{of} since {utc(why.recorded.began_at)}: other rules were in force."


def utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"
